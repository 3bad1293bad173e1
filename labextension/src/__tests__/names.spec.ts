import { fromBytes, quote, show } from '../names';

const ODD = Buffer.from([0x61, 0xff, 0xe6, 0x95, 0x99, 0xe6, 0x2e, 0xc3, 0x28, 0x80]);

describe('names', () => {
  it('keep bytes that are no UTF-8', () => {
    const name = fromBytes(ODD.toString('base64'));
    expect(name).toBe('a\udcff教\udce6.\udcc3(\udc80');
    expect(quote(`/${name}`)).toBe('%2Fa%FF%E6%95%99%E6.%C3(%80');
    expect(show(name)).toBe('a\\xff教\\xe6.\\xc3(\\x80');
    // So they travel in JSON: as escapes that Python reads as the same surrogates.
    expect(JSON.stringify(name)).toContain('\\udcff');
  });

  it('keep everything else', () => {
    const name = '教程 🎉 100% a+b\u0007';
    expect(fromBytes(Buffer.from(name).toString('base64'))).toBe(name);
    expect(quote(name)).toBe(encodeURIComponent(name));
    expect(show(name)).toBe('教程 🎉 100% a+b\\x07');
    expect(show('left\u202eright')).toBe('left\\u202eright');
  });
});
