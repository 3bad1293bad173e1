/** A small HTTP server that answers as ours does, so that the whole way of a request is tested. */

import { createServer, IncomingMessage, Server, ServerResponse } from 'http';
import { AddressInfo } from 'net';

import { Api } from '../api';
import { ITransfer } from '../tokens';

export interface ICall {
  method: string;
  path: string;
  query: URLSearchParams;
  body: Buffer;
  headers: IncomingMessage['headers'];
}

export type Answer = { status?: number; body?: unknown; raw?: Buffer | string };
export type Route = (call: ICall, response: ServerResponse) => Answer | null;

/** Starts on a free port; `routes` is asked for `METHOD path`. */
export class TestServer {
  readonly calls: ICall[] = [];
  routes: Record<string, Route> = {};

  static async start(): Promise<TestServer> {
    const found = new TestServer();
    await new Promise<void>(resolve => found.server.listen(0, '127.0.0.1', () => resolve()));
    return found;
  }

  get root(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/`;
  }

  get api(): Api {
    return new Api((path, init) => fetch(this.root + path, init), this.root);
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise<void>(resolve => this.server.close(() => resolve()));
  }

  private readonly server: Server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const url = new URL(request.url ?? '/', this.root);
      const call: ICall = {
        method: request.method ?? '',
        path: decodeURIComponent(url.pathname.slice(1)),
        query: url.searchParams,
        body: Buffer.concat(parts),
        headers: request.headers
      };
      this.calls.push(call);
      const route = this.routes[`${call.method} ${call.path}`];
      const answer: Answer | null = route
        ? route(call, response)
        : { status: 404, body: { message: 'Not Found', reason: null } };
      if (answer) {
        response.statusCode = answer.status ?? 200;
        response.end(answer.raw ?? (answer.body === undefined ? '' : JSON.stringify(answer.body)));
      }
    });
  });
}

export const STATUS = {
  version: '0.1.0',
  api: 1,
  engine: { version: '20.10.24', api_version: '1.41', address: 'unix://', local: true, name: '' },
  user: { name: 'nb', admin: true },
  may: { engine: true, local_files: true, hidden_files: false }
};

export function transfer(change: Partial<ITransfer> = {}): ITransfer {
  return {
    id: 'a1',
    owner: 'nb',
    state: 'running',
    cancelling: false,
    sources: ['lab:/home/nb/a.csv'],
    destination: '.',
    progress: {
      entries: 0,
      entries_total: null,
      bytes: 0,
      bytes_total: null,
      current: '',
      seconds: 0
    },
    report: null,
    error: null,
    created: '2026-01-01T00:00:00Z',
    started: null,
    finished: null,
    ...change
  };
}
