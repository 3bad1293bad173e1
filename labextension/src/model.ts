/**
 * What the panel shows, and nothing of how: containers, the chosen one and what is kept of it,
 * transfers. Nothing is polled: things are read when the panel is shown, on request, and after a
 * transfer. The stream of events is open only while a transfer waits or runs.
 */

import { ISignal, Signal } from '@lumino/signaling';

import { Api, ApiError, asApiError } from './api';
import { Fate, fateOf } from './keeping';
import { show } from './names';
import { IPlace, splitEngine } from './places';
import { IContainer, IKept, IStatus, isOver, ITransfer, IVolume, Way } from './tokens';

/** Wait between two tries to follow the events, in milliseconds: at first and at most. */
const RETRY_FIRST = 500;
const RETRY_MOST = 10000;

export class VolcopyModel {
  constructor(readonly api: Api) {}

  /** Status, containers or volumes are others now, or could not be read. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Another container was chosen. */
  get selectionChanged(): ISignal<this, string> {
    return this._selectionChanged;
  }

  /** What is kept of the chosen container is known, or could not be read. */
  get keptChanged(): ISignal<this, void> {
    return this._keptChanged;
  }

  /** A transfer is new or gone, or went on. */
  get transfersChanged(): ISignal<this, ITransfer | null> {
    return this._transfersChanged;
  }

  /** A transfer is over. */
  get transferOver(): ISignal<this, ITransfer> {
    return this._transferOver;
  }

  status: IStatus | null = null;
  containers: IContainer[] = [];
  volumes: IVolume[] = [];
  /** Why containers could not be read. */
  error: ApiError | null = null;
  loading = false;

  kept: IKept | null = null;
  keptError: ApiError | null = null;
  keptLoading = false;

  get how(): Way {
    return this._how;
  }

  /** Name of the chosen container, or "". */
  get selected(): string {
    return this._selected;
  }

  get container(): IContainer | null {
    return this.containers.find(one => one.name === this._selected) ?? null;
  }

  /**
   * The engines that containers can be on, the usual one ("") first. Where the server does not say,
   * those that the names of containers and volumes name.
   */
  get engines(): { name: string; answers: boolean }[] {
    const told = this.status?.engines ?? [];
    const seen = ['', ...[...this.containers, ...this.volumes].map(one => splitEngine(one.name).engine)];
    const more = [...new Set(seen)].filter(name => !told.some(one => one.name === name));
    return [...told, ...more.map(name => ({ name, answers: true }))];
  }

  get transfers(): ITransfer[] {
    return [...this._transfers.values()];
  }

  get running(): ITransfer[] {
    return this.transfers.filter(one => !isOver(one));
  }

  dispose(): void {
    this._stop?.abort();
    Signal.clearData(this);
  }

  /** Read status, containers, volumes and transfers again. Never raises: see `error`. */
  async refresh(): Promise<void> {
    if (this._refreshing) {
      return this._refreshing;
    }
    this.loading = true;
    this._changed.emit();
    this._refreshing = this.readAll();
    try {
      await this._refreshing;
    } finally {
      this._refreshing = null;
    }
    if (this._selected) {
      await this.readKept();
    }
  }

  private async readAll(): Promise<void> {
    try {
      this.status = await this.api.status();
      const [containers, volumes, transfers] = await Promise.all([
        this.api.containers(),
        this.api.volumes(),
        this.api.transfers()
      ]);
      this.containers = containers;
      this.volumes = volumes;
      this.error = null;
      for (const id of [...this._transfers.keys()]) {
        if (!this._transfers.get(id)?.local && !transfers.some(one => one.id === id)) {
          this._transfers.delete(id);
        }
      }
      transfers.forEach(one => {
        if (this._transfers.has(one.id)) {
          this.update(one); // whoever waits for its end hears of it
        } else {
          this._transfers.set(one.id, one);
        }
      });
      this._transfersChanged.emit(null);
      this.follow();
    } catch (error) {
      this.error = asApiError(error);
      this.status = null;
      this.containers = [];
      this.volumes = [];
    }
    if (this._selected && !this.container) {
      this.select('');
    }
    this.loading = false;
    this._changed.emit();
  }

  /** Choose a container ("" for none) and read what is kept of it. */
  select(name: string): void {
    if (name === this._selected) {
      return;
    }
    this._selected = name;
    this.kept = null;
    this.keptError = null;
    this._selectionChanged.emit(name);
    void this.readKept();
  }

  /** Choose the way of removal the forecast is about. */
  setHow(how: Way): void {
    this._how = how;
    void this.readKept();
  }

  /** Read what is kept of the chosen container. Never raises: see `keptError`. */
  async readKept(): Promise<void> {
    const name = this._selected;
    const turn = ++this._keptTurn;
    this.keptLoading = name !== '';
    this._keptChanged.emit();
    if (!name) {
      this.kept = null;
      return;
    }
    let kept: IKept | null = null;
    let problem: ApiError | null = null;
    try {
      kept = await this.api.kept(name, this._how);
    } catch (error) {
      problem = asApiError(error);
    }
    if (turn !== this._keptTurn) {
      return; // another answer is on its way
    }
    this.kept = kept;
    this.keptError = problem;
    this.keptLoading = false;
    this._keptChanged.emit();
  }

