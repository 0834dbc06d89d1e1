// SPDX-License-Identifier: Apache-2.0
// top: one interval as JSON or plain text, anew on a terminal until it is stopped.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { NameTable } from '../../../src/names/name-table.ts';
import { MemoryReader, sessionRow } from '../../helpers/reader.ts';
import { NOW, cli, type CliSetup } from './helper.ts';

const POD = '2001:db8::5';

/** The second reading has two KiB more, and a session that is new. */
function setup(changes: CliSetup = {}, name = 'github.com', readings = 2): CliSetup {
  const reader = new MemoryReader();
  let count = 0;
  reader.sessions = () => {
    const more = count++ * 2048;
    const first = sessionRow(NOW, { bytesOut: 1000 + more, bytesIn: 0 });
    const fresh = sessionRow(NOW, { source: { ...first.source, port: 1 }, createdAt: NOW, bytesOut: 0, bytesIn: 0 });
    return more === 0 ? [first] : [first, fresh];
  };
  const names = new NameTable({ now: () => NOW });
  const at = NOW - 61_000;
  const v4 = parseIp4('203.0.113.7');
  names.restore([{ name, v4, client: POD, firstAt: at, lastAt: at, countsUntil: NOW + 3_600_000 }], NOW);
  const stop = new AbortController();
  const readNames = () => {
    if (count === readings) stop.abort();
    return names;
  };
  return { ...changes, context: { openReader: () => Promise.resolve(reader), readNames, signal: stop.signal } };
}

describe('gate64 top', () => {
  it('gives one interval as JSON', async () => {
    const result = await cli(['top', '--interval', '1s', '-o', 'json'], setup());
    expect(result).to.deep.include({ code: 0, stderr: '' });
    const { at, intervalSeconds, rows } = JSON.parse(result.stdout);
    expect(at).to.equal('2026-01-02T03:04:05.000Z');
    expect(intervalSeconds).to.be.within(1, 2);
    expect(rows).to.have.length(1);
    const [{ bytesOutPerSecond, newSessionsPerSecond, ...row }] = rows;
    expect(bytesOutPerSecond * intervalSeconds).to.be.closeTo(2048, 20);
    expect(newSessionsPerSecond * intervalSeconds).to.be.closeTo(1, 0.02);
    expect(row).to.deep.equal({
      pod: POD,
      name: 'github.com',
      nameGuessed: false,
      destination: '203.0.113.7',
      bytesInPerSecond: 0,
      sessions: 2,
    });
  });

  it('prints one plain table into a pipe, of pods, names or destinations alone', async () => {
    for (const [by, title, key] of [
      ['pods', 'POD', POD],
      ['names', 'NAME', 'github.com'],
      ['destinations', 'DESTINATION', '203.0.113.7'],
    ] as const) {
      const { stdout } = await cli(['top', '--interval', '1s', '--by', by, '-o', 'table'], setup());
      expect(stdout).to.not.include('\u001b');
      const [titles, row, ...rest] = stdout.split('\n');
      expect(titles).to.match(new RegExp(`^${title} +OUT +IN +NEW/S +SESSIONS$`));
      expect(row?.startsWith(key), row).to.equal(true);
      expect(row).to.match(/(2\.0 KiB|1\.\d KiB|20\d\d B)\/s +0 B\/s +[01]\.\d +2$/);
      expect(rest).to.deep.equal(['']);
    }
  });

  it('draws the table anew on a terminal until it is stopped, and a hostile name cannot draw', async () => {
    const hostile = '\\027[2j\\255.example';
    const { stdout, code } = await cli(['top', '--interval', '1s'], setup({ terminal: 120 }, hostile, 3));
    expect(code).to.equal(0);
    const frames = stdout.split('\u001b[H');
    expect(frames).to.have.length(3);
    expect(frames[0]).to.equal('\u001b[2J');
    for (const frame of frames.slice(1)) {
      expect(frame).to.include(`${hostile}  `);
      expect(frame.replaceAll('\u001b[K', '').replaceAll('\u001b[J', '')).to.not.include('\u001b');
    }
  });

  it('is called wrongly with what it does not know', async () => {
    for (const args of [
      ['--by', 'ports'],
      ['--sort', 'name'],
      ['--interval', 'soon'],
      ['--limit', '0'],
    ]) {
      expect((await cli(['top', ...args], setup())).code, args.join(' ')).to.equal(2);
    }
  });
});
