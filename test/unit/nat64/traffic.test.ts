// SPDX-License-Identifier: Apache-2.0
// Rates between two readings of the session table, by pod, name and destination.

import { expect } from 'chai';
import { formatIp4, parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import type { SessionRow } from '../../../src/datapath/datapath.ts';
import { TrafficReading, type Traffic, type TrafficBy } from '../../../src/nat64/traffic.ts';
import { sessionRow } from '../../helpers/reader.ts';

const AT = 1_000_000;

function session(
  pod: number,
  port: number,
  to: string,
  bytesOut: number,
  changes: Partial<SessionRow> = {},
): SessionRow {
  return sessionRow(AT, {
    source: { v6: parseIp6(`2001:db8::${pod}`), port },
    destination6: parseIp6(`64:ff9b::${to}`),
    destination: { v4: parseIp4(to), port: 443 },
    bytesOut,
    bytesIn: 10 * bytesOut,
    ...changes,
  });
}

const [A, B, C] = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
const NAMES: Readonly<Record<string, string>> = { [A]: 'one.example', [B]: 'one.example' };
const nameOf = ({ destination }: SessionRow) => {
  const name = NAMES[formatIp4(destination.v4)];
  return name === undefined ? undefined : { name, isGuess: destination.v4 === parseIp4(B) };
};
const fresh = { createdAt: AT + 1000 };

const BEFORE = [session(1, 1, A, 100), session(1, 2, B, 50), session(2, 1, C, 7), session(2, 9, C, 1000)];
const AFTER = [
  session(1, 1, A, 300),
  session(1, 2, B, 50),
  session(2, 1, C, 7),
  session(2, 2, A, 40, fresh),
  session(2, 3, A, 20, fresh),
];

/** Two seconds lie between them. */
function since(by?: TrafficBy, after = AFTER, order?: 'bytes' | 'new'): Traffic[] {
  const first = new TrafficReading(BEFORE, AT, 500);
  return new TrafficReading(after, AT + 2000, 2500).since(first, nameOf, by, order);
}

const brief = (rows: Traffic[]) =>
  rows.map((row) => [
    [row.pod, row.name, row.destination].filter((text) => text !== undefined).join(' ') + (row.isGuess ? '?' : ''),
    row.bytesOutPerSecond,
    row.bytesInPerSecond,
    row.newSessionsPerSecond,
    row.sessions,
  ]);

describe('nat64/traffic', () => {
  it('sums by pod, name and destination, the busiest first; what has ended is not there', () => {
    expect(brief(since())).to.deep.equal([
      [`2001:db8::1 one.example ${A}`, 100, 1000, 0, 1],
      [`2001:db8::2 one.example ${A}`, 30, 300, 1, 2],
      [`2001:db8::1 one.example ${B}?`, 0, 0, 0, 1],
      [`2001:db8::2 ${C}`, 0, 0, 0, 1],
    ]);
  });

  it('sums by one of them; by name, sessions without one stand by their address', () => {
    expect(brief(since('pods'))).to.deep.equal([
      ['2001:db8::1', 100, 1000, 0, 2],
      ['2001:db8::2', 30, 300, 1, 3],
    ]);
    expect(brief(since('names'))).to.deep.equal([
      ['one.example?', 130, 1300, 1, 4],
      [C, 0, 0, 0, 1],
    ]);
    expect(brief(since('destinations')).map(([key]) => key)).to.deep.equal([A, B, C]);
    expect(brief(since('pods', AFTER, 'new')).map(([key]) => key)).to.deep.equal(['2001:db8::2', '2001:db8::1']);
  });

  it('a session in the place of another is new, one that was overlooked is not, and nothing is below zero', () => {
    const rows = since('destinations', [session(1, 1, A, 10, fresh), session(1, 2, B, 20), session(3, 1, C, 5000)]);
    expect(brief(rows)).to.deep.equal([
      [A, 5, 50, 0.5, 1],
      [B, 0, 0, 0, 1],
      [C, 0, 0, 0, 1],
    ]);
  });
});
