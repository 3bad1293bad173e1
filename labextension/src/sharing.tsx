/** A picture of who shares what: each shared mount, and a line to every container that sees it. */

import React from 'react';

import { IPlaceFacts } from './tokens';
import type { IWords } from './words';

export interface ISharingProps {
  container: string;
  mounts: IPlaceFacts[];
  words: IWords;
}

const ROW = 24;
const WIDTH = 300;
const LEFT = 128;
const RIGHT = 172;

export function Sharing({ container, mounts, words }: ISharingProps): JSX.Element | null {
  const shared = mounts.filter(one => one.shared_with.length > 0);
  if (!shared.length) {
    return null;
  }
  const names = [container, ...new Set(shared.flatMap(one => one.shared_with))];
  const rows = Math.max(shared.length, names.length);
  const middle = (index: number, count: number): number =>
    ((index + 0.5) * rows * ROW) / count;
  const text = shared
    .map(one =>
      words.__('%1 is shared with %2', one.volume || one.source, one.shared_with.join(', '))
    )
    .join('. ');
  return (
    <svg
      className="jp-Volcopy-sharing"
      role="img"
      aria-label={text}
      viewBox={`0 0 ${WIDTH} ${rows * ROW}`}
    >
      <title>{text}</title>
      {shared.flatMap((mount, at) =>
        names
          .filter(name => name === container || mount.shared_with.includes(name))
          .map(name => (
            <line
              key={`${mount.target} ${name}`}
              x1={LEFT}
              y1={middle(at, shared.length)}
              x2={RIGHT}
              y2={middle(names.indexOf(name), names.length)}
            />
          ))
      )}
      {shared.map((mount, at) =>
        box(0, middle(at, shared.length), mount.volume || mount.source, 'volume')
      )}
      {names.map((name, at) =>
        box(RIGHT, middle(at, names.length), name, name === container ? 'self' : 'other')
      )}
    </svg>
  );
}

function box(x: number, y: number, name: string, kind: string): JSX.Element {
  const short = name.length > 18 ? `${name.slice(0, 17)}…` : name;
  return (
    <g key={`${kind} ${name}`} data-kind={kind}>
      <title>{name}</title>
      <rect x={x + 0.5} y={y - 9.5} width={LEFT - 1} height={19} rx={kind === 'volume' ? 9 : 2} />
      <text x={x + LEFT / 2} y={y + 4} textAnchor="middle">
        {short}
      </text>
    </g>
  );
}
