// SPDX-License-Identifier: Apache-2.0
// `gate64 monitor`: what it asks the data plane for, and how it prints what it is told.

import { expect } from 'chai';
import { parseIp4, parseIp4Net, parseIp6, parseIp6Net } from '../../../src/addr/ip.ts';
import type { BlockRow, SessionRow } from '../../../src/datapath/datapath.ts';
import type { DatapathWatch, WatchEvent, WatchFilter } from '../../../src/datapath/watch.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { cli, NOW, type CliResult } from './helper.ts';

const SESSION: SessionRow = {
  protocol: 'tcp',
  state: 'established',
  source: { v6: parseIp6('2001:db8:1::10'), port: 40001 },
  destination6: parseIp6('64:ff9b::c633:6407'),
  pool: { v4: parseIp4('203.0.113.5'), port: 40001 },
  destination: { v4: parseIp4('198.51.100.7'), port: 443 },
  createdAt: NOW - 5000,
  lastSeenAt: NOW,
  expiresAt: NOW + 60_000,
  packetsOut: 3,
  bytesOut: 300,
  packetsIn: 2,
  bytesIn: 4096,
};
const ROW: BlockRow = {
  index: 3,
  slot: 0,
  v4: parseIp4('203.0.113.5'),
  firstPort: 40000,
  size: 1024,
  state: 'leased',
  holder: SESSION.source.v6,
  since: NOW,
  wasLeased: true,
  used: { tcp: 0, udp: 0, icmp: 0 },
};
const PACKET = {
  at: NOW,
  source: '198.51.100.7',
  destination: '203.0.113.5',
  protocol: 17,
  sourcePort: 53,
  destinationPort: 40001,
  icmpType: null,
  icmpCode: null,
  length: 74,
};
const EVENTS: readonly WatchEvent[] = [
  { kind: 'drop', at: NOW, reason: 'filtered', direction: '4to6', packet: PACKET },
  { kind: 'begin', at: NOW, session: SESSION },
  { kind: 'end', at: NOW, session: SESSION },
  { kind: 'lease', at: NOW, holder: SESSION.source.v6, block: 3, row: ROW },
  { kind: 'lease', at: NOW, holder: SESSION.source.v6, block: 4, row: undefined },
];
const AT = '2026-01-02T03:04:05.000Z';

/** A data plane that tells `events` at once, then says that it lost so many. */
async function monitor(
  args: readonly string[],
  { events = EVENTS, lost = 0 } = {},
): Promise<CliResult & { readonly asked: readonly WatchFilter[]; readonly isEnded: boolean }> {
  const asked: WatchFilter[] = [];
  let isEnded = false;
  const stop = new AbortController();
  const openWatch = (filter: WatchFilter, listener: (more: readonly WatchEvent[]) => void): Promise<DatapathWatch> => {
    asked.push(filter);
    listener(events);
    setImmediate(() => stop.abort());
    return Promise.resolve({ renew: () => lost, [Symbol.dispose]: () => void (isEnded = true) });
  };
  const result = await cli(['monitor', ...args], { context: { openWatch, signal: stop.signal } });
  return { ...result, asked, isEnded };
}

