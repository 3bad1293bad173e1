/** One mount of a container: where, what, from where, who else sees it, what happens to it. */

import React from 'react';

import { size } from './format';
import { Fate } from './keeping';
import { fateSentence, fateWord } from './listing';
import { IPlaceFacts } from './tokens';
import type { IWords } from './words';

export interface IMountProps {
  mount: IPlaceFacts;
  fate: Fate;
  words: IWords;
  open: () => void;
}

export function MountRow({ mount, fate, words, open }: IMountProps): JSX.Element {
  const kinds: Record<string, string> = {
    bind: words.__('host folder'),
    named: words.__('named volume'),
    anonymous: words.__('anonymous volume'),
    tmpfs: words.__('memory')
  };
  const details = [
    kinds[mount.kind] ?? mount.kind,
    originText(mount.origin, words),
    ...(mount.read_only ? [words.__('read-only')] : []),
    ...(mount.size === undefined ? [] : [size(mount.size)])
  ];
  return (
    <li className="jp-Volcopy-mount" title={mount.why}>
      <button className="jp-Volcopy-path" onClick={open} title={words.__('Show these files')}>
        {mount.target}
      </button>
      <span className="jp-Volcopy-mark" data-fate={fate} title={fateSentence(fate, words)}>
        {fateWord(fate, words)}
      </span>
      <span className="jp-Volcopy-detail">{details.join(' · ')}</span>
      {(mount.volume || mount.source) && (
        <span className="jp-Volcopy-detail jp-Volcopy-source">{mount.volume || mount.source}</span>
      )}
      {mount.shared_with.length > 0 && (
        <span className="jp-Volcopy-detail">
          {words.__('shared with %1', mount.shared_with.join(', '))}
        </span>
      )}
      {mount.hidden_by.length > 0 && (
        <span className="jp-Volcopy-detail">
          {words.__('partly covered by %1', mount.hidden_by.join(', '))}
        </span>
      )}
    </li>
  );
}

function originText(origin: string, words: IWords): string {
  if (origin === 'flag') {
    return words.__('by a flag');
  }
  if (origin === 'image') {
    return words.__('by the image');
  }
  return origin.startsWith('volumes-from ')
    ? words.__('from %1', origin.slice('volumes-from '.length))
    : origin;
}
