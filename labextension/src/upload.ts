/**
 * Uploads from this computer, with progress and cancel. `fetch` says nothing of what it has sent,
 * so XMLHttpRequest does the work, with the credentials that Lab's own requests have.
 */

import type { ServerConnection } from '@jupyterlab/services';

import { ApiError, readError } from './api';
import { archiveOf } from './archive';
import type { IDropped } from './dropped';
import type { VolcopyModel } from './model';
import { below, endpoint, IPlace } from './places';
import { ITransfer } from './tokens';

let count = 0;

/** Send dropped files to a place; one file as it is, folders and several files as an archive. */
export async function upload(
  model: VolcopyModel,
  settings: ServerConnection.ISettings,
  place: IPlace,
  items: IDropped[]
): Promise<ITransfer> {
  const single = items.length === 1 && items[0].file ? items[0].file : null;
  const body = single ?? archiveOf(items);
  const target = single ? below(place, single.name) : place;
  const url = single ? model.api.fileUrl(target) : model.api.archiveUrl(target);
  const bytes = items.reduce((sum, item) => sum + (item.file?.size ?? 0), 0);
  const tops = [...new Set(items.map(item => item.path.split('/')[0]))];
  count += 1;
  const began = Date.now();
  let transfer: ITransfer = {
    id: `upload-${count}`,
    owner: '',
    state: 'running',
    cancelling: false,
    sources: tops,
    destination: endpoint(place),
    progress: {
      entries: 0,
      entries_total: items.length,
      bytes: 0,
      bytes_total: bytes,
      current: tops[0],
      seconds: 0
    },
    report: null,
    error: null,
    created: new Date(began).toISOString(),
    started: new Date(began).toISOString(),
    finished: null,
    local: true
  };
  const update = (change: Partial<ITransfer>, sent?: number): void => {
    const progress = {
      ...transfer.progress,
      bytes: sent ?? transfer.progress.bytes,
      seconds: (Date.now() - began) / 1000
    };
    transfer = { ...transfer, ...change, progress };
    model.update(transfer);
  };
  update({});
  const request = new XMLHttpRequest();
  model.setCanceller(transfer.id, () => request.abort());
  try {
    await send(request, settings, url, body, single !== null, sent => {
      // Archive headers are sent, too; they are not counted.
      update({}, Math.min(bytes, sent));
    });
    update({ state: 'done', finished: new Date().toISOString() }, bytes);
  } catch (error) {
    const problem = error as ApiError;
    update({
      state: problem.code === 'cancelled' ? 'cancelled' : 'failed',
      finished: new Date().toISOString(),
      error: {
        code: problem.code,
        message: problem.message,
        hint: problem.hint,
        context: problem.context
      }
    });
  } finally {
    model.setCanceller(transfer.id, null);
  }
  return transfer;
}

function send(
  request: XMLHttpRequest,
  settings: ServerConnection.ISettings,
  url: string,
  body: Blob,
  single: boolean,
  progress: (sent: number) => void
): Promise<void> {
  return new Promise((resolve, reject) => {
    request.open('PUT', url);
    request.setRequestHeader(
      'Content-Type',
      single ? 'application/octet-stream' : 'application/x-tar'
    );
    if (settings.token) {
      request.setRequestHeader('Authorization', `token ${settings.token}`);
    }
    const cookie = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie);
    if (cookie) {
      request.setRequestHeader('X-XSRFToken', cookie[1]);
    }
    request.upload.onprogress = event => progress(event.loaded);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) {
        resolve();
        return;
      }
      const answer = new Response(request.responseText, { status: request.status });
      void readError(answer).then(reject);
    };
    request.onerror = () =>
      reject(new ApiError('the connection was cut while the file was sent', 'offline', 0));
    request.onabort = () => reject(new ApiError('cancelled', 'cancelled', 0));
    request.send(body);
  });
}
