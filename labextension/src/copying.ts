/**
 * A copy as a person starts it: the plan is made first, and where something would be replaced it is
 * shown and asked. Then it runs as a transfer.
 */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import { asApiError } from './api';
import type { VolcopyModel } from './model';
import { failureNotice } from './notice';
import { IPlan, ITransfer } from './tokens';
import type { IWords } from './words';

/** No more than this of what would be replaced is listed. */
const LIST_MOST = 12;

/** Show a failure in a dialog. */
export async function showFailure(error: unknown, words: IWords): Promise<void> {
  const notice = failureNotice(asApiError(error), words);
  const text = [notice.text, notice.hint].filter(Boolean).join('\n\n');
  await showErrorMessage(notice.title, text || notice.title);
}

/** Plan, ask where something would be replaced, copy. Null where the person did not want it. */
export async function copyAsked(
  model: VolcopyModel,
  words: IWords,
  sources: string[],
  destination: string
): Promise<ITransfer | null> {
  try {
    const plan = await model.api.plan(sources, destination);
    if (!(await agreed(plan, words))) {
      return null;
    }
    return await model.copy(sources, destination);
  } catch (error) {
    await showFailure(error, words);
    return null;
  }
}

/** The paths that a plan would replace. */
export function replacedBy(plan: IPlan): string[] {
  return plan.steps.flatMap(step => {
    if (step.replaces.length) {
      return step.replaces.map(one => one.path);
    }
    return step.action === 'replace' ? [step.destination] : [];
  });
}

async function agreed(plan: IPlan, words: IWords): Promise<boolean> {
  const replaced = replacedBy(plan);
  if (!replaced.length) {
    return true;
  }
  const body = document.createElement('div');
  body.append(words._n('This file is there already:', 'These files are there already:', replaced.length));
  const list = document.createElement('ul');
  list.className = 'jp-Volcopy-items';
  for (const path of replaced.slice(0, LIST_MOST)) {
    const item = document.createElement('li');
    item.textContent = path;
    list.append(item);
  }
  body.append(list);
  if (replaced.length > LIST_MOST) {
    body.append(words.__('and %1 more', replaced.length - LIST_MOST));
  }
  const answer = await showDialog({
    title: words._n('Replace %1 file?', 'Replace %1 files?', replaced.length),
    body: new Widget({ node: body }),
    buttons: [
      Dialog.cancelButton({ label: words.__('Cancel') }),
      Dialog.warnButton({ label: words.__('Replace') })
    ],
    defaultButton: 0
  });
  return answer.button.accept;
}

