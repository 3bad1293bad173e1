/**
 * The REST API of the server (design, section 10), with typed errors.
 *
 * Nothing of Lab is imported here: the function that makes a request is given, so the same code
 * runs in the tests.
 */

import { quote } from './names';
import { IPlace } from './places';
import {
  IContainer,
  IErrorBody,
  IForecast,
  IKept,
  IListing,
  IPlaceFacts,
  IPlan,
  IStatus,
  ITransfer,
  IVolume,
  SPOKEN_API,
  Way
} from './tokens';

/** Version of this extension, for people. */
const OWN_VERSION = '0.1.0';

/** Entries of a page of a listing. */
const PAGE = '10000';

/** Makes one request; relative to the root of the API. */
export type Request = (path: string, init: RequestInit) => Promise<Response>;

/** What is wrong, as far as the panel must tell it apart. */
export type Cause = 'missing' | 'version' | 'engine' | 'denied' | 'offline' | 'other';

/** Every failure of the API. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly code: string,
    readonly status: number,
    readonly hint = '',
    readonly context: Record<string, unknown> = {}
  ) {
    super(message);
    this.name = 'ApiError';
  }

  get cause_(): Cause {
    switch (this.code) {
      case 'server-missing':
        return 'missing';
      case 'server-version':
        return 'version';
      case 'offline':
        return 'offline';
      case 'denied':
        return 'denied';
      case 'unreachable':
      case 'stalled':
      case 'too-old':
        return 'engine';
      default:
        return this.status === 401 || this.status === 403 ? 'denied' : 'other';
    }
  }
}

/** Any thrown value as one of ours. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) {
    return error;
  }
  return new ApiError(error instanceof Error ? error.message : String(error), 'other', 0);
}

export class Api {
  /**
   * @param request makes one request.
   * @param root address of the API, for downloads by the browser itself; ends in `/`.
   */
  constructor(
    private readonly request: Request,
    readonly root: string
  ) {}

  /** Who we talk to; raises `server-version` where the two cannot understand each other. */
  async status(): Promise<IStatus> {
    const found = await this.json<IStatus>('GET', 'status');
    if (found.api !== SPOKEN_API) {
      throw new ApiError('the server part has another version', 'server-version', 0, '', {
        server: found.version ?? '?',
        sidebar: OWN_VERSION
      });
    }
    return found;
  }

  async containers(): Promise<IContainer[]> {
    return this.list<IContainer>('containers', 'containers');
  }

  async volumes(): Promise<IVolume[]> {
    return this.list<IVolume>('volumes', 'volumes');
  }

  async kept(container: string, how: Way): Promise<IKept> {
    const base = `containers/${encodeURIComponent(container)}`;
    const [mounts, forecast] = await Promise.all([
      this.list<IPlaceFacts>(`${base}/mounts`, 'mounts'),
      this.json<IForecast>('GET', `${base}/forecast?${new URLSearchParams({ how })}`)
    ]);
    return { mounts, forecast };
  }

  async entries(place: IPlace): Promise<IListing> {
    const first = await this.json<IListing>('GET', this.below(place, 'entries', { limit: PAGE }));
    const entries = [...first.entries];
    let next = first.next;
    while (next) {
      const page: IListing = await this.json('GET', this.below(place, 'entries', { cursor: next }));
      entries.push(...page.entries);
      next = page.next;
    }
    return { ...first, entries, next };
  }

  /** The content of one file. */
  async read(place: IPlace): Promise<Response> {
    return this.call('GET', this.below(place, 'file'));
  }

  /** Write one file; with `fresh` only where there is none. */
  async write(place: IPlace, body: Blob | string | ArrayBuffer, fresh = false): Promise<void> {
    await this.call('PUT', this.below(place, 'file'), {
      body,
      headers: {
        'Content-Type': 'application/octet-stream',
        ...(fresh ? { 'If-None-Match': '*' } : {})
      }
    });
  }

  /** Address of a file, for the browser. */
  fileUrl(place: IPlace): string {
    return this.root + this.below(place, 'file');
  }

  /** Address of an archive, for the browser. */
  archiveUrl(place: IPlace): string {
    return this.root + this.below(place, 'archive');
  }

  /** What a copy would do; nothing is changed. */
  async plan(sources: string[], destination: string): Promise<IPlan> {
    return this.json<IPlan>('POST', 'transfers', { sources, destination, dry_run: true });
  }

  async start(sources: string[], destination: string): Promise<ITransfer> {
    return this.json<ITransfer>('POST', 'transfers', { sources, destination });
  }

  /**
   * Save what a way of removal would lose.
   *
   * @param target a directory of the user's files that is not there yet, as `./saved`.
   */
  async rescue(container: string, target: string, how: Way): Promise<ITransfer> {
    return this.json<ITransfer>('POST', `containers/${encodeURIComponent(container)}/rescue`, {
      destination: target,
      how
    });
  }

  async transfers(): Promise<ITransfer[]> {
    return this.list<ITransfer>('transfers', 'transfers');
  }

  /** Cancel one that runs (with `now` in the middle of a file), forget one that is over. */
  async end(id: string, now = false): Promise<void> {
    await this.call('DELETE', `transfers/${encodeURIComponent(id)}${now ? '?now=1' : ''}`);
  }

  /**
   * Follow transfers until `signal` ends it or the server closes the stream.
   *
   * @param seen gets a full snapshot each time one changed.
   */
  async events(seen: (transfer: ITransfer) => void, signal: AbortSignal): Promise<void> {
    const response = await this.call('GET', 'events', {
      signal,
      headers: { Accept: 'text/event-stream' }
    });
    const reader = response.body?.getReader();
    if (!reader) {
      return;
    }
    const decoder = new TextDecoder();
    let rest = '';
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      rest += decoder.decode(value, { stream: true });
      const parts = rest.split(/\r?\n\r?\n/);
      rest = parts.pop() ?? '';
      for (const part of parts) {
        const transfer = readEvent(part);
        if (transfer) {
          seen(transfer);
        }
      }
    }
  }

  private below(place: IPlace, what: string, more: Record<string, string> = {}): string {
    const kind = place.kind === 'volume' ? 'volumes' : 'containers';
    const query = Object.entries({ path: place.path, ...more })
      .map(([key, value]) => `${key}=${quote(value)}`)
      .join('&');
    return `${kind}/${encodeURIComponent(place.name)}/${what}?${query}`;
  }

  private async list<T>(path: string, key: string): Promise<T[]> {
    const found = await this.json<T[] | Record<string, T[]>>('GET', path);
    return Array.isArray(found) ? found : found[key];
  }

  private async json<T>(method: string, path: string, body?: unknown): Promise<T> {
    const init: RequestInit =
      body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
    const response = await this.call(method, path, init);
    try {
      return (await response.json()) as T;
    } catch {
      throw new ApiError('the answer is no JSON', 'server-missing', response.status);
    }
  }

  private async call(method: string, path: string, init: RequestInit = {}): Promise<Response> {
    let response: Response;
    try {
      response = await this.request(path, { ...init, method, cache: 'no-store' });
    } catch (error) {
      if (init.signal?.aborted) {
        throw error;
      }
      throw new ApiError('the Jupyter server does not answer', 'offline', 0);
    }
    if (!response.ok) {
      throw await readError(response);
    }
    return response;
  }
}

/** The transfer of one server-sent event; null for a comment or another event. */
export function readEvent(text: string): ITransfer | null {
  let name = 'message';
  const data: string[] = [];
  for (const line of text.split(/\r?\n/)) {
    if (line.startsWith('event:')) {
      name = line.slice(6).trim();
    } else if (line.startsWith('data:')) {
      data.push(line.slice(5).replace(/^ /, ''));
    }
  }
  return name === 'transfer' && data.length ? (JSON.parse(data.join('\n')) as ITransfer) : null;
}

/** The error that a reply stands for. A 404 that is not ours means that nothing of ours is there. */
export async function readError(response: Response): Promise<ApiError> {
  let body: Partial<IErrorBody> = {};
  try {
    body = (await response.json()) as Partial<IErrorBody>;
  } catch {
    // not JSON: from something before or beside our handlers
  }
  if (typeof body.code === 'string') {
    return new ApiError(
      body.message ?? body.code,
      body.code,
      response.status,
      body.hint ?? '',
      body.context ?? {}
    );
  }
  const code = response.status === 404 ? 'server-missing' : 'other';
  const text = typeof body.message === 'string' ? body.message : response.statusText;
  return new ApiError(text || `status ${response.status}`, code, response.status);
}
