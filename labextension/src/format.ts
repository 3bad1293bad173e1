/** How numbers are said to people. */

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** A size with three digits: `1.23 MB`. */
export function size(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${value} B` : `${value.toPrecision(3)} ${UNITS[unit]}`;
}

/** The part that is done, from 0 to 1; null where it cannot be said. */
export function share(done: number, total: number | null): number | null {
  if (total === null) {
    return null;
  }
  return total > 0 ? Math.min(1, done / total) : 1;
}

/** Bytes a second. */
export function rate(bytes: number, seconds: number): string {
  return seconds > 0 ? `${size(bytes / seconds)}/s` : '';
}
