/**
 * The Files section: a stock file browser over our drive. Nothing in it is refreshed by a clock.
 */

import type { IDocumentManager } from '@jupyterlab/docmanager';
import { DirListing, FileBrowser, FilterFileBrowserModel } from '@jupyterlab/filebrowser';
import type { Contents } from '@jupyterlab/services';
import type { ITranslator } from '@jupyterlab/translation';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError, asApiError } from './api';
import { ContainerListing, ContainerRenderer, IDrop } from './listing';
import { DRIVE, IPlace, localPath, placeOf } from './places';
import type { IWords } from './words';

/** About 25 days, the most there is: the stock model cannot be told never to look by itself. */
const NEVER = 0x7fffffff - 1;

export class ContainerBrowser extends FileBrowser {
  constructor(manager: IDocumentManager, translator: ITranslator, words: IWords) {
    super({
      id: 'jupyter-volcopy-browser',
      model: new FilterFileBrowserModel({
        manager,
        driveName: DRIVE,
        translator,
        auto: false,
        refreshInterval: NEVER
      }),
      renderer: new ContainerRenderer(words),
      restore: false,
      translator
    });
    this.addClass('jp-Volcopy-browser');
    this.toolbar.hide();
    this.listing.setColumnVisibility('file_size', true);
    this.listing.setColumnVisibility('last_modified', false);
    this.listing.setColumnVisibility('is_selected', false);
    this.listing.contentNode.setAttribute('aria-label', words.__('Files of the container'));
    this.crumbs.node.setAttribute('aria-label', words.__('Path in the container'));
    this.model.connectionFailure.connect((_, error) => {
      this._failed.emit(asApiError(error));
    });
  }

  /** A directory could not be listed. */
  get failed(): ISignal<this, ApiError> {
    return this._failed;
  }

  /** Other entries are chosen now. */
  get chosenChanged(): ISignal<ContainerListing, void> {
    return (this.listing as ContainerListing).chosenChanged;
  }

  get dropped(): ISignal<ContainerListing, IDrop> {
    return (this.listing as ContainerListing).dropped;
  }

  get oddOpened(): ISignal<ContainerListing, Contents.IModel> {
    return (this.listing as ContainerListing).oddOpened;
  }

  /** What is listed; null at the root of the drive. */
  get place(): IPlace | null {
    return placeOf(this.model.path);
  }

  /** The chosen entries. */
  get chosen(): IPlace[] {
    return [...this.selectedItems()].flatMap(item => placeOf(item.path) ?? []);
  }

  /** Paths of Lab of the chosen entries. */
  get chosenPaths(): string[] {
    return [...this.selectedItems()].map(item => item.path);
  }

  /** Choose every entry. */
  chooseAll(): void {
    (this.listing as ContainerListing).chooseAll();
  }

  /** Open what is chosen: folders here, files in Lab. */
  openChosen(): void {
    for (const item of this.selectedItems()) {
      (this.listing as ContainerListing).openItem(item);
    }
  }

  /** Download what is chosen: files as they are, folders as archives. */
  async downloadChosen(): Promise<void> {
    for (const path of this.chosenPaths) {
      await this.model.download(path);
    }
  }

  /** List a place. */
  async list(place: IPlace | null): Promise<void> {
    await this.model.cd(place ? `/${localPath(place)}` : '/');
  }

  protected createDirListing(options: DirListing.IOptions): DirListing {
    return new ContainerListing(options);
  }

  private _failed = new Signal<this, ApiError>(this);
}