describe('monitor', () => {
  it('prints a line for each event, and what was lost', async () => {
    const { stdout, code, isEnded } = await monitor(['-o', 'table'], { lost: 12 });
    expect({ code, isEnded }).to.deep.equal({ code: 0, isEnded: true });
    expect(stdout.split('\n')).to.deep.equal([
      `${AT}  drop   filtered 4to6  udp 198.51.100.7:53 -> 203.0.113.5:40001  74 bytes`,
      `${AT}  begin  tcp [2001:db8:1::10]:40001 -> 198.51.100.7:443 as 203.0.113.5:40001`,
      `${AT}  end    tcp [2001:db8:1::10]:40001 -> 198.51.100.7:443 as 203.0.113.5:40001  established  ` +
        'out 3 packets 300 B  in 2 packets 4.0 KiB',
      `${AT}  lease  2001:db8:1::10  block 3  203.0.113.5:40000-41023`,
      `${AT}  lease  2001:db8:1::10  block 4`,
      `${AT}  lost   12 events came faster than they were read; ask for fewer, as with --pod`,
      '',
    ]);
  });

  it('prints JSON, a line each', async () => {
    const { stdout } = await monitor([], { lost: 12 });
    const [drop, begin, end, lease, unknown, lost] = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const { at: _, ...packet } = PACKET;
    expect(drop).to.deep.equal({ at: AT, type: 'drop', reason: 'filtered', direction: '4to6', packet });
    expect(begin).to.deep.nested.include({
      type: 'begin',
      'session.source': { address: '2001:db8:1::10', port: 40001 },
      'session.destination': { address: '198.51.100.7', port: 443 },
      'session.bytesIn': 4096,
    });
    expect(begin?.['session']).to.not.have.property('name');
    expect(end).to.include({ type: 'end' });
    const holder = '2001:db8:1::10';
    const ports = { address: '203.0.113.5', firstPort: 40000, lastPort: 41023 };
    expect(lease).to.deep.equal({ at: AT, type: 'lease', holder, block: 3, ...ports });
    expect(unknown).to.include({ block: 4, address: null, firstPort: null });
    expect(lost).to.deep.equal({ at: AT, type: 'lost', count: 12 });
  });

  const FILTERS: readonly [string, WatchFilter][] = [
    ['', { kinds: ['drop', 'begin', 'end', 'lease'] }],
    ['--drops', { kinds: ['drop'] }],
    ['--sessions --leases', { kinds: ['begin', 'end', 'lease'] }],
    ['--pod 2001:db8::/32', { kinds: ['drop', 'begin', 'end', 'lease'], pod: parseIp6Net('2001:db8::/32') }],
    ['--dst 192.0.2.80', { kinds: ['drop', 'begin', 'end'], destination: parseIp4Net('192.0.2.80') }],
    ['--reason no_route', { kinds: ['drop'], reason: 'no_route' }],
    ['--proto udp', { kinds: ['drop', 'begin', 'end'], protocol: 'udp' }],
  ];
  for (const [args, wanted] of FILTERS) {
    it(`asks for what it was asked for: ${args || 'all'}`, async () => {
      const { asked } = await monitor(args.split(' ').filter(Boolean), { events: [] });
      expect(asked).to.deep.equal([wanted]);
    });
  }

  for (const args of [
    '--leases --dst 192.0.2.80',
    '--leases --proto tcp',
    '--reason no_route --sessions',
    '--reason nonsense',
    '--pod 192.0.2.1',
    '--dst 2001:db8::1',
  ]) {
    it(`refuses ${args}`, async () => {
      const { code, asked, stderr } = await monitor(args.split(' '));
      expect({ code, asked }).to.deep.equal({ code: 2, asked: [] });
      expect(stderr).to.match(/^gate64: /);
    });
  }

  it('ends after --count seconds', async () => {
    const watch = { renew: () => 0, [Symbol.dispose]: () => undefined };
    const { code } = await cli(['monitor', '--for', '1s'], { context: { openWatch: () => Promise.resolve(watch) } });
    expect(code).to.equal(0);
  });

  for (const [what, error] of [
    ['the node has no data plane', new Gate64Error('G64_DATAPATH_MISSING', 'no data plane', { hint: 'start it' })],
    ['another one runs', new Gate64Error('G64_ALREADY_RUNNING', 'another gate64 monitor', { hint: 'end it' })],
  ] as const) {
    it(`says what to do when ${what}`, async () => {
      const { code, stderr } = await cli(['monitor'], { context: { openWatch: () => Promise.reject(error) } });
      expect({ code, stderr }).to.deep.equal({ code: 1, stderr: `gate64: ${error.message}\nhint: ${error.hint}\n` });
    });
  }
});
