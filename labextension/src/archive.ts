/**
 * An archive of files of this computer, made without reading them: a Blob of headers and of
 * references to the files. The browser reads each file when it sends it, so size does not matter.
 *
 * The format is ustar with PAX records (POSIX.1-2017, pax) for long or non-ASCII names and for
 * sizes from 8 GiB.
 */

import type { IDropped } from './dropped';

const BLOCK = 512;
const SIZE_LIMIT = 0o77777777777;

/** The archive of dropped files and folders. */
export function archiveOf(items: IDropped[]): Blob {
  const parts: BlobPart[] = [];
  for (const { path, file } of items) {
    const size = file?.size ?? 0;
    const seconds = Math.floor((file?.lastModified ?? Date.now()) / 1000);
    const records = paxRecords(path, size);
    if (records.length) {
      parts.push(header('PaxHeader', records.length, seconds, 'x'), records, padding(records.length));
    }
    parts.push(header(asciiName(path), file ? size : 0, seconds, file ? '0' : '5'));
    if (file) {
      parts.push(file, padding(size));
    }
  }
  parts.push(new Uint8Array(2 * BLOCK));
  return new Blob(parts, { type: 'application/x-tar' });
}

function padding(size: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);
}

function asciiName(path: string): string {
  return path.replace(/[^\x20-\x7e]/g, '_').slice(0, 100);
}

function paxRecords(path: string, size: number): Uint8Array<ArrayBuffer> {
  let text = '';
  if (asciiName(path) !== path) {
    text += record('path', path);
  }
  if (size > SIZE_LIMIT) {
    text += record('size', String(size));
  }
  return new TextEncoder().encode(text);
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts itself, in bytes. */
function record(key: string, value: string): string {
  const body = ` ${key}=${value}\n`;
  const bytes = new TextEncoder().encode(body).length;
  let length = bytes + String(bytes).length;
  if (String(length).length > String(bytes).length) {
    length = bytes + String(length).length;
  }
  return `${length}${body}`;
}

function header(
  name: string,
  size: number,
  seconds: number,
  type: string
): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string): void => {
    block.set(new TextEncoder().encode(text), at);
  };
  const octal = (value: number, digits: number): string =>
    Math.max(0, value).toString(8).padStart(digits, '0');
  put(0, name);
  put(100, octal(type === '5' ? 0o755 : 0o644, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(size > SIZE_LIMIT ? 0 : size, 11));
  put(136, octal(seconds, 11));
  put(148, '        ');
  put(156, type);
  put(257, 'ustar\u000000');
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(148, `${octal(sum, 6)}\u0000 `);
  return block;
}