  /** What happens to a place; null while that is not known. */
  fate(place: IPlace): Fate | null {
    if (place.kind === 'volume') {
      return 'kept';
    }
    const known = this.kept && !this.keptLoading && place.name === this._selected;
    return known && this.kept ? fateOf(show(place.path), this.kept) : null;
  }

  /** Start a copy and follow it. */
  async copy(sources: string[], destination: string): Promise<ITransfer> {
    return this.started(await this.api.start(sources, destination));
  }

  /** Save what the chosen way of removal would lose of the chosen container, and follow it. */
  async rescue(target: string): Promise<ITransfer> {
    return this.started(await this.api.rescue(this._selected, target, this._how));
  }

  /** Take in a transfer as it is now; also uploads of this browser. */
  update(transfer: ITransfer): void {
    const before = this._transfers.get(transfer.id);
    this._transfers.set(transfer.id, transfer);
    this._transfersChanged.emit(transfer);
    if (isOver(transfer) && (!before || !isOver(before))) {
      this._transferOver.emit(transfer);
    }
  }

  /** Cancel a transfer that waits or runs; asked once more, at once. */
  async cancel(id: string): Promise<void> {
    const known = this._transfers.get(id);
    const local = this._cancellers.get(id);
    if (local) {
      local();
    } else if (known && !isOver(known)) {
      await this.api.end(id, known.cancelling);
      this.update({ ...known, cancelling: true });
      this.follow();
    }
  }

  /** Take a transfer that is over off the list. */
  async forget(id: string): Promise<void> {
    const known = this._transfers.get(id);
    if (!known || !isOver(known)) {
      return;
    }
    this._transfers.delete(id);
    this._transfersChanged.emit(null);
    if (!known.local) {
      try {
        await this.api.end(id);
      } catch {
        // the server has forgotten it by itself
      }
    }
  }

  /** Take all that are over off the list. */
  async forgetAll(): Promise<void> {
    await Promise.all(this.transfers.filter(isOver).map(one => this.forget(one.id)));
  }

  /** How an upload of this browser is cancelled; null once it is over. */
  setCanceller(id: string, cancel: (() => void) | null): void {
    if (cancel) {
      this._cancellers.set(id, cancel);
    } else {
      this._cancellers.delete(id);
    }
  }

  /** Wait until a transfer is over. */
  finished(id: string): Promise<ITransfer> {
    return new Promise(resolve => {
      const known = this._transfers.get(id);
      if (known && isOver(known)) {
        resolve(known);
        return;
      }
      const look = (_: unknown, transfer: ITransfer): void => {
        if (transfer.id === id) {
          this._transferOver.disconnect(look);
          resolve(transfer);
        }
      };
      this._transferOver.connect(look);
    });
  }

  private started(transfer: ITransfer): ITransfer {
    const known = this._transfers.get(transfer.id);
    if (known && isOver(known)) {
      return known; // the events were faster than this answer
    }
    this.update(transfer);
    this.follow();
    return transfer;
  }

  /** Follow events as long as a transfer of the server waits or runs. */
  private follow(): void {
    if (!this._stop && this.live()) {
      const stop = new AbortController();
      this._stop = stop;
      void this.followUntil(stop).finally(() => {
        this._stop = null;
      });
    }
  }

  private live(): boolean {
    return this.running.some(one => !one.local);
  }

  private async followUntil(stop: AbortController): Promise<void> {
    let wait = RETRY_FIRST;
    while (this.live() && !stop.signal.aborted) {
      try {
        await this.api.events(transfer => {
          wait = RETRY_FIRST;
          this.update(transfer);
          if (!this.live()) {
            stop.abort();
          }
        }, stop.signal);
      } catch {
        // cut: the list below says what was missed
      }
      if (stop.signal.aborted) {
        return;
      }
      await new Promise(resolve => setTimeout(resolve, wait));
      wait = Math.min(2 * wait, RETRY_MOST);
      await this.catchUp();
    }
  }

  /** After a lost stream: what became of the transfers that ran. */
  private async catchUp(): Promise<void> {
    try {
      const known = await this.api.transfers();
      for (const one of this.running.filter(item => !item.local)) {
        const now = known.find(item => item.id === one.id);
        this.update(
          now ?? {
            ...one,
            state: 'failed',
            error: {
              code: 'interrupted',
              message: 'the server was restarted',
              hint: '',
              context: {}
            }
          }
        );
      }
    } catch {
      // still gone: tried again
    }
  }

  private _selected = '';
  private _how: Way = 'rm';
  private _keptTurn = 0;
  private _refreshing: Promise<void> | null = null;
  private _stop: AbortController | null = null;
  private _transfers = new Map<string, ITransfer>();
  private _cancellers = new Map<string, () => void>();
  private _changed = new Signal<this, void>(this);
  private _selectionChanged = new Signal<this, string>(this);
  private _keptChanged = new Signal<this, void>(this);
  private _transfersChanged = new Signal<this, ITransfer | null>(this);
  private _transferOver = new Signal<this, ITransfer>(this);
}
