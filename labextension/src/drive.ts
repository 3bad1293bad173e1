/**
 * Containers and volumes as a drive of Lab: `containers:NAME/path`, `containers:volume=NAME/path`.
 *
 * Listings and single files are read, single files are saved; a copy within the drive is a
 * transfer. Nothing is renamed or deleted: we copy, we do not manage. Files that are not text come
 * as base64, as Lab's viewers want them; big ones are not opened but downloaded.
 */

import type { Contents, ServerConnection } from '@jupyterlab/services';
import { ISignal, Signal } from '@lumino/signaling';

import { ApiError } from './api';
import { Fate } from './keeping';
import type { VolcopyModel } from './model';
import { fromBytes, show } from './names';
import { notebookText, untrusted } from './notebook';
import {
  above,
  baseName,
  below,
  DRIVE,
  endpoint,
  engineFolder,
  IPlace,
  localPath,
  parsePlace,
  splitEngine
} from './places';
import { IEntry } from './tokens';
import type { IWords } from './words';

/** More than this is not opened in the browser, in bytes. */
export const OPEN_LIMIT = 64 * 1024 * 1024;

/** What our listing shows beyond what Lab's models have. */
export interface IVolcopyItem extends Contents.IModel {
  volcopy?: {
    kind: string;
    /** The name as it may be shown; Lab's own is the one it has. */
    shown: string;
    link: string;
    owner: string;
    mode: string;
    fate: Fate | null;
    state: string;
  };
}

export class ContainerDrive implements Contents.IDrive {
  constructor(
    private readonly model: VolcopyModel,
    private readonly words: IWords,
    readonly serverSettings: ServerConnection.ISettings
  ) {}

  readonly name = DRIVE;

  get fileChanged(): ISignal<Contents.IDrive, Contents.IChangedArgs> {
    return this._fileChanged;
  }

