import { bytesLost, fateOf } from '../keeping';
import { IForecast, IForecastItem, IPlaceFacts } from '../tokens';

function mount(target: string, change: Partial<IPlaceFacts> = {}): IPlaceFacts {
  return {
    target,
    kind: 'named',
    origin: 'flag',
    source: '',
    read_only: false,
    shared_with: [],
    hides: [],
    hidden_by: [],
    survives: true,
    volume: 'data',
    why: '',
    ...change
  };
}

function item(path: string, bytes: number | null = 1): IForecastItem {
  return { path, kind: 'file', bytes, modified: '', why: '', flag: '' };
}

const FORECAST: IForecast = {
  how: 'rm-v',
  container: 'lab',
  lost: [
    item('/home/nb/a.csv', 10),
    item('/home/nb/data', null),
    item('/home/nb/data/x', 5),
    item('/etc/hosts.extra', 1),
    { volume: 'ffff', target: '/own', kind: 'anonymous', bytes: 7, modified: '', why: '', flag: '' }
  ],
  kept: [],
  unknown: [{ volume: 'far', target: '/far', kind: 'named', bytes: null, modified: '', why: '', flag: '' }],
  caches: 0
};

const KEPT = {
  forecast: FORECAST,
  mounts: [
    mount('/srv'),
    mount('/srv/team', { shared_with: ['other'] }),
    mount('/scratch', { kind: 'tmpfs' }),
    mount('/own', { kind: 'anonymous' }),
    mount('/far')
  ]
};

describe('what is kept', () => {
  it.each([
    ['/srv/a', 'kept'],
    ['/srv/team/a', 'shared'],
    ['/srv/teamwork', 'kept'],
    ['/scratch/a', 'lost'],
    ['/own/a', 'lost'],
    ['/far/a', 'unknown'],
    ['/home', 'lost'],
    ['/home/nb/data/deep', 'lost'],
    ['/bin', 'image']
  ])('%s: %s', (path, fate) => {
    expect(fateOf(path, KEPT)).toBe(fate);
  });

  it('adds up what is known', () => {
    expect(bytesLost(FORECAST)).toBe(23);
  });
});
