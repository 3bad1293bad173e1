/**
 * Places: a path in a container or volume, in the three spellings that occur.
 *
 * - in Lab: `containers:lab/home/nb/a.csv`, `containers:volume=data/x` (a drive path); on another
 *   engine `containers:engine=far/lab/home`, `containers:engine=far/volume=data/x`,
 * - without the drive's name: `lab/home/nb/a.csv` (a local path),
 * - for copies: `lab:/home/nb/a.csv`, `volume=data:/x` (an endpoint, as `dcp` spells it).
 */

/** The name of our drive. */
export const DRIVE = 'containers';

const VOLUME = 'volume=';
const ENGINE = 'engine=';

export interface IPlace {
  kind: 'container' | 'volume';
  /** On another than the usual engine: `engine=NAME/` before it. */
  name: string;
  /** Absolute, without a trailing slash except for the root. */
  path: string;
}

/** The place of a path on our drive (without the drive's name); null for its root, and an engine's. */
export function parsePlace(localPath: string): IPlace | null {
  const text = localPath.replace(/^\/+|\/+$/g, '');
  if (!text) {
    return null;
  }
  const parts = text.split('/');
  const engine = parts[0].startsWith(ENGINE) ? `${parts.shift()}/` : '';
  const first = parts.shift();
  if (!first) {
    return null;
  }
  const path = `/${parts.join('/')}`;
  return first.startsWith(VOLUME)
    ? { kind: 'volume', name: engine + first.slice(VOLUME.length), path }
    : { kind: 'container', name: engine + first, path };
}

/** The engine that a name names ("" for the usual one), and the name there. */
export function splitEngine(name: string): { engine: string; plain: string } {
  const slash = name.startsWith(ENGINE) ? name.indexOf('/') : -1;
  return slash < 0
    ? { engine: name.startsWith(ENGINE) ? name.slice(ENGINE.length) : '', plain: name }
    : { engine: name.slice(ENGINE.length, slash), plain: name.slice(slash + 1) };
}

/** Where the containers of another engine lie on our drive. */
export function engineFolder(engine: string): string {
  return ENGINE + engine;
}

/** Whether a path of Lab lies on our drive. */
export function isOurs(path: string): boolean {
  return path.startsWith(`${DRIVE}:`);
}

/** The place of a path of Lab; null where it is none of ours, or the root of the drive. */
export function placeOf(path: string): IPlace | null {
  return isOurs(path) ? parsePlace(path.slice(DRIVE.length + 1)) : null;
}

/** The first part of a path on the drive. */
export function rootName(place: IPlace): string {
  const { engine, plain } = splitEngine(place.name);
  const prefix = engine ? `${ENGINE}${engine}/` : '';
  return prefix + (place.kind === 'volume' ? VOLUME : '') + plain;
}

/** A path on the drive, without the drive's name. */
export function localPath(place: IPlace): string {
  return rootName(place) + (place.path === '/' ? '' : place.path);
}

/** A path of Lab. */
export function drivePath(place: IPlace): string {
  return `${DRIVE}:${localPath(place)}`;
}

/** As `dcp` spells it. */
export function endpoint(place: IPlace): string {
  return `${rootName(place)}:${place.path}`;
}

/** What an endpoint of a transfer means on our drive; null for a path of the server. */
export function parseEndpoint(text: string): IPlace | null {
  if (text.startsWith('/') || text.startsWith('.')) {
    return null;
  }
  const colon = text.indexOf(':');
  if (colon <= 0) {
    return null;
  }
  return parsePlace(`${text.slice(0, colon)}/${text.slice(colon + 1)}`.replace(/\/{2,}/g, '/'));
}

/** A name below a place. */
export function below(place: IPlace, name: string): IPlace {
  return { ...place, path: place.path === '/' ? `/${name}` : `${place.path}/${name}` };
}

/** The place above, or null. */
export function above(place: IPlace): IPlace | null {
  if (place.path === '/') {
    return null;
  }
  return { ...place, path: place.path.slice(0, place.path.lastIndexOf('/')) || '/' };
}

/** The last part of a path. */
export function baseName(path: string): string {
  const text = path.replace(/\/+$/, '');
  return text.slice(text.lastIndexOf('/') + 1);
}

/** Whether `path` is `directory` or below it. */
export function isBelow(path: string, directory: string): boolean {
  return directory === '/' || path === directory || path.startsWith(`${directory}/`);
}
