// SPDX-License-Identifier: Apache-2.0
// What the programs tell a monitor: drops, sessions and leases, chosen before they are told, and what was lost.

import { existsSync, unlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { formatIp4, formatIp6, parseIp4, parseIp4Net, parseIp6Net } from '../../src/addr/ip.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf.ts';
import { u32Codec } from '../../src/model/codecs.ts';
import { EbpfWatch } from '../../src/datapath/ebpf-watch.ts';
import { WATCH_MAPS } from '../../src/datapath/pins.ts';
import type { WatchEvent, WatchFilter, WatchKind } from '../../src/datapath/watch.ts';
import { BpfMap, TypedMap } from '../../src/libbpf/mod.ts';
import { watchingCodec } from '../../src/model/layout.gen.ts';
import { programsOf } from '../helpers/programs.ts';
import { eth, TCP } from '../helpers/packet.ts';
import { OBJECT, Plane, POD, POOL, PREFIX, SERVER, SERVER6 } from './plane.ts';

const POD2 = '2001:db8:1::20';
const OTHER = '192.0.2.80';
const ALL: readonly WatchKind[] = ['drop', 'begin', 'end', 'lease'];

const from6 = (src = POD, dst = SERVER6) => eth().ip6({ src, dst });
const from4 = (src = SERVER, dst = POOL) => eth().ip4({ src, dst });
const summary = (event: WatchEvent): string => {
  switch (event.kind) {
    case 'drop':
      return `drop ${event.reason} ${event.direction} ${event.packet.source} ${event.packet.destination}`;
    case 'lease':
      return `lease ${formatIp6(event.holder)} ${event.block}`;
    default: {
      const { protocol, source, destination } = event.session;
      return `${event.kind} ${protocol} ${formatIp6(source.v6)} ${formatIp4(destination.v4)}`;
    }
  }
};

describe('watch', () => {
  let plane: Plane;

  before(() => {
    const blocks = [0, 1, 2, 3].map((index) => ({
      index,
      slot: 0,
      v4: parseIp4(POOL),
      size: 256,
      firstPort: 40000 + 256 * index,
    }));
    plane = new Plane({ blocks, uplink: true });
  });
  beforeEach(() => plane.reset());
  after(() => plane[Symbol.dispose]());

  function watched(filter: Partial<WatchFilter>, act: (watch: EbpfWatch) => void): WatchEvent[] {
    const events: WatchEvent[] = [];
    using watch = EbpfWatch.open(plane.pins, { kinds: ALL, ...filter }, (more) => events.push(...more));
    act(watch);
    expect(watch.renew(), 'lost').to.equal(0);
    return events;
  }

  /** Two pods, two destinations, two protocols; drops of either direction. */
  function traffic(): void {
    plane.gate(from6(POD, SERVER6).udp({ sport: 40001, dport: 53 }));
    plane.gate(from6(POD2, `${PREFIX}${OTHER}`).tcp({ sport: 40300, dport: 443, flags: TCP.syn }));
    // No SYN; to a port that somebody has from whom nobody asked; with a hop limit that ends here.
    plane.gate(from6(POD, SERVER6).tcp({ sport: 5, dport: 80, flags: TCP.ack }));
    plane.gate(from4(OTHER).udp({ sport: 53, dport: 40001 }));
    plane.gate(
      eth()
        .ip6({ src: POD2, dst: `${PREFIX}${OTHER}`, hopLimit: 1 })
        .udp({ sport: 9, dport: 9 }),
    );
  }

  const NO_SYN = `drop tcp_no_session 6to4 ${POD} ${formatIp6(parseIp6Net(SERVER6).v6)}`;
  const FILTERED = `drop filtered 4to6 ${OTHER} ${POOL}`;
  const HOPS = `drop hop_limit 6to4 ${POD2} ${formatIp6(parseIp6Net(PREFIX + OTHER).v6)}`;
  const LEASES = [`lease ${POD} 0`, `lease ${POD2} 1`];
  const BEGINS = [`begin udp ${POD} ${SERVER}`, `begin tcp ${POD2} ${OTHER}`];

  it('tells drops, leases and new sessions in order', () => {
    const events = watched({}, traffic);
    expect(events.map(summary)).to.deep.equal([LEASES[0], BEGINS[0], LEASES[1], BEGINS[1], NO_SYN, FILTERED, HOPS]);
    const [lease, begin, , , drop] = events;
    expect(lease).to.include({ block: 0 }).and.nested.include({ 'row.firstPort': 40000, 'row.state': 'leased' });
    expect(begin).to.nested.include({ 'session.source.port': 40001, 'session.destination.port': 53 });
    expect(drop).to.deep.nested.include({ 'packet.protocol': 6, 'packet.sourcePort': 5, 'packet.destinationPort': 80 });
    expect(drop).to.nested.include({ 'packet.length': 60 });
    for (const { at } of events) expect(at).to.be.closeTo(Date.now(), 5000);
  });

  const FILTERS: readonly [string, Partial<WatchFilter>, readonly (string | undefined)[]][] = [
    ['a kind', { kinds: ['lease'] }, LEASES],
    ['a pod, in both directions', { pod: parseIp6Net(POD) }, [LEASES[0], BEGINS[0], NO_SYN, FILTERED]],
    ['another pod', { pod: parseIp6Net(POD2) }, [LEASES[1], BEGINS[1], HOPS]],
    ['a network of pods', { pod: parseIp6Net('2001:db8:1::/64'), kinds: ['begin'] }, BEGINS],
    ['a network of no pods', { pod: parseIp6Net('2001:db8:2::/64') }, []],
    [
      'a destination, in both directions',
      { destination: parseIp4Net('192.0.2.0/24'), kinds: ['drop', 'begin'] },
      [BEGINS[1], FILTERED, HOPS],
    ],
    ['a reason', { reason: 'hop_limit', kinds: ['drop'] }, [HOPS]],
    ['a protocol', { protocol: 'tcp', kinds: ['drop', 'begin'] }, [BEGINS[1], NO_SYN]],
    ['pod and reason', { pod: parseIp6Net(POD), reason: 'hop_limit', kinds: ['drop'] }, []],
  ];
  for (const [title, filter, wanted] of FILTERS) {
    it(`tells what is asked for: ${title}`, () => {
      expect(watched(filter, traffic).map(summary)).to.deep.equal(wanted);
    });
  }

  it('tells drops of echo replies by pod, by the identifier', () => {
    plane.gate(from6().echo6(7, 1));
    const identifier = plane.datapath.sessions()[0]?.pool.port as number;
    const reply = () => plane.gate(eth().ip4({ src: OTHER, dst: POOL }).echo4(identifier, 1, true));
    expect(watched({ pod: parseIp6Net(POD) }, reply).map(summary)).to.deep.equal([FILTERED]);
    expect(watched({ pod: parseIp6Net(POD2) }, reply)).to.deep.equal([]);
  });

  it('tells each session that ended once, with what it carried', () => {
    traffic();
    plane.gate(from4().udp({ sport: 53, dport: 40001 }).payload('1234'));
    const events = watched({ kinds: ['begin', 'end'] }, () => {
      plane.age(3600);
      plane.datapath.sweep(60_000);
    });
    const [tcp, udp, ...others] = events.toSorted((a, b) => summary(a).localeCompare(summary(b)));
    expect(others).to.deep.equal([]);
    expect([tcp, udp].map((event) => event && summary(event))).to.deep.equal([
      `end tcp ${POD2} ${OTHER}`,
      `end udp ${POD} ${SERVER}`,
    ]);
    expect(udp).to.nested.include({ 'session.packetsOut': 1, 'session.packetsIn': 1, 'session.bytesIn': 32 });
  });

  it('tells a session that a packet found run out, and the one that it began', () => {
    plane.gate(from6().udp({ sport: 40001, dport: 53 }));
    const events = watched({ kinds: ['begin', 'end'] }, () => {
      plane.age(3600);
      plane.gate(from6().udp({ sport: 40001, dport: 53 }));
    });
    expect(events.map(summary)).to.deep.equal([`end udp ${POD} ${SERVER}`, `begin udp ${POD} ${SERVER}`]);
  });

  it('counts what found no room, and goes on', () => {
    const events: WatchEvent[] = [];
    using watch = EbpfWatch.open(plane.pins, { kinds: ['drop'] }, (more) => events.push(...more));
    const bad = from6().tcp({ sport: 5, dport: 80, flags: TCP.ack });
    const sent = 4000;
    for (let i = 0; i < sent; i++) plane.gate(bad);
    const lost = watch.renew();
    expect(lost).to.be.greaterThan(0);
    expect(lost + events.length, 'every drop is told or counted').to.equal(sent);
    plane.gate(bad);
    expect(watch.renew(), 'counted once').to.equal(0);
    expect(lost + events.length).to.equal(sent + 1);
  });

  it('what is not asked for takes no room', () => {
    const bad = from6().tcp({ sport: 5, dport: 80, flags: TCP.ack });
    const events = watched({ pod: parseIp6Net(POD2) }, () => {
      for (let i = 0; i < 4000; i++) plane.gate(bad);
      plane.gate(from6(POD2).tcp({ sport: 5, dport: 80, flags: TCP.ack }));
    });
    expect(events.length).to.equal(1);
  });

  it('has one monitor at a time; the next begins with what happens then', () => {
    const watch = EbpfWatch.open(plane.pins, { kinds: ALL }, () => undefined);
    expect(() => EbpfWatch.open(plane.pins, { kinds: ALL }, () => undefined))
      .to.throw('another gate64 monitor')
      .with.property('code', 'G64_ALREADY_RUNNING');
    plane.gate(from6().udp({ sport: 1, dport: 1 }));
    watch[Symbol.dispose]();
    traffic();
    expect(watched({}, () => undefined)).to.deep.equal([]);
  });

  it('costs nothing once it has ended, and tells nothing once it no longer renews', async () => {
    using map = BpfMap.openPinned(plane.pins.map('n64_watching'));
    const watching = new TypedMap(map, u32Codec, watchingCodec);
    const events: WatchEvent[] = [];
    const watch = EbpfWatch.open(plane.pins, { kinds: ALL }, (more) => events.push(...more));
    const asked = watching.lookup(0);
    expect(Number((asked?.untilNs ?? 0n) - monotonicNs()) / 1e9).to.be.within(1, 3);
    // As one that was killed a while ago.
    watching.update(0, { ...(asked as NonNullable<typeof asked>), untilNs: monotonicNs() - 1n });
    traffic();
    await sleep(20);
    expect(events).to.deep.equal([]);
    watch[Symbol.dispose]();
    expect(watching.lookup(0)).to.include({ kinds: 0, untilNs: 0n });
  });

  it('a data plane of before there were monitors is taken over, and can be watched then', () => {
    using older = new Plane();
    older.gate(from6().udp({ sport: 1, dport: 1 }));
    const { pins } = older;
    older.datapath[Symbol.dispose]();
    for (const name of WATCH_MAPS) unlinkSync(pins.map(name));
    expect(() => EbpfWatch.open(pins, { kinds: ALL }, () => undefined)).to.throw('older');
    const sizes = { maxSessions: 4096, maxBlocks: 128 };
    using again = EbpfDatapath.open({ objectPath: OBJECT, pins, sizes }, programsOf(older.config));
    expect(again.info()).to.include({ adopted: true });
    expect(again.sessions().length).to.equal(1);
    for (const name of WATCH_MAPS) expect(existsSync(pins.map(name))).to.equal(true);
    EbpfWatch.open(pins, { kinds: ALL }, () => undefined)[Symbol.dispose]();
  });

  it('ends with an error when the data plane has gone', () => {
    const gone = new Plane();
    using watch = EbpfWatch.open(gone.pins, { kinds: ALL }, () => undefined);
    gone.pins.removeMaps();
    expect(() => watch.renew())
      .to.throw('removed or replaced')
      .with.property('code', 'G64_DATAPATH_MISSING');
    gone[Symbol.dispose]();
  });
});
