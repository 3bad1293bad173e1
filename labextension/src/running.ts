/** Transfers in Lab's Running panel. */

import type { IRunningSessionManagers, IRunningSessions } from '@jupyterlab/running';
import { Signal } from '@lumino/signaling';

import { boxIcon } from './icons';
import type { VolcopyModel } from './model';
import { ITransfer } from './tokens';
import { transferText, transferTitle } from './transfer';
import type { IWords } from './words';

export function addRunning(
  managers: IRunningSessionManagers,
  model: VolcopyModel,
  words: IWords,
  show: () => void
): void {
  const source = {};
  const runningChanged = new Signal<typeof source, void>(source);
  const item = (transfer: ITransfer): IRunningSessions.IRunningItem => ({
    open: show,
    shutdown: () => void model.cancel(transfer.id),
    icon: () => boxIcon,
    label: () => transferTitle(transfer, words),
    labelTitle: () => `${transfer.sources.join('\n')}\n→ ${transfer.destination}`,
    detail: () => transferText(transfer, words)
  });
  model.transfersChanged.connect(() => runningChanged.emit());
  managers.add({
    name: words.__('Transfers'),
    running: () => model.running.map(item),
    shutdownAll: () => model.running.forEach(one => void model.cancel(one.id)),
    refreshRunning: () => undefined,
    runningChanged,
    shutdownLabel: words.__('Cancel'),
    shutdownAllLabel: words.__('Cancel all'),
    shutdownAllConfirmationText: words.__('Cancel all transfers? What was there stays as it was.')
  });
}
