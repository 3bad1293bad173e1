import { execFileSync } from 'child_process';
import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'fs';
import { tmpdir } from 'os';
import { join } from 'path';

import { archiveOf } from '../archive';

describe('an archive of dropped files', () => {
  it('is one that tar unpacks', async () => {
    const long = 'n'.repeat(150);
    const file = (text: string, name: string): File =>
      new File([text], name, { lastModified: 1700000000000 });
    const blob = archiveOf([
      { path: '数据', file: null },
      { path: '数据/教程.ipynb', file: file('{}', '教程.ipynb') },
      { path: `数据/${long}`, file: file('long', long) },
      { path: 'plain.txt', file: file('x'.repeat(513), 'plain.txt') },
      { path: 'empty', file: file('', 'empty') }
    ]);
    const directory = mkdtempSync(join(tmpdir(), 'volcopy-'));
    writeFileSync(join(directory, 'a.tar'), Buffer.from(await blob.arrayBuffer()));
    execFileSync('tar', ['-xf', 'a.tar'], { cwd: directory });
    expect(readFileSync(join(directory, '数据', '教程.ipynb'), 'utf8')).toBe('{}');
    expect(readFileSync(join(directory, '数据', long), 'utf8')).toBe('long');
    expect(statSync(join(directory, 'plain.txt')).size).toBe(513);
    expect(statSync(join(directory, 'empty')).size).toBe(0);
    expect(statSync(join(directory, 'plain.txt')).mtimeMs).toBe(1700000000000);
  });
});
