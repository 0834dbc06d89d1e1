// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AppendFile } from '../../../src/telemetry/append-file.ts';
import { eventually } from '../../helpers/processes.ts';
import { TestLog } from '../nat64/support.ts';

describe('file of lines that is moved aside', () => {
  let folder: string;
  let path: string;
  let log: TestLog;
  let file: AppendFile | undefined;

  const start = (more: { path?: string; bufferedOctets?: number } = {}) =>
    (file = new AppendFile({ path, log, head: () => ['head'], gap: (lines) => `lost ${lines}`, ...more }));
  const lines = (at = path) => readFileSync(at, 'utf8').split('\n').slice(0, -1);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate64-append-'));
    path = join(folder, 'file.jsonl');
    log = new TestLog();
  });
  afterEach(async () => {
    await file?.stop();
    rmSync(folder, { recursive: true });
  });

  it('writes at the end, in order, for its owner alone; another process goes on there', async () => {
    for (const process of ['a', 'b']) {
      const own = start();
      for (let i = 0; i < 100; i++) own.write(`${process}${i}`);
      await own.stop();
    }
    const of = (process: string) => ['head', ...Array.from({ length: 100 }, (_, i) => `${process}${i}`)];
    expect(lines()).to.deep.equal([...of('a'), ...of('b')]);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
  });

  it('goes on in another file when told to, which has a head of its own; in the same one it has none', async () => {
    const own = start();
    own.write('one');
    await eventually('it is written', () => Promise.resolve(lines().includes('one') ? true : undefined));
    own.reopen();
    own.write('two');
    await eventually('it is written', () => Promise.resolve(lines().includes('two') ? true : undefined));
    renameSync(path, `${path}.1`);
    own.write('three');
    await eventually('it is written', () => Promise.resolve(lines(`${path}.1`).includes('three') ? true : undefined));
    own.reopen();
    own.write('four');
    await own.stop();
    expect(lines(`${path}.1`)).to.deep.equal(['head', 'one', 'two', 'three']);
    expect(lines()).to.deep.equal(['head', 'four']);
    expect(log.lines).to.deep.equal([]);
  });

  it('warns once while it cannot write, holds so much and no more, and says in the file how much was lost', async () => {
    path = join(folder, 'later', 'file.jsonl');
    const own = start({ bufferedOctets: 20 });
    for (let i = 0; i < 10; i++) own.write(`line ${i}`);
    const isWarned = () => Promise.resolve(log.with('the file cannot be written; trying again')[0]);
    expect(await eventually('it warns', isWarned)).to.include({ file: path });
    own.reopen();
    own.write('line 10');
    mkdirSync(join(folder, 'later'));
    own.reopen();
    await own.stop();
    expect(lines()).to.deep.equal(['head', 'line 0', 'line 1', 'lost 9']);
    expect(log.lines.map(({ message }) => message)).to.deep.equal([
      'the file cannot be written; trying again',
      'lines were lost, since the file took none',
      'the file can be written again',
    ]);
  });

  it('refuses what is no regular file', async () => {
    path = '/dev/null';
    start();
    const warning = await eventually('it warns', () => Promise.resolve(log.lines[0]));
    expect(String(warning.fields['err'])).to.match(/is no regular file/);
  });
});
