/**
 * The listing of our drive: the stock one, with drops that start transfers, links shown with their
 * target, and a mark on every entry that says whether a removal of the container keeps it.
 */

import { DirListing } from '@jupyterlab/filebrowser';
import type { Contents } from '@jupyterlab/services';
import type { Drag } from '@lumino/dragdrop';
import type { Message } from '@lumino/messaging';
import { ISignal, Signal } from '@lumino/signaling';

import { IVolcopyItem } from './drive';
import { collectDropped, IDropped } from './dropped';
import { Fate } from './keeping';
import { isOdd } from './names';
import { IPlace, placeOf } from './places';
import type { IWords } from './words';

/** What Lab's file browsers put into a drag: a list of paths. */
export const CONTENTS_MIME = 'application/x-jupyter-icontents';

const DROP_TARGET = 'jp-mod-dropTarget';

/** Something was dropped on a place of ours. */
export interface IDrop {
  place: IPlace;
  /** Paths of Lab, from a file browser. */
  paths: string[];
  /** Files from the desktop. */
  dropped: IDropped[];
}

export class ContainerListing extends DirListing {
  /** Something was dropped. */
  get dropped(): ISignal<this, IDrop> {
    return this._dropped;
  }

  /**
   * Something is to be opened that needs a look first: a link, since only the container can say
   * where it leads; a file whose path is no UTF-8, which has no address that Lab could show.
   */
  get oddOpened(): ISignal<this, Contents.IModel> {
    return this._oddOpened;
  }

  /** Other entries are chosen now. Lab has such a signal only since 4.4. */
  get chosenChanged(): ISignal<this, void> {
    return this._chosenChanged;
  }

  /** Choose every entry. */
  chooseAll(): void {
    this.selection = Object.fromEntries([...this.sortedItems()].map(item => [item.path, true]));
    this.update();
  }

  /** Open one entry, as a double click does. */
  openItem(item: Contents.IModel): void {
    this.handleOpen(item);
  }

  protected handleOpen(item: IVolcopyItem): void {
    if (item.volcopy?.kind === 'symlink' || (item.type !== 'directory' && isOdd(item.path))) {
      this._oddOpened.emit(item);
    } else {
      super.handleOpen(item);
    }
  }

  protected onUpdateRequest(msg: Message): void {
    super.onUpdateRequest(msg);
    const chosen = [...this.selectedItems()].map(item => item.path).join('\n');
    if (chosen !== this._chosen) {
      this._chosen = chosen;
      this._chosenChanged.emit();
    }
  }

  protected evtDragEnter(event: Drag.Event): void {
    if (event.mimeData.hasData(CONTENTS_MIME)) {
      event.preventDefault();
      event.stopPropagation();
    }
  }

  protected evtDragOver(event: Drag.Event): void {
    event.preventDefault();
    event.stopPropagation();
    this.clearTarget();
    const paths = (event.mimeData.getData(CONTENTS_MIME) ?? []) as string[];
    const place = this.placeAt(event);
    const useful = place && paths.length && !paths.some(path => this.isSame(path, place));
    event.dropAction = useful ? event.proposedAction : 'none';
    if (useful) {
      (this.folderAt(event)?.node ?? this.contentNode).classList.add(DROP_TARGET);
    }
  }

  protected evtDragLeave(event: Drag.Event): void {
    event.preventDefault();
    event.stopPropagation();
    this.clearTarget();
  }

  protected evtDrop(event: Drag.Event): void {
    event.preventDefault();
    event.stopPropagation();
    this.clearTarget();
    const paths = (event.mimeData.getData(CONTENTS_MIME) ?? []) as string[];
    const place = this.placeAt(event);
    if (place && paths.length && event.proposedAction !== 'none') {
      event.dropAction = event.proposedAction;
      this._dropped.emit({ place, paths, dropped: [] });
    }
  }

  protected evtNativeDrop(event: DragEvent): void {
    event.preventDefault();
    event.stopPropagation();
    const place = this.placeAt(event);
    if (place && event.dataTransfer) {
      void collectDropped(event.dataTransfer).then(dropped => {
        if (dropped.length) {
          this._dropped.emit({ place, paths: [], dropped });
        }
      });
    }
  }

  private isSame(path: string, place: IPlace): boolean {
    const from = placeOf(path);
    return (
      from !== null &&
      from.kind === place.kind &&
      from.name === place.name &&
      (from.path === place.path || from.path.replace(/\/[^/]*$/, '') === place.path)
    );
  }

