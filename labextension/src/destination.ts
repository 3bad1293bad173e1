/** The body of the dialog "Copy to container…": which container, and where in it. */

import { Dialog } from '@jupyterlab/apputils';
import { Widget } from '@lumino/widgets';

import type { VolcopyModel } from './model';
import { IPlace } from './places';
import type { IWords } from './words';

export class DestinationForm extends Widget implements Dialog.IBodyWidget<IPlace | null> {
  constructor(model: VolcopyModel, words: IWords, start: IPlace | null) {
    super();
    this.addClass('jp-Volcopy-form');
    this.choice = document.createElement('select');
    this.choice.className = 'jp-mod-styled';
    const names = [
      ...model.containers.map(one => ({ kind: 'container' as const, name: one.name })),
      ...model.volumes.map(one => ({ kind: 'volume' as const, name: one.name }))
    ];
    this.names = names;
    for (const { kind, name } of names) {
      const option = document.createElement('option');
      option.textContent = kind === 'volume' ? words.__('volume %1', name) : name;
      option.selected = start?.name === name && start.kind === kind;
      this.choice.append(option);
    }
    this.path = document.createElement('input');
    this.path.className = 'jp-mod-styled';
    this.path.value = start?.path ?? '/';
    this.node.append(
      labelled(words.__('Container or volume'), this.choice),
      labelled(words.__('Directory in it'), this.path)
    );
  }

  getValue(): IPlace | null {
    const chosen = this.names[this.choice.selectedIndex];
    const path = `/${this.path.value}`.replace(/\/{2,}/g, '/');
    return chosen ? { ...chosen, path: path.length > 1 ? path.replace(/\/$/, '') : path } : null;
  }

  private readonly choice: HTMLSelectElement;
  private readonly path: HTMLInputElement;
  private readonly names: Pick<IPlace, 'kind' | 'name'>[];
}

function labelled(text: string, input: HTMLElement): HTMLElement {
  const label = document.createElement('label');
  label.append(text, input);
  return label;
}
