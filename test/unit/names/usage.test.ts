// SPDX-License-Identifier: Apache-2.0
// What pods used: sums, bound, and the file that outlives the service.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { UsageTable, type Usage } from '../../../src/names/usage.ts';
import { keepUsage, readUsage } from '../../../src/names/usage-file.ts';

function usage(changes: Partial<Usage> = {}): Usage {
  return {
    pod: '2001:db8::5',
    name: 'a.example',
    destination: '192.0.2.33',
    isGuess: false,
    sessions: 1,
    bytesOut: 10,
    bytesIn: 20,
    firstAt: 1000,
    lastAt: 2000,
    ...changes,
  };
}

describe('UsageTable', () => {
  it('sums up by pod and name, without a name by address', () => {
    const table = new UsageTable();
    table.add(usage());
    table.add(usage({ destination: '192.0.2.34', isGuess: true, firstAt: 500, lastAt: 3000 }));
    table.add(usage({ destination: '192.0.2.35', lastAt: 1500 }));
    table.add(usage({ pod: '2001:db8::6' }));
    table.add(usage({ name: undefined }));
    table.add(usage({ name: undefined, destination: '192.0.2.34' }));
    const rows = table.rows();
    expect(rows.map(({ pod, name, sessions }) => `${pod} ${name ?? '-'} ${sessions}`)).to.deep.equal([
      '2001:db8::5 a.example 3',
      '2001:db8::6 a.example 1',
      '2001:db8::5 - 1',
      '2001:db8::5 - 1',
    ]);
    expect(rows[0]).to.deep.equal(
      usage({
        destination: '192.0.2.34',
        isGuess: true,
        sessions: 3,
        bytesOut: 30,
        bytesIn: 60,
        firstAt: 500,
        lastAt: 3000,
      }),
    );
  });

  it('stays within its bound and forgets what was noted longest ago', () => {
    const table = new UsageTable(2);
    for (const name of ['a', 'b', 'a', 'c']) table.add(usage({ name }));
    expect(table.rows().map(({ name }) => name)).to.deep.equal(['a', 'c']);
  });

  it('goes on in the next process, without what is not its own', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'gate64-usage-'));
    try {
      const path = join(folder, 'usage.jsonl');
      const said: unknown[] = [];
      const log = { warn: (fields: object) => void said.push(fields) };
      const table = new UsageTable();
      const file = keepUsage(table, log, path);
      table.add(usage());
      table.add(usage({ name: undefined }));
      await file.stop();
      const next = new UsageTable();
      const again = keepUsage(next, log, path);
      next.add(usage());
      await again.stop();
      expect(readUsage(path)).to.deep.equal([usage({ name: undefined }), usage({ ...next.rows()[1] })]);
      expect(next.rows()[1]?.sessions).to.equal(2);
      expect(said).to.deep.equal([]);

      const wrong = [{ name: '\u001b[2J' }, { pod: 'x' }, { destination: '=1' }, { sessions: '1' }, { lastAt: null }];
      const lines = [{ version: 1 }, ...wrong.map((change) => ({ ...usage(), ...change })), usage()];
      writeFileSync(path, lines.map((line) => JSON.stringify(line)).join('\n'));
      expect(readUsage(path)).to.deep.equal([usage()]);
      expect(readUsage(join(folder, 'none'))).to.deep.equal([]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
