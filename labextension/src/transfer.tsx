/** One transfer: what goes where, how far it is, what became of it. */

import { closeIcon, stopIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { rate, share, size } from './format';
import type { VolcopyModel } from './model';
import { baseName } from './places';
import { isOver, ITransfer } from './tokens';
import type { IWords } from './words';

export interface ITransferProps {
  transfer: ITransfer;
  model: VolcopyModel;
  words: IWords;
}

export function TransferRow({ transfer, model, words }: ITransferProps): JSX.Element {
  const over = isOver(transfer);
  const part = share(transfer.progress.bytes, transfer.progress.bytes_total);
  const title = transferTitle(transfer, words);
  const label = over ? words.__('Take off the list') : words.__('Cancel');
  const Icon = over ? closeIcon : stopIcon;
  return (
    <li
      className="jp-Volcopy-transfer"
      data-state={transfer.state}
      data-id={transfer.id}
      title={`${transfer.sources.join('\n')}\n→ ${transfer.destination}`}
    >
      <span className="jp-Volcopy-name">{title}</span>
      <button
        className="jp-Volcopy-button"
        title={label}
        aria-label={`${label}: ${title}`}
        onClick={() => void (over ? model.forget(transfer.id) : model.cancel(transfer.id))}
      >
        <Icon.react tag="span" elementSize="normal" />
      </button>
      {!over && (
        <progress
          max={1}
          {...(part === null ? {} : { value: part })}
          aria-label={words.__('Progress of %1', title)}
        />
      )}
      <span className="jp-Volcopy-detail">{transferText(transfer, words)}</span>
      {transfer.error && transfer.state === 'failed' && (
        <span className="jp-Volcopy-problem" role="alert">
          {transfer.error.message}
          {transfer.error.hint ? ` (${transfer.error.hint})` : ''}
        </span>
      )}
      {(transfer.report?.warnings.length ?? 0) > 0 && (
        <details className="jp-Volcopy-detail">
          <summary>
            {words._n('%1 warning', '%1 warnings', transfer.report?.warnings.length ?? 0)}
          </summary>
          <ul>
            {transfer.report?.warnings.slice(0, 20).map((note, at) => (
              <li key={at}>{note.path ? `${note.path}: ${note.text}` : note.text}</li>
            ))}
          </ul>
        </details>
      )}
    </li>
  );
}

/** What goes where, short. */
export function transferTitle(transfer: ITransfer, words: IWords): string {
  const first = baseName(transfer.sources[0] ?? '') || transfer.sources[0] || '';
  const target = /^\.\/?$/.test(transfer.destination)
    ? words.__('my files')
    : transfer.destination.replace(/^\.\//, '');
  if (transfer.options?.rescue) {
    return words.__('Rescue of %1 → %2', first.replace(/:$/, ''), target);
  }
  return transfer.sources.length > 1
    ? words.__('%1 and %2 more → %3', first, transfer.sources.length - 1, target)
    : `${first} → ${target}`;
}

/** How far it is, or what became of it. */
export function transferText(transfer: ITransfer, words: IWords): string {
  const { progress, report } = transfer;
  switch (transfer.state) {
    case 'queued':
      return words.__('waiting');
    case 'running': {
      if (!progress.bytes && !transfer.cancelling) {
        return words.__('starting');
      }
      const done =
        progress.bytes_total === null
          ? size(progress.bytes)
          : words.__('%1 of %2', size(progress.bytes), size(progress.bytes_total));
      const parts = [done, rate(progress.bytes, progress.seconds)].filter(Boolean);
      return transfer.cancelling
        ? words.__('cancelling after %1', done)
        : parts.join(' · ');
    }
    case 'done':
      return report
        ? words._n('%1 file copied, %2', '%1 files copied, %2', report.files, size(report.bytes))
        : words.__('copied, %1', size(progress.bytes));
    case 'cancelled':
      return words.__('cancelled; what was there is still there');
    default:
      return words.__('failed');
  }
}
