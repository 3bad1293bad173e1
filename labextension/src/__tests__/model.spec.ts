import { VolcopyModel } from '../model';
import { ITransfer } from '../tokens';
import { STATUS, TestServer, transfer } from './server';

const FORECAST = { how: 'rm', container: 'lab', lost: [], kept: [], unknown: [], caches: 0 };

describe('the model', () => {
  let server: TestServer;
  let model: VolcopyModel;

  beforeEach(async () => {
    server = await TestServer.start();
    server.routes = {
      'GET status': () => ({ body: STATUS }),
      'GET containers': () => ({
        body: { containers: [{ id: '1', name: 'lab', image: 'i', state: 'running', mounts: [] }] }
      }),
      'GET volumes': () => ({ body: { volumes: [] } }),
      'GET transfers': () => ({ body: { transfers: [] } }),
      'GET containers/lab/mounts': () => ({ body: { mounts: [] } }),
      'GET containers/lab/forecast': call => ({
        body: { ...FORECAST, how: call.query.get('how') }
      })
    };
    model = new VolcopyModel(server.api);
  });

  afterEach(async () => {
    model.dispose();
    await server.stop();
  });

  it('reads what there is', async () => {
    await model.refresh();
    expect(model.error).toBeNull();
    expect(model.containers.map(one => one.name)).toEqual(['lab']);
    model.select('lab');
    model.setHow('rm-v');
    await new Promise<void>(resolve => {
      model.keptChanged.connect(() => model.kept && resolve());
    });
    expect(model.kept?.forecast.how).toBe('rm-v');
    expect(model.fate({ kind: 'container', name: 'lab', path: '/bin' })).toBe('image');
    expect(model.fate({ kind: 'container', name: 'other', path: '/bin' })).toBeNull();
    expect(model.fate({ kind: 'volume', name: 'v', path: '/' })).toBe('kept');
  });

  it.each([
    ['missing', 404, { message: 'Not Found', reason: null }],
    ['engine', 503, { code: 'unreachable', message: 'no engine', hint: 'start it', context: {} }],
    ['denied', 403, { code: 'denied', message: 'you may not', hint: '', context: {} }],
    ['version', 200, { ...STATUS, api: 2 }],
    ['version', 200, { version: '0.0.9' }]
  ])('knows the cause: %s', async (cause, status, body) => {
    server.routes['GET status'] = () => ({ status, body });
    await model.refresh();
    expect(model.error?.cause_).toBe(cause);
    expect(model.containers).toEqual([]);
    expect(model.loading).toBe(false);
  });

  it('says that nobody answers', async () => {
    await server.stop();
    await model.refresh();
    expect(model.error?.cause_).toBe('offline');
    server = await TestServer.start();
  });

  it('forgets a container that is gone', async () => {
    await model.refresh();
    model.select('lab');
    server.routes['GET containers'] = () => ({ body: { containers: [] } });
    await model.refresh();
    expect(model.selected).toBe('');
  });

  it('follows a transfer by events to its end, and no longer', async () => {
    let closed = false;
    server.routes['POST transfers'] = () => ({ status: 201, body: transfer() });
    server.routes['GET events'] = (_, response) => {
      response.writeHead(200, { 'Content-Type': 'text/event-stream' });
      const send = (one: ITransfer): boolean =>
        response.write(`event: transfer\ndata: ${JSON.stringify(one)}\n\n`);
      response.write(': volcopy\n\n');
      const text = JSON.stringify(transfer({ progress: { ...transfer().progress, bytes: 5 } }));
      // An event may come in pieces.
      response.write(`event: transfer\r\ndata: ${text.slice(0, 20)}`);
      setImmediate(() => {
        response.write(`${text.slice(20)}\r\n\r\n`);
        send(transfer({ state: 'done' }));
      });
      response.on('close', () => {
        closed = true;
      });
      return null;
    };
    const seen: number[] = [];
    model.transfersChanged.connect((_, one) => one && seen.push(one.progress.bytes));
    const started = await model.copy(['lab:/a'], '.');
    expect((await model.finished(started.id)).state).toBe('done');
    expect(seen).toContain(5);
    while (!closed) {
      await new Promise(resolve => setTimeout(resolve, 10));
    }
    expect(JSON.parse(server.calls[0].body.toString())).toEqual({
      sources: ['lab:/a'],
      destination: '.'
    });
  });

  it('hears of an end that it reads, too', async () => {
    model.update(transfer());
    server.routes['GET transfers'] = () => ({
      body: { transfers: [transfer({ state: 'done' })] }
    });
    const over = model.finished('a1');
    await model.refresh();
    expect((await over).state).toBe('done');
  });

  it('rescues by one request of its own', async () => {
    server.routes['POST containers/lab/rescue'] = () => ({
      status: 201,
      body: transfer({ state: 'done', options: { rescue: 'recreate' } })
    });
    await model.refresh();
    model.select('lab');
    model.setHow('recreate');
    expect((await model.rescue('./saved')).state).toBe('done');
    const call = server.calls.find(one => one.method === 'POST');
    expect(JSON.parse(String(call?.body))).toEqual({ destination: './saved', how: 'recreate' });
  });

  it('finds out what happened while the stream was cut', async () => {
    let streams = 0;
    server.routes['POST transfers'] = () => ({ status: 201, body: transfer() });
    server.routes['GET events'] = () => {
      streams += 1;
      return { raw: '' };
    };
    server.routes['GET transfers'] = () => ({
      body: { transfers: [transfer({ state: 'failed' })] }
    });
    const started = await model.copy(['lab:/a'], '.');
    expect((await model.finished(started.id)).state).toBe('failed');
    expect(streams).toBe(1);
  });

  it('cancels softly first, then at once; forgets what is over', async () => {
    const asked: string[] = [];
    server.routes['DELETE transfers/a1'] = call => {
      asked.push(call.query.get('now') ?? '');
      return { status: 202, body: transfer({ cancelling: true }) };
    };
    model.update(transfer());
    await model.cancel('a1');
    await model.cancel('a1');
    expect(asked).toEqual(['', '1']);
    model.update(transfer({ state: 'cancelled' }));
    await model.forgetAll();
    expect(model.transfers).toEqual([]);
    expect(asked).toHaveLength(3);
  });

  it('cancels an upload of its own without asking the server', async () => {
    let cancelled = false;
    model.update(transfer({ id: 'upload-1', local: true }));
    model.setCanceller('upload-1', () => {
      cancelled = true;
    });
    await model.cancel('upload-1');
    expect(cancelled).toBe(true);
    expect(server.calls).toEqual([]);
  });
});
