/** One container or volume in a list; arrows go to its neighbours, Enter and Space open it. */

import React from 'react';

export interface IRowProps {
  /** The whole name, with its engine. */
  id: string;
  name: string;
  detail: string;
  state: string;
  stateText: string;
  owner?: string;
  selected: boolean;
  label: string;
  open: () => void;
}

export function Row(props: IRowProps): JSX.Element {
  return (
    <li
      role="option"
      aria-selected={props.selected}
      aria-label={props.label}
      className={`jp-Volcopy-row${props.selected ? ' jp-mod-selected' : ''}`}
      data-name={props.id}
      tabIndex={0}
      title={props.label}
      onClick={props.open}
      onKeyDown={event => onKey(event, props.open)}
    >
      <span className="jp-Volcopy-dot" data-state={props.state} aria-hidden="true" />
      <span className="jp-Volcopy-name">{props.name}</span>
      <span className="jp-Volcopy-detail">{props.detail}</span>
      {props.owner && <span className="jp-Volcopy-owner">{props.owner}</span>}
      <span className="jp-Volcopy-state" data-state={props.state}>
        {props.stateText}
      </span>
    </li>
  );
}

function onKey(event: React.KeyboardEvent<HTMLElement>, open: () => void): void {
  const node = event.currentTarget;
  const step: Record<string, Element | null | undefined> = {
    ArrowDown: node.nextElementSibling,
    ArrowUp: node.previousElementSibling,
    Home: node.parentElement?.firstElementChild,
    End: node.parentElement?.lastElementChild
  };
  if (event.key === 'Enter' || event.key === ' ') {
    open();
  } else if (event.key in step) {
    (step[event.key] as HTMLElement | null | undefined)?.focus();
  } else {
    return;
  }
  event.preventDefault();
  event.stopPropagation();
}
