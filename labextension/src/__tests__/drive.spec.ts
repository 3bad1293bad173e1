import type { ServerConnection } from '@jupyterlab/services';

import { ContainerDrive, decodeContent, encodeContent, OPEN_LIMIT } from '../drive';
import { VolcopyModel } from '../model';
import { ownWords } from '../words';
import { STATUS, TestServer, transfer } from './server';

function entry(name: string, kind = 'file', change: object = {}): object {
  return {
    name,
    kind,
    mode: '0644',
    uid: 1000,
    gid: 100,
    owner: 'nb',
    group: 'users',
    size: 3,
    modified: '2026-01-01T00:00:00Z',
    ...change
  };
}

const NOTEBOOK = { cells: [], metadata: {}, nbformat: 4, nbformat_minor: 5 };

describe('the drive', () => {
  let server: TestServer;
  let model: VolcopyModel;
  let drive: ContainerDrive;
  const files: Record<string, Buffer> = {};

  beforeEach(async () => {
    server = await TestServer.start();
    const listings: Record<string, object[]> = {
      '/': [entry('home', 'directory')],
      '/home': [
        entry('a.csv'),
        entry('教程.ipynb'),
        entry('sub', 'directory'),
        entry('to-sub', 'symlink', { link_target: 'sub' }),
        entry('to-a', 'symlink', { link_target: 'a.csv' }),
        entry('huge', 'file', { size: OPEN_LIMIT + 1 }),
        entry('odd\\xff', 'file', { name_base64: Buffer.from([0x6f, 0x64, 0x64, 0xff]).toString('base64') })
      ],
      '/home/sub': [],
      '/home/to-sub': []
    };
    files['/home/a.csv'] = Buffer.from('a,b');
    files['/home/to-a'] = Buffer.from('a,b');
    files['/home/教程.ipynb'] = Buffer.from(JSON.stringify(NOTEBOOK));
    server.routes = {
      'GET status': () => ({ body: STATUS }),
      'GET containers': () => ({
        body: { containers: [{ id: '1', name: 'lab', image: 'i', state: 'exited', mounts: [] }] }
      }),
      'GET volumes': () => ({
        body: { volumes: [{ name: 'data', driver: 'local', kind: 'named', used_by: [] }] }
      }),
      'GET transfers': () => ({ body: { transfers: [] } }),
      'GET containers/lab/entries': call => {
        const all = listings[call.query.get('path') ?? ''];
        if (!all && !call.query.get('cursor')) {
          return { status: 409, body: { code: 'not-a-directory', message: 'no', hint: '', context: {} } };
        }
        // Pages of two, to see that all are read.
        const [path, start] = call.query.get('cursor')?.split('#') ?? [call.query.get('path')!, '0'];
        const entries = listings[path].slice(Number(start), Number(start) + 2);
        const next = Number(start) + 2;
        return {
          body: {
            path,
            entries,
            complete: true,
            total: listings[path].length,
            next: next < listings[path].length ? `${path}#${next}` : null
          }
        };
      },
      'GET containers/lab/file': call => ({ raw: files[call.query.get('path') ?? ''] }),
      'PUT containers/lab/file': call => {
        files[call.query.get('path') ?? ''] = call.body;
        return { body: {} };
      }
    };
    model = new VolcopyModel(server.api);
    await model.refresh();
    drive = new ContainerDrive(model, ownWords('en'), {} as ServerConnection.ISettings);
  });

  afterEach(async () => {
    model.dispose();
    await server.stop();
  });

  it('lists containers and volumes at its root', async () => {
    const root = await drive.get('');
    expect(root.content.map((one: { path: string }) => one.path)).toEqual(['lab', 'volume=data']);
  });

  it('lists a directory, all pages of it', async () => {
    const found = await drive.get('lab/home');
    expect(found.type).toBe('directory');
    expect(found.content).toHaveLength(7);
    expect(found.content[1]).toMatchObject({ type: 'notebook', path: 'lab/home/教程.ipynb' });
    expect(found.content[3].volcopy).toMatchObject({ kind: 'symlink', link: 'sub', owner: 'nb' });
  });

  it('has a folder for each other engine', async () => {
    server.routes['GET containers'] = () => ({
      body: { containers: ['lab', 'engine=far/lab'].map(name => ({ name, state: 'running' })) }
    });
    server.routes['GET volumes'] = () => ({
      body: { volumes: [{ name: 'engine=far/data', used_by: [] }] }
    });
    server.routes['GET status'] = () => ({
      body: { ...STATUS, engines: [{ name: '', answers: true }, { name: 'far', answers: true }] }
    });
    await model.refresh();
    const paths = async (path: string): Promise<string[]> =>
      (await drive.get(path)).content.map((one: { path: string }) => one.path);
    expect(await paths('')).toEqual(['lab', 'engine=far']);
    expect(await paths('engine=far')).toEqual(['engine=far/lab', 'engine=far/volume=data']);
    expect(await drive.getDownloadUrl('engine=far/volume=data')).toBe(
      `${server.root}volumes/engine%3Dfar%2Fdata/archive?path=%2F`
    );
  });

  it('keeps a name that is no UTF-8, and shows it escaped', async () => {
    const found = (await drive.get('lab/home')).content[6];
    expect(found).toMatchObject({ name: 'odd\udcff', path: 'lab/home/odd\udcff' });
    expect(found.volcopy.shown).toBe('odd\\xff');
    expect(await drive.getDownloadUrl(found.path)).toBe(
      `${server.root}containers/lab/file?path=%2Fhome%2Fodd%FF`
    );
  });

  it('opens text, notebooks, and links to either', async () => {
    expect(await drive.get('lab/home/a.csv')).toMatchObject({ content: 'a,b', format: 'text' });
    expect(await drive.get('lab/home/to-a')).toMatchObject({ content: 'a,b', type: 'file' });
    expect((await drive.get('lab/home/to-sub')).type).toBe('directory');
    const book = await drive.get('lab/home/教程.ipynb', { type: 'notebook', content: true });
    expect(book).toMatchObject({ type: 'notebook', format: 'json', content: NOTEBOOK });
  });

  it('says what is missing or too big', async () => {
    await expect(drive.get('lab/home/none')).rejects.toMatchObject({ status: 404 });
    await expect(drive.get('lab/home/huge')).rejects.toMatchObject({ code: 'limit' });
  });

  it('saves', async () => {
    const saved = await drive.save('lab/home/a.csv', {
      type: 'file',
      format: 'text',
      content: '数据\n'
    });
    expect(files['/home/a.csv'].toString()).toBe('数据\n');
    expect(saved).toMatchObject({ path: 'lab/home/a.csv', content: null });
  });

  it('copies within the drive by a transfer', async () => {
    server.routes['POST transfers'] = () => ({
      status: 201,
      body: transfer({ state: 'done', destination: 'lab:/home/sub' })
    });
    const copied = drive.copy('lab/home/a.csv', 'lab/home');
    expect((await copied).path).toBe('lab/home/a.csv');
    const body = server.calls.find(one => one.method === 'POST')!.body.toString();
    expect(JSON.parse(body)).toMatchObject({
      sources: ['lab:/home/a.csv'],
      destination: 'lab:/home'
    });
  });

  it('renames, deletes and creates nothing', async () => {
    await expect(drive.delete()).rejects.toThrow('not renamed');
    await expect(drive.rename()).rejects.toThrow('not renamed');
    await expect(drive.newUntitled()).rejects.toThrow('not renamed');
    expect(await drive.listCheckpoints()).toEqual([]);
  });

  it('gives addresses for downloads', async () => {
    expect(await drive.getDownloadUrl('lab/home/a.csv')).toBe(
      `${server.root}containers/lab/file?path=%2Fhome%2Fa.csv`
    );
    expect(await drive.getDownloadUrl('lab/home/sub')).toContain('/archive?path=%2Fhome%2Fsub');
  });
});

describe('contents', () => {
  it('that are no text come as base64 and go back the same', () => {
    const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => at % 256);
    const found = decodeContent(bytes, 'file');
    expect(found.format).toBe('base64');
    const back = encodeContent({ type: 'file', format: 'base64', content: found.content });
    expect(Buffer.from(back as ArrayBuffer).equals(Buffer.from(bytes))).toBe(true);
  });

  it('of a notebook are never trusted because its file says so', () => {
    const cell = { cell_type: 'code', metadata: { trusted: true, tags: ['x'] }, outputs: [] };
    const bytes = new TextEncoder().encode(JSON.stringify({ ...NOTEBOOK, cells: [cell] }));
    expect(decodeContent(bytes, 'notebook').content).toEqual({
      ...NOTEBOOK,
      cells: [{ ...cell, metadata: { tags: ['x'] } }]
    });
  });

  it('keep a byte order mark', () => {
    const bytes = new TextEncoder().encode('\ufeffa');
    expect(decodeContent(bytes, 'file').content).toBe('\ufeffa');
  });

  it('that are not UTF-8 are not opened as text', () => {
    expect(() => decodeContent(Uint8Array.from([0xff]), 'file', 'text')).toThrow('UTF-8');
  });
});
