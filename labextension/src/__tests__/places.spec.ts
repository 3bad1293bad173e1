import {
  above,
  below,
  drivePath,
  endpoint,
  isBelow,
  parseEndpoint,
  parsePlace,
  placeOf,
  splitEngine
} from '../places';

describe('places', () => {
  it.each([
    ['lab', 'lab:/', 'containers:lab'],
    ['lab/home/教程.ipynb', 'lab:/home/教程.ipynb', 'containers:lab/home/教程.ipynb'],
    ['lab/a:b/c d', 'lab:/a:b/c d', 'containers:lab/a:b/c d'],
    ['volume=data/x', 'volume=data:/x', 'containers:volume=data/x'],
    ['volume=data', 'volume=data:/', 'containers:volume=data'],
    ['engine=far/lab', 'engine=far/lab:/', 'containers:engine=far/lab'],
    ['engine=far/lab/a/b', 'engine=far/lab:/a/b', 'containers:engine=far/lab/a/b'],
    ['engine=far/volume=data/x', 'engine=far/volume=data:/x', 'containers:engine=far/volume=data/x']
  ])('%s goes there and back', (local, text, full) => {
    const place = parsePlace(local);
    expect(place).not.toBeNull();
    expect(endpoint(place!)).toBe(text);
    expect(drivePath(place!)).toBe(full);
    expect(placeOf(full)).toEqual(place);
    expect(parseEndpoint(text)).toEqual(place);
  });

  it('tells what is not ours', () => {
    expect(parsePlace('/')).toBeNull();
    expect(placeOf('containers:')).toBeNull();
    expect(placeOf('containers:engine=far')).toBeNull();
    expect(placeOf('work/a.csv')).toBeNull();
    expect(parseEndpoint('./a:b')).toBeNull();
    expect(parseEndpoint('.')).toBeNull();
  });

  it('knows the engine of a name', () => {
    expect(parsePlace('engine=far/volume=data')!.name).toBe('engine=far/data');
    expect(splitEngine('engine=far/lab')).toEqual({ engine: 'far', plain: 'lab' });
    expect(splitEngine('engine=far')).toEqual({ engine: 'far', plain: 'engine=far' });
    expect(splitEngine('lab')).toEqual({ engine: '', plain: 'lab' });
  });

  it('goes up and down', () => {
    const root = parsePlace('lab')!;
    expect(endpoint(below(root, 'home'))).toBe('lab:/home');
    expect(above(below(root, 'home'))).toEqual(root);
    expect(above(root)).toBeNull();
    expect(isBelow('/homework', '/home')).toBe(false);
    expect(isBelow('/home/a', '/home')).toBe(true);
    expect(isBelow('/anything', '/')).toBe(true);
  });
});
