/** Transfers as notifications of Lab: progress and Cancel while they run, then how they went. */

import { Notification } from '@jupyterlab/apputils';

import { share } from './format';
import type { VolcopyModel } from './model';
import { isOver, ITransfer } from './tokens';
import { transferText, transferTitle } from './transfer';
import type { IWords } from './words';

/** A transfer that is over sooner is not worth a notification of its start, in milliseconds. */
const SHORT = 700;

/** After this a toast of Lab is there, in milliseconds. */
const SETTLED = 1500;

export function notifyTransfers(model: VolcopyModel, words: IWords): void {
  const shown = new Map<string, string>();
  const waiting = new Map<string, ReturnType<typeof setTimeout>>();

  const message = (transfer: ITransfer): string =>
    `${transferTitle(transfer, words)}: ${
      transfer.error && transfer.state === 'failed'
        ? transfer.error.message
        : transferText(transfer, words)
    }`;

  const begin = (id: string): void => {
    waiting.delete(id);
    const transfer = model.transfers.find(one => one.id === id);
    if (transfer && !isOver(transfer)) {
      shown.set(
        id,
        Notification.emit(message(transfer), 'in-progress', {
          autoClose: false,
          progress: share(transfer.progress.bytes, transfer.progress.bytes_total) ?? undefined,
          actions: [
            {
              label: words.__('Cancel'),
              displayType: 'warn',
              callback: event => {
                event.preventDefault();
                void model.cancel(id);
              }
            }
          ]
        })
      );
    }
  };

  model.transfersChanged.connect((_, transfer) => {
    if (!transfer || isOver(transfer)) {
      return;
    }
    const id = shown.get(transfer.id);
    if (id) {
      Notification.update({
        id,
        message: message(transfer),
        progress: share(transfer.progress.bytes, transfer.progress.bytes_total) ?? undefined
      });
    } else if (!waiting.has(transfer.id)) {
      waiting.set(
        transfer.id,
        setTimeout(() => begin(transfer.id), SHORT)
      );
    }
  });

  model.transferOver.connect((_, transfer) => {
    clearTimeout(waiting.get(transfer.id));
    waiting.delete(transfer.id);
    const type =
      transfer.state === 'done' ? 'success' : transfer.state === 'failed' ? 'error' : 'warning';
    const autoClose = transfer.state === 'failed' ? (false as const) : 4000;
    const id = shown.get(transfer.id);
    shown.delete(transfer.id);
    if (id) {
      const end = (): unknown =>
        Notification.update({ id, message: message(transfer), type, autoClose, actions: [] });
      end();
      // Lab forgets an update that comes while it is still making the first one's toast.
      setTimeout(end, SETTLED);
    } else {
      Notification.emit(message(transfer), type, { autoClose });
    }
  });
}