  private clearTarget(): void {
    this.node.querySelectorAll(`.${DROP_TARGET}`).forEach(one => {
      one.classList.remove(DROP_TARGET);
    });
  }

  /** The folder under the pointer. */
  private folderAt(event: MouseEvent): { node: Element; path: string } | null {
    const found = document
      .elementsFromPoint(event.clientX, event.clientY)
      .find(one => one.classList.contains('jp-DirListing-item') && this.node.contains(one));
    if (!found) {
      return null;
    }
    const index = Array.from(this.contentNode.children).indexOf(found);
    const item = [...this.sortedItems()][index];
    return item?.type === 'directory' ? { node: found, path: item.path } : null;
  }

  /** Where a drop goes: the folder under the pointer, else the listed directory. */
  private placeAt(event: MouseEvent): IPlace | null {
    return placeOf(this.folderAt(event)?.path ?? this.model.path);
  }

  private _chosen = '';
  private _chosenChanged = new Signal<this, void>(this);
  private _dropped = new Signal<this, IDrop>(this);
  private _oddOpened = new Signal<this, Contents.IModel>(this);
}

type Tail<T extends unknown[]> = T extends [unknown, unknown, ...infer Rest] ? Rest : never;

/** Adds link targets and marks to the stock rows. */
export class ContainerRenderer extends DirListing.Renderer {
  constructor(private readonly words: IWords) {
    super();
  }

  // How many more arguments there are depends on the version of Lab.
  updateItemNode(
    node: HTMLElement,
    model: IVolcopyItem,
    ...more: Tail<Parameters<DirListing.Renderer['updateItemNode']>>
  ): void {
    super.updateItemNode(node, model, ...more);
    const facts = model.volcopy;
    const name = node.querySelector('.jp-DirListing-itemText');
    if (!facts || !name) {
      return;
    }
    const link = child(node, name, 'jp-Volcopy-link');
    link.textContent = facts.link ? `→ ${facts.link}` : '';
    const mark = child(node, link, 'jp-Volcopy-mark');
    const text = facts.fate ? fateWord(facts.fate, this.words) : stateWord(facts.state, this.words);
    mark.textContent = text;
    mark.dataset.fate = facts.fate ?? '';
    mark.dataset.state = facts.state;
    if (facts.shown !== model.name) {
      (name.querySelector('span') ?? name).textContent = facts.shown;
    }
    const lines = [facts.shown];
    if (facts.link) {
      lines.push(this.words.__('Link to %1', facts.link));
    }
    if (facts.owner) {
      lines.push(this.words.__('Owner %1, mode %2', facts.owner, facts.mode));
    }
    if (facts.fate) {
      lines.push(fateSentence(facts.fate, this.words));
    }
    node.title = lines.join('\n');
    node.setAttribute('aria-label', lines.join(', '));
  }
}

function child(node: HTMLElement, after: Element, className: string): HTMLElement {
  let found = node.querySelector<HTMLElement>(`.${className}`);
  if (!found) {
    found = document.createElement('span');
    found.className = className;
    after.insertAdjacentElement('afterend', found);
  }
  return found;
}

/** One word for a fate. */
export function fateWord(fate: Fate, words: IWords): string {
  return {
    kept: words.__('kept'),
    shared: words.__('shared'),
    lost: words.__('lost'),
    unknown: words.__('unknown'),
    image: words.__('image')
  }[fate];
}

/** A sentence for a fate. */
export function fateSentence(fate: Fate, words: IWords): string {
  return {
    kept: words.__('Kept when the container is removed'),
    shared: words.__('Kept, and seen by other containers'),
    lost: words.__('Lost when the container is removed'),
    unknown: words.__('Whether it is kept cannot be known'),
    image: words.__('Came with the image: a new container has it again')
  }[fate];
}

/** The state of a container or volume in one word. */
export function stateWord(state: string, words: IWords): string {
  const known: Record<string, string> = {
    created: words.__('created'),
    running: words.__('running'),
    paused: words.__('paused'),
    restarting: words.__('restarting'),
    removing: words.__('removing'),
    exited: words.__('stopped'),
    dead: words.__('dead'),
    used: words.__('used'),
    unused: words.__('unused')
  };
  return known[state] ?? state;
}
