import { readdirSync, readFileSync } from 'fs';
import { join } from 'path';

import { CHINESE } from '../chinese';
import { ownWords } from '../words';

/** Every text in the sources, by the calls that look it up. */
function texts(): Set<string> {
  const found = new Set<string>();
  const source = join(__dirname, '..');
  for (const name of readdirSync(source).filter(one => /\.tsx?$/.test(one))) {
    const code = readFileSync(join(source, name), 'utf8');
    for (const match of code.matchAll(/words\.__\(\s*'((?:[^'\\]|\\.)*)'/g)) {
      found.add(match[1]);
    }
    for (const match of code.matchAll(/words\._n\(\s*'(?:[^'\\]|\\.)*',\s*'((?:[^'\\]|\\.)*)'/g)) {
      found.add(match[1]);
    }
  }
  return found;
}

describe('texts', () => {
  it('are all there in Chinese, and no others', () => {
    expect([...texts()].sort()).toEqual(Object.keys(CHINESE).sort());
  });

  it('keep their places', () => {
    for (const [english, chinese] of Object.entries(CHINESE)) {
      const places = (text: string): string[] => (text.match(/%\d/g) ?? []).sort();
      expect(places(chinese)).toEqual(places(english));
    }
  });

  it('are chosen by language', () => {
    expect(ownWords('zh_CN').__('Files')).toBe('文件');
    expect(ownWords('fr_FR').__('Files')).toBe('Files');
    expect(ownWords('en').__('%1 of %2', 1, 2)).toBe('1 of 2');
    expect(ownWords('en')._n('%1 file copied, %2', '%1 files copied, %2', 1, '3 B')).toBe(
      '1 file copied, 3 B'
    );
    expect(ownWords('zh_CN')._n('%1 file copied, %2', '%1 files copied, %2', 1, '3 B')).toBe(
      '已复制 1 个文件，3 B'
    );
  });
});
