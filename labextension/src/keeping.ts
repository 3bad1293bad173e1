/** What happens to a path of a container when that is removed: pure. */

import { isBelow } from './places';
import type { IForecast, IKept, IPlaceFacts } from './tokens';

/**
 * `kept`, seen by others too (`shared`), `lost`, not known, or `image`: it came with the image, so
 * a new container has it again.
 */
export type Fate = 'kept' | 'shared' | 'lost' | 'unknown' | 'image';

/** The mount in which a path lies; null in the writable layer. */
export function mountOf(path: string, mounts: IPlaceFacts[]): IPlaceFacts | null {
  let found: IPlaceFacts | null = null;
  for (const mount of mounts) {
    if (isBelow(path, mount.target) && (!found || mount.target.length > found.target.length)) {
      found = mount;
    }
  }
  return found;
}

/** What happens to a mount, by the forecast. */
export function mountFate(mount: IPlaceFacts, forecast: IForecast): Fate {
  const here = (item: { target?: string; path?: string }): boolean =>
    (item.target ?? item.path) === mount.target;
  if (mount.kind === 'tmpfs' || forecast.lost.some(here)) {
    return 'lost';
  }
  if (forecast.unknown.some(here)) {
    return 'unknown';
  }
  return mount.shared_with.length > 0 ? 'shared' : 'kept';
}

/** What happens to a path. */
export function fateOf(place: string, kept: IKept): Fate {
  const mount = mountOf(place, kept.mounts);
  if (mount) {
    return mountFate(mount, kept.forecast);
  }
  const lost = kept.forecast.lost.some(
    ({ path }) => path !== undefined && (isBelow(path, place) || isBelow(place, path))
  );
  return lost ? 'lost' : 'image';
}

/** The bytes that are known to be lost. */
export function bytesLost(forecast: IForecast): number {
  return forecast.lost.reduce((sum, item) => sum + (item.bytes ?? 0), 0);
}
