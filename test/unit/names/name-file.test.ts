// SPDX-License-Identifier: Apache-2.0
// The file of names: what is written is what is read, and what is not gate64's is left out.

import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { nameText } from '../../../src/dns/wire.ts';
import { removeLines } from '../../../src/names/lines-file.ts';
import { keepNames, readNames } from '../../../src/names/name-file.ts';
import { NameTable } from '../../../src/names/name-table.ts';

const V4 = parseIp4('192.0.2.33');
const POD = '2001:db8::5';

describe('names in a file', () => {
  let folder: string;
  let path: string;
  let warnings: string[];
  const log = { warn: (_: object, message?: string) => void warnings.push(message ?? '') };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate64-names-'));
    path = join(folder, 'run', 'names.jsonl');
    warnings = [];
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('gives the next process what the one before was told', async () => {
    const table = new NameTable();
    const file = keepNames(table, log, path);
    table.remember('a.example', V4, 60, POD);
    table.remember('b.example', V4 + 1, 60);
    await file.stop();
    expect(statSync(path).mode & 0o777, 'which pod asks for what is nobody else’s business').to.equal(0o600);

    const next = new NameTable();
    await keepNames(next, log, path).stop();
    expect(next.nameFor(POD, V4, 0)).to.deep.equal({ name: 'a.example', isGuess: false });
    expect(next.namesOf(V4 + 1)).to.deep.equal(['b.example']);
    expect(warnings).to.deep.equal([]);
    expect(removeLines(path)).to.equal(true);
    expect([existsSync(path), removeLines(path)]).to.deep.equal([false, false]);
  });

  it('follows the table while the service runs, and does not write what has not changed', async () => {
    const table = new NameTable();
    const file = keepNames(table, log, path);
    table.remember('a.example', V4, 60);
    const end = Date.now() + 5000;
    while (!existsSync(path) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 50));
    expect(readNames(path)?.map(({ name }) => name)).to.deep.equal(['a.example']);
    rmSync(path);
    await file.stop();
    expect(existsSync(path)).to.equal(false);
  });

  it('keeps every octet that a name may have, as text that is safe to print', async () => {
    const label = Buffer.from([...Array(256).keys()].slice(0, 63));
    const rest = Buffer.from([0x1b, 0x5d, 0x07, 0x0a, 0xff, 0xc3, 0x28, 0x2e, 0x5c, 0x22]);
    const wire = Buffer.concat([Buffer.from([63]), label, Buffer.from([rest.length]), rest, Buffer.from([0])]);
    const long = Buffer.concat([
      ...[63, 63, 63, 61].map((n) => Buffer.concat([Buffer.from([n]), Buffer.alloc(n, 0xff)])),
      Buffer.from([0]),
    ]);
    expect(long.length).to.equal(255);
    const names = [wire, long].map((bytes) => nameText(bytes, 0));
    const table = new NameTable();
    const file = keepNames(table, log, path);
    for (const name of names) table.remember(name, V4, 60);
    await file.stop();
    const read = readNames(path)?.map(({ name }) => name) ?? [];
    expect(read).to.deep.equal(names);
    for (const name of read) expect(name).to.match(/^[!-~]+$/);
  });

  it('leaves out lines that are cut off or not its own', async () => {
    const good = { name: 'a.example', address: '192.0.2.33', client: POD, firstAt: 1, lastAt: 2, countsUntil: 3 };
    const bad = [
      '',
      '{"name":"cut',
      'null',
      '[]',
      ...[
        { name: '\u001b[2J' },
        { name: 'two words' },
        { name: '' },
        { name: 'x'.repeat(2000) },
        { name: 7 },
        { address: '192.0.2.999' },
        { client: 'nobody' },
        { lastAt: 'now' },
        { firstAt: 1e300 },
      ].map((wrong) => JSON.stringify({ ...good, ...wrong })),
    ];
    mkdirSync(join(folder, 'run'));
    writeFileSync(path, ['{"version":1}', ...bad, JSON.stringify(good)].join('\n'));
    expect(readNames(path)?.map(({ name }) => name)).to.deep.equal(['a.example']);
    writeFileSync(path, '{"version":2}\n');
    expect(readNames(path)).to.equal(undefined);
    const table = new NameTable();
    await keepNames(table, log, path).stop();
    expect(table.size).to.equal(0);
  });

  it('says once that it cannot write, and serves on', async () => {
    writeFileSync(join(folder, 'run'), 'a file where the folder would be');
    chmodSync(join(folder, 'run'), 0o400);
    const table = new NameTable();
    const file = keepNames(table, log, path);
    for (const name of ['a.example', 'b.example']) {
      table.remember(name, V4, 60);
      await file.stop();
    }
    expect(warnings).to.deep.equal(['names cannot be kept in a file']);
    expect(table.namesOf(V4)).to.deep.equal(['b.example', 'a.example']);
    expect(readFileSync(join(folder, 'run'), 'utf8')).to.include('a file');
  });
});