  /** A directory was listed: whether all of it, or until a budget was used up. */
  get listed(): ISignal<this, { path: string; complete: boolean }> {
    return this._listed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  async get(path: string, options: Contents.IFetchOptions = {}): Promise<Contents.IModel> {
    const place = parsePlace(path);
    if (!place) {
      return this.root(path.replace(/^\/+|\/+$/g, ''));
    }
    if (place.path === '/' || (await this.isDirectory(place, options))) {
      return this.directory(place, options.content !== false);
    }
    return this.file(place, options);
  }

  async getDownloadUrl(path: string): Promise<string> {
    const place = parsePlace(path);
    if (!place) {
      throw this.refusal();
    }
    return (await this.isDirectory(place, {}))
      ? this.model.api.archiveUrl(place)
      : this.model.api.fileUrl(place);
  }

  async save(path: string, options: Partial<Contents.IModel> = {}): Promise<Contents.IModel> {
    const place = parsePlace(path);
    if (!place || place.path === '/' || options.type === 'directory') {
      throw this.refusal();
    }
    await this.model.api.write(place, encodeContent(options));
    const saved = await this.get(path, { content: false });
    this._fileChanged.emit({ type: 'save', oldValue: null, newValue: saved });
    return saved;
  }

  async copy(path: string, toDirectory: string): Promise<Contents.IModel> {
    const source = parsePlace(path);
    const target = parsePlace(toDirectory);
    if (!source || !target) {
      throw this.refusal();
    }
    const started = await this.model.copy([endpoint(source)], endpoint(target));
    const over = await this.model.finished(started.id);
    if (over.error) {
      throw new ApiError(over.error.message, over.error.code, 0, over.error.hint);
    }
    return this.get(localPath(below(target, baseName(source.path))), { content: false });
  }

  newUntitled(): Promise<Contents.IModel> {
    return Promise.reject(this.refusal());
  }

  delete(): Promise<void> {
    return Promise.reject(this.refusal());
  }

  rename(): Promise<Contents.IModel> {
    return Promise.reject(this.refusal());
  }

  // No checkpoints: saving is staged, and a second file in the container was not asked for.

  createCheckpoint(): Promise<Contents.ICheckpointModel> {
    return Promise.resolve({ id: 'none', last_modified: new Date().toISOString() });
  }

  listCheckpoints(): Promise<Contents.ICheckpointModel[]> {
    return Promise.resolve([]);
  }

  restoreCheckpoint(): Promise<void> {
    return Promise.resolve();
  }

  deleteCheckpoint(): Promise<void> {
    return Promise.resolve();
  }

  private refusal(): ApiError {
    return new ApiError(
      this.words.__('Files of containers are copied here, not renamed, deleted or created.'),
      'usage',
      400,
      this.words.__('Use a terminal in the container for that.')
    );
  }

  /** Whether a place is a directory; what was listed last is asked first. */
  private async isDirectory(place: IPlace, options: Contents.IFetchOptions): Promise<boolean> {
    if (options.type === 'directory') {
      return true;
    }
    if (options.type === 'file' || options.type === 'notebook') {
      return false;
    }
    if (place.path === '/') {
      return true;
    }
    return (await this.entry(place)).directory;
  }

  /** The entry of one place, by the listing of the directory it lies in. */
  private async entry(place: IPlace): Promise<{ directory: boolean; entry: IEntry }> {
    const parent = above(place);
    const name = baseName(place.path);
    if (parent) {
      const listing = await this.model.api.entries(parent);
      const found = listing.entries.find(one => realName(one) === name);
      if (found && found.kind !== 'symlink') {
        return { directory: found.kind === 'directory', entry: found };
      }
      if (found) {
        return { directory: await this.leadsToDirectory(place), entry: found };
      }
      if (listing.complete) {
        throw new ApiError(
          this.words.__('There is no %1 in %2.', show(place.path), place.name),
          'no-such-path',
          404
        );
      }
    }
    throw new ApiError(this.words.__('%1 was not found in its listing.', show(place.path)), 'other', 0);
  }

  private async leadsToDirectory(place: IPlace): Promise<boolean> {
    try {
      await this.model.api.entries(place);
      return true;
    } catch {
      return false;
    }
  }

  /** Containers and volumes of one engine; beside those of the usual one, a folder for each other. */
  private root(folder: string): Contents.IModel {
    const { engine } = splitEngine(folder);
    const here = (one: { name: string }): boolean => splitEngine(one.name).engine === engine;
    const places: [IPlace, string][] = [
      ...this.model.containers.filter(here).map(({ name, state }): [IPlace, string] => [
        { kind: 'container', name, path: '/' },
        state
      ]),
      ...this.model.volumes.filter(here).map(({ name, used_by }): [IPlace, string] => [
        { kind: 'volume', name, path: '/' },
        used_by.length ? 'used' : 'unused'
      ])
    ];
    const items = places.map(([place, state]) => this.item(localPath(place), place.kind, state));
    const others = engine ? [] : this.model.engines.filter(one => one.name);
    const folders = others.map(({ name }) => this.item(engineFolder(name), 'engine', ''));
    return { ...blank(baseName(folder), folder, 'directory'), content: [...items, ...folders] };
  }

  private item(path: string, kind: string, state: string): IVolcopyItem {
    const name = baseName(path);
    return {
      ...blank(name, path, 'directory'),
      content: null,
      format: null,
      volcopy: { kind, shown: name, link: '', owner: '', mode: '', fate: null, state }
    };
  }

  private async directory(place: IPlace, content: boolean): Promise<Contents.IModel> {
    const model = blank(baseName(localPath(place)), localPath(place), 'directory');
    if (!content) {
      return { ...model, content: null, format: null };
    }
    const listing = await this.model.api.entries(place);
    this._listed.emit({ path: localPath(place), complete: listing.complete });
    return { ...model, content: listing.entries.map(entry => this.entryItem(place, entry)) };
  }

  private entryItem(directory: IPlace, entry: IEntry): IVolcopyItem {
    const name = realName(entry);
    const place = below(directory, name);
    const folder = entry.kind === 'directory';
    return {
      ...blank(name, localPath(place), folder ? 'directory' : typeOf(name)),
      content: null,
      format: null,
      size: folder ? undefined : entry.size,
      last_modified: entry.modified,
      created: entry.modified,
      volcopy: {
        kind: entry.kind,
        shown: entry.name,
        link: entry.link_target ?? '',
        owner: entry.owner || String(entry.uid),
        mode: entry.mode,
        fate: this.model.fate(place),
        state: ''
      }
    };
  }

  private async file(
    place: IPlace,
    options: Contents.IFetchOptions
  ): Promise<Contents.IModel> {
    const { entry } = await this.entry(place);
    const name = baseName(place.path);
    const model: Contents.IModel = {
      ...blank(name, localPath(place), options.type ?? typeOf(name)),
      size: entry.size,
      last_modified: entry.modified,
      created: entry.modified
    };
    if (options.content === false) {
      return { ...model, content: null, format: null };
    }
    if (entry.size > OPEN_LIMIT) {
      throw new ApiError(
        this.words.__('%1 is too big to be opened here.', show(name)),
        'limit',
        413,
        this.words.__('Download it, or copy it to your files.')
      );
    }
    const bytes = new Uint8Array(await (await this.model.api.read(place)).arrayBuffer());
    return { ...model, size: bytes.length, ...decodeContent(bytes, model.type, options.format) };
  }

  private _isDisposed = false;
  private _fileChanged = new Signal<Contents.IDrive, Contents.IChangedArgs>(this);
  private _listed = new Signal<this, { path: string; complete: boolean }>(this);
}

/** The name of an entry as the container has it. */
function realName(entry: IEntry): string {
  return entry.name_base64 ? fromBytes(entry.name_base64) : entry.name;
}

function blank(name: string, path: string, type: string): Contents.IModel {
  return {
    name,
    path,
    type,
    writable: true,
    created: '',
    last_modified: '',
    mimetype: '',
    content: null,
    format: type === 'directory' ? 'json' : null
  };
}

function typeOf(name: string): string {
  return name.endsWith('.ipynb') ? 'notebook' : 'file';
}

/** Bytes as Lab wants them for a type and format. */
export function decodeContent(
  bytes: Uint8Array,
  type: string,
  format?: Contents.FileFormat | null
): Pick<Contents.IModel, 'content' | 'format' | 'mimetype'> {
  if (type === 'notebook' && format !== 'text' && format !== 'base64') {
    return {
      content: untrusted(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))),
      format: 'json',
      mimetype: 'application/x-ipynb+json'
    };
  }
  if (format !== 'base64') {
    try {
      const content = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
      if (format === 'text' || !content.includes('\0')) {
        return { content, format: 'text', mimetype: 'text/plain' };
      }
    } catch {
      if (format === 'text') {
        throw new ApiError('the file is no UTF-8 text', 'usage', 400);
      }
    }
  }
  let binary = '';
  for (let at = 0; at < bytes.length; at += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  }
  return { content: btoa(binary), format: 'base64', mimetype: 'application/octet-stream' };
}

/** What Lab wants to save as bytes. A notebook looks as the server of Jupyter writes it. */
export function encodeContent(options: Partial<Contents.IModel>): string | ArrayBuffer {
  if (options.type === 'notebook' || options.format === 'json') {
    return notebookText(options.content);
  }
  if (options.format === 'base64') {
    const binary = atob(String(options.content));
    const bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at += 1) {
      bytes[at] = binary.charCodeAt(at);
    }
    return bytes.buffer;
  }
  return String(options.content ?? '');
}
