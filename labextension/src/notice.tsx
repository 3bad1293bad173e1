/** What is shown instead of content: why there is none, and what to do. */

import React from 'react';

import { ApiError } from './api';
import type { IWords } from './words';

export interface INoticeProps {
  title: string;
  text?: string;
  hint?: string;
  /** What a button does, and what it is called. */
  action?: { label: string; run: () => void };
  busy?: boolean;
  kind?: 'error' | 'info';
}

export function Notice(props: INoticeProps): JSX.Element {
  return (
    <div
      className="jp-Volcopy-notice"
      data-kind={props.kind ?? 'info'}
      role={props.kind === 'error' ? 'alert' : 'status'}
      aria-busy={props.busy}
    >
      <strong>{props.title}</strong>
      {props.text && <p>{props.text}</p>}
      {props.hint && <p className="jp-Volcopy-hint">{props.hint}</p>}
      {props.action && (
        <button className="jp-Button jp-mod-styled jp-mod-minimal" onClick={props.action.run}>
          {props.action.label}
        </button>
      )}
    </div>
  );
}

/** The notice for a failure of the API. */
export function failureNotice(error: ApiError, words: IWords, retry?: () => void): INoticeProps {
  const action = retry ? { label: words.__('Try again'), run: retry } : undefined;
  const text = error.message;
  switch (error.cause_) {
    case 'missing':
      return {
        kind: 'error',
        title: words.__('The server part is not there'),
        text: words.__('This Jupyter server does not have jupyter_volcopy switched on.'),
        hint: words.__(
          'Run "pip install jupyter-volcopy" and "jupyter server extension enable jupyter_volcopy" where the server runs, then restart it.'
        ),
        action
      };
    case 'version':
      return {
        kind: 'error',
        title: words.__('The server part has another version'),
        text: words.__(
          'Server: %1, sidebar: %2.',
          String(error.context.server),
          String(error.context.sidebar)
        ),
        hint: words.__(
          'Run "pip install --upgrade jupyter-volcopy", restart the server and reload this page.'
        ),
        action
      };
    case 'engine':
      return {
        kind: 'error',
        title: words.__('The Docker engine does not answer'),
        text,
        hint:
          error.hint || words.__('Start the engine, or set Volcopy.engine_url to where it listens.'),
        action
      };
    case 'denied':
      return {
        kind: 'error',
        title: words.__('You may not see this'),
        text,
        hint: error.hint || words.__('Ask whoever runs this server for permission.'),
        action
      };
    case 'offline':
      return {
        kind: 'error',
        title: words.__('The Jupyter server does not answer'),
        hint: words.__('Look whether it still runs, and whether you are connected.'),
        action
      };
    default:
      return {
        kind: 'error',
        title: words.__('That did not work'),
        text,
        hint: error.hint,
        action
      };
  }
}
