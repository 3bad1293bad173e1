/**
 * Names as the engine has them: bytes. What is no UTF-8 is kept in a text as lone surrogates
 * (U+DC80 to U+DCFF for the bytes 80 to FF), as the server does (PEP 383), so that such a file can be
 * fetched and copied; it is shown escaped.
 */

/** A name by its bytes, as base64. */
export function fromBytes(base64: string): string {
  const bytes = Uint8Array.from(atob(base64), char => char.charCodeAt(0));
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const length = utf8Length(bytes[at]);
    try {
      if (!length) {
        throw new TypeError('no character begins so');
      }
      const part = bytes.subarray(at, at + length);
      text += new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(part);
      at += length;
    } catch {
      text += String.fromCharCode(0xdc00 + bytes[at]);
      at += 1;
    }
  }
  return text;
}

function utf8Length(first: number): number {
  return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

/** A text in the query of an address; odd bytes as they are. */
export function quote(text: string): string {
  let quoted = '';
  for (const char of text) {
    const code = char.charCodeAt(0);
    const byte = code - 0xdc00;
    quoted +=
      char.length === 2 || code < 0xd800 || code > 0xdfff
        ? encodeURIComponent(char)
        : `%${byte.toString(16).toUpperCase()}`;
  }
  return quoted;
}

/** A surrogate without its other half. */
const ALONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** Whether a text has bytes that are no UTF-8. */
export function isOdd(text: string): boolean {
  return text.search(ALONE) >= 0;
}

/** Whether a character could mislead a reader instead of being shown; the same as the server's. */
const UNSAFE =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u206f\ufeff]/g;

/** A name as it may be shown: controls, bidi marks and odd bytes escaped. */
export function show(text: string): string {
  const escape = (char: string): string => {
    const code = char.charCodeAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) {
      return `\\x${(code - 0xdc00).toString(16)}`;
    }
    return code < 0x100
      ? `\\x${code.toString(16).padStart(2, '0')}`
      : `\\u${code.toString(16).padStart(4, '0')}`;
  };
  return text.replace(UNSAFE, escape).replace(ALONE, escape);
}
