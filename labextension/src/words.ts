/**
 * Texts in the user's language.
 *
 * A language pack for `jupyter_volcopy` comes first. Where there is none for a text, our own
 * catalogue is used, chosen by Lab's own language setting; then English.
 */

import type { ITranslator } from '@jupyterlab/translation';

import { CHINESE } from './chinese';

export interface IWords {
  /** A sentence; `%1`, `%2` ... are replaced. */
  __(text: string, ...values: (string | number)[]): string;
  /** A sentence about a number; `%1` is the number. */
  _n(one: string, many: string, count: number, ...values: (string | number)[]): string;
}

const CATALOGUES: Record<string, Record<string, string>> = { zh: CHINESE };

function fill(text: string, values: (string | number)[]): string {
  return text.replace(/%(\d)/g, (_, digit: string) => String(values[Number(digit) - 1] ?? ''));
}

/** Texts by our own catalogue for a language code, as `zh_CN`. */
export function ownWords(language: string): IWords {
  const catalogue = CATALOGUES[language.slice(0, 2).toLowerCase()] ?? {};
  return {
    __: (text, ...values) => fill(catalogue[text] ?? text, values),
    _n: (one, many, count, ...values) =>
      fill(catalogue[many] ?? (count === 1 ? one : many), [count, ...values])
  };
}

/** Texts by the translator of Lab, ours where it has none. */
export function makeWords(translator: ITranslator): IWords {
  const bundle = translator.load('jupyter_volcopy');
  const own = ownWords(translator.languageCode ?? 'en');
  return {
    __: (text, ...values) => {
      const found = bundle.__(text, ...values);
      return found === fill(text, values) ? own.__(text, ...values) : found;
    },
    _n: (one, many, count, ...values) => {
      const found = bundle._n(one, many, count, ...values);
      const english = fill(count === 1 ? one : many, [count, ...values]);
      return found === english ? own._n(one, many, count, ...values) : found;
    }
  };
}
