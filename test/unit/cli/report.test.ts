// SPDX-License-Identifier: Apache-2.0
// report: sums of ended and running sessions, as table, JSON and CSV, harmless whatever names pods ask for.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { renderCsv } from '../../../src/cli/csv.ts';
import { NameTable } from '../../../src/names/name-table.ts';
import type { Usage } from '../../../src/names/usage.ts';
import { MemoryReader, sessionRow } from '../../helpers/reader.ts';
import { NOW, cli, type CliSetup } from './helper.ts';

const POD = '2001:db8::5';

function ended(changes: Partial<Usage> = {}): Usage {
  return {
    pod: POD,
    name: 'github.com',
    destination: '203.0.113.7',
    isGuess: false,
    sessions: 2,
    bytesOut: 100,
    bytesIn: 200,
    firstAt: NOW - 7_200_000,
    lastAt: NOW - 3_600_000,
    ...changes,
  };
}

function setup(usage: Usage[], terminal?: number): CliSetup {
  const names = new NameTable({ now: () => NOW });
  const at = NOW - 61_000;
  const client = POD;
  const v4 = parseIp4('203.0.113.7');
  names.restore([{ name: 'github.com', v4, client, firstAt: at, lastAt: at, countsUntil: NOW + 3_600_000 }], NOW);
  const sessions = [sessionRow(NOW, { lastSeenAt: NOW - 5000 })];
  return {
    ...(terminal === undefined ? {} : { terminal }),
    context: {
      openReader: () => Promise.resolve(new MemoryReader({ sessions })),
      readNames: () => names,
      readUsage: () => usage,
    },
  };
}

async function rows(args: string[], usage: Usage[]): Promise<Record<string, unknown>[]> {
  const result = await cli(['report', ...args], setup(usage));
  expect(result).to.deep.include({ code: 0, stderr: '' });
  return JSON.parse(result.stdout);
}

const OTHER = ended({ pod: '2001:db8::6', name: undefined, destination: '198.51.100.9', sessions: 9 });

describe('gate64 report', () => {
  it('sums up ended and running sessions, those with the most sessions first', async () => {
    const listed = await rows([], [ended(), OTHER]);
    expect(listed.map((row) => [row['pod'], row['name'], row['destination'], row['sessions']])).to.deep.equal([
      ['2001:db8::6', null, '198.51.100.9', 9],
      [POD, 'github.com', '203.0.113.7', 3],
    ]);
    expect(listed[1]).to.deep.equal({
      pod: POD,
      name: 'github.com',
      nameGuessed: false,
      destination: '203.0.113.7',
      sessions: 3,
      bytesOut: 1636,
      bytesIn: 3_145_928,
      firstSeenAt: '2026-01-02T01:04:05.000Z',
      lastSeenAt: '2026-01-02T03:04:00.000Z',
    });
  });

  it('--since leaves out what was not used since', async () => {
    expect(await rows(['--since', '30m'], [OTHER])).to.have.length(1);
    expect(await rows(['--since', '61m'], [OTHER])).to.have.length(2);
    for (const text of ['1w', '5', '-1h', '1.5h', '']) {
      expect((await cli(['report', '--since', text], setup([]))).code, text).to.equal(2);
    }
  });

  it('prints a table', async () => {
    const { stdout } = await cli(['report'], setup([ended({ isGuess: true }), OTHER], 120));
    expect(stdout.split('\n').map((line) => line.trimEnd())).to.deep.equal([
      'POD          NAME          SESSIONS      OUT       IN  LAST USED',
      '2001:db8::6  198.51.100.9         9    100 B    200 B     1h ago',
      '2001:db8::5  github.com?          3  1.6 KiB  3.0 MiB     5s ago',
      '',
    ]);
  });

  it('prints CSV with a line of titles', async () => {
    const { stdout } = await cli(['report', '-o', 'csv'], setup([OTHER]));
    expect(stdout.split('\r\n')).to.deep.equal([
      'pod,name,nameGuessed,destination,sessions,bytesOut,bytesIn,firstSeenAt,lastSeenAt',
      '2001:db8::6,,false,198.51.100.9,9,100,200,2026-01-02T01:04:05.000Z,2026-01-02T02:04:05.000Z',
      '2001:db8::5,github.com,false,203.0.113.7,1,1536,3145728,2026-01-02T03:03:05.000Z,2026-01-02T03:04:00.000Z',
      '',
    ]);
  });

  for (const [name, written] of [
    ['=hyperlink("http://x.example")', `"'=hyperlink(""http://x.example"")"`],
    ['+1.example', `"'+1.example"`],
    ['-2.example', `"'-2.example"`],
    ['@sum.example', `"'@sum.example"`],
    ['a,b;c.example', '"a,b;c.example"'],
    ['\\009=1.example', '\\009=1.example'],
  ] as const) {
    it(`CSV holds ${name} as text, in a cell of its own`, async () => {
      const { stdout } = await cli(['report', '-o', 'csv'], setup([ended({ name, sessions: 9 })]));
      expect(stdout.split('\r\n')[1])
        .to.match(/^2001:db8::5,/)
        .and.include(`,${written},false,`);
    });
  }

  it('CSV keeps line breaks and tabs inside of their cells', () => {
    expect(renderCsv(['a'], [['\t=1'], ['x\r\n=1'], [-5]])).to.equal(`a\r\n"'\t=1"\r\n"x\r\n=1"\r\n-5\r\n`);
  });
});
