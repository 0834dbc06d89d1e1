// SPDX-License-Identifier: Apache-2.0
// Timers of UDP and ICMP (RFC 6146 §4): an entry that has run out is absent, swept or not; the sweep gives back ports and
// blocks.

import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { eth, type Packet } from '../helpers/packet.ts';
import { programsOf } from '../helpers/programs.ts';
import { fillSessions } from './many-sessions.ts';
import { expectSound, Plane, POD, POOL, PREFIX, SERVER, SERVER6, TIMEOUTS, withPlane } from './plane.ts';

const from6 = () => eth().ip6({ src: POD, dst: SERVER6 });
const from4 = () => eth().ip4({ src: SERVER, dst: POOL });
const T = 40001;
const KINDS: readonly ['udp' | 'icmp', number, (p: Packet) => Packet, (p: Packet) => Packet][] = [
  ['udp', TIMEOUTS.udp, (p) => p.udp({ sport: T, dport: 53 }), (p) => p.udp({ sport: 53, dport: T })],
  ['icmp', TIMEOUTS.icmp, (p) => p.echo6(T), (p) => p.echo4(T, 1, true)],
];
const left = (plane: Plane) => ((plane.datapath.sessions()[0]?.expiresAt ?? 0) - Date.now()) / 1000;

describe('expiry', () => {
  for (const [kind, seconds, out, back] of KINDS) {
    it(`N6146-3.5.1-c: N6146-3.5.1-g: N6146-3.5.3-d: U4787-6-a: ${kind}: packets of either side set the timer to ${seconds} s`, () => {
      withPlane({}, (plane) => {
        expectSound(plane.gate(out(from6())));
        expect(left(plane)).to.be.closeTo(seconds, 3);
        for (const packet of [out(from6()), back(from4())]) {
          plane.age(seconds - 1);
          expect(left(plane)).to.be.below(4);
          expectSound(plane.gate(packet));
          expect(left(plane)).to.be.closeTo(seconds, 3);
        }
      });
    });

    it(`N6146-4-h: ${kind}: what has run out is absent at lookup, though nobody has swept`, () => {
      withPlane({}, (plane) => {
        plane.gate(out(from6()));
        const created = plane.datapath.sessions()[0]?.createdAt as number;
        plane.age(seconds + 2);
        expect(plane.dropsOf(() => expect(plane.gate(back(from4())).action).to.equal('drop'))).to.deep.equal({
          no_binding: 1,
        });
        expect(plane.datapath.sessions()).to.deep.equal([]);
        expect(plane.datapath.bindings(), 'N6146-3.5.1-h').to.deep.equal([]);
        plane.gate(out(from6()));
        plane.age(seconds + 2);
        expectSound(plane.gate(out(from6())));
        const [row, ...others] = plane.datapath.sessions();
        expect(others).to.deep.equal([]);
        expect(row?.packetsOut, 'a session of its own').to.equal(1);
        expect(row?.createdAt).to.be.at.least(created);
        expect(plane.datapath.counts().sessions[kind]).to.equal(1);
      });
    });

    it(`N6146-4-h: ${kind}: no timer fires early`, () => {
      withPlane({}, (plane) => {
        plane.gate(out(from6()));
        plane.age(seconds - 0.1);
        expect(plane.datapath.sweep(60_000).ended).to.deep.equal([]);
        expectSound(plane.gate(back(from4())));
      });
    });
  }

  for (const [what, lastNs, isAlive] of [
    ['before the machine started', () => -5_000_000_000n, false],
    ['long before the machine started', () => monotonicNs() - 10n * 365n * 86_400n * 1_000_000_000n, false],
    ['ahead of now', () => monotonicNs() + 3_600_000_000_000n, true],
  ] as const) {
    it(`N6146-4-h: a session last heard ${what} is ${isAlive ? 'alive' : 'over'}, to packets, sweep and listing`, () => {
      withPlane({}, (plane) => {
        const packet = from6().udp({ sport: T, dport: 53 });
        for (let round = 0; round < 2; round++) {
          expectSound(plane.gate(packet));
          const then = lastNs();
          plane.touch(then);
          const row = plane.datapath.sessions()[0];
          expect(row?.lastSeenAt).to.be.closeTo(Date.now() + Number((then - monotonicNs()) / 1_000_000n), 2000);
          if (round === 0) {
            expectSound(plane.gate(packet));
            expect(plane.datapath.sessions()[0]?.packetsOut, 'a session of its own').to.equal(isAlive ? 2 : 1);
          } else {
            expect(plane.datapath.sweep(60_000).endedCount).to.equal(isAlive ? 0 : 1);
          }
        }
      });
    });
  }

  it('N6146-3.1-e: N6146-3.5.1-h: B7857-11-a: a binding stays until its last session has gone', () => {
    withPlane({}, (plane) => {
      plane.gate(from6().udp({ sport: T, dport: 53 }));
      plane.age(20);
      plane.gate(
        eth()
          .ip6({ src: POD, dst: `${PREFIX}192.0.2.9` })
          .udp({ sport: T, dport: 53 }),
      );
      // The first is 31 s old now, the second is not: age sets both, so let the second be heard again.
      plane.age(32);
      plane.gate(
        eth()
          .ip6({ src: POD, dst: `${PREFIX}192.0.2.9` })
          .udp({ sport: T, dport: 53 }),
      );
      const ended = plane.datapath.sweep(60_000).ended;
      expect(ended).to.have.length(1);
      expect(ended[0]?.destination.v4).to.equal(parseIp4(SERVER));
      expect(plane.datapath.bindings().map((row) => row.sessions)).to.deep.equal([1]);
      plane.age(32);
      expect(plane.datapath.sweep(60_000).ended).to.have.length(1);
      expect(plane.datapath.bindings()).to.deep.equal([]);
    });
  });

  it('N6146-3.5.1-e: with the session goes the permission to come in', () => {
    withPlane({}, (plane) => {
      plane.gate(from6().udp({ sport: T, dport: 53 }));
      plane.age(32);
      plane.datapath.sweep(60_000);
      plane.gate(
        eth()
          .ip6({ src: POD, dst: `${PREFIX}192.0.2.9` })
          .udp({ sport: T, dport: 53 }),
      );
      expect(plane.dropsOf(() => plane.gate(from4().udp({ sport: 9, dport: T })))).to.deep.equal({ filtered: 1 });
    });
  });

  it('the sweep gives each session back once, with its last counters, and walks a thousand', () => {
    withPlane({}, (plane) => {
      for (let i = 0; i < 1000; i++) plane.gate(from6().udp({ sport: 40000 + i, dport: 53 }));
      plane.gate(from4().udp({ sport: 53, dport: 40500 }).payload('1234'));
      plane.age(32);
      const { ended: first } = plane.datapath.sweep(60_000);
      // The kernel's walk may step over a neighbour of what is deleted under it; the next sweep meets that one.
      const next = plane.datapath.sweep(60_000);
      expect(next.ended.length).to.be.below(20);
      const ended = [...first, ...next.ended];
      expect(new Set(ended.map((row) => row.pool.port)).size).to.equal(1000);
      expect(ended).to.have.length(1000);
      expect(ended.find((row) => row.pool.port === 40500)).to.include({ packetsIn: 1, bytesIn: 32, packetsOut: 1 });
      expect(plane.datapath.counts()).to.deep.equal({
        sessions: { tcp: 0, udp: 0, icmp: 0 },
        bindings: { tcp: 0, udp: 0, icmp: 0 },
      });
      expect(plane.datapath.blocks()[0]?.used.udp).to.equal(0);
    });
  });

  describe('sweeps a backlog in turns', () => {
    const fill = (plane: Plane, count: number, lastNs: bigint) =>
      fillSessions(plane, { count, lastNs, servers: count, firstServer: 0 });

    it('ends no more than its budget allows, goes on where it paused, and gives no more rows than asked', () => {
      using plane = new Plane({ maxSessions: 131_072 });
      fill(plane, 20_000, monotonicNs() - 40_000_000_000n);
      const first = plane.datapath.sweep(60_000, { budgetMs: 0, maxRows: 5 });
      expect(first.endedCount).to.be.within(1, 64);
      expect(first.ended).to.have.length(5);
      expect(first).to.include({ finished: false });
      expect(plane.datapath.sweep(60_000, { budgetMs: 0, maxRows: 0 }).ended).to.deep.equal([]);
      let turns = 0;
      while (!plane.datapath.sweep(60_000, { budgetMs: 0, maxRows: 0 }).finished && turns < 1000) turns++;
      expect(turns).to.be.within(290, 320);
      plane.datapath.sweep(60_000);
      expect(plane.datapath.sessions()).to.have.length(0);
    });

    it('pauses between sessions that live, too', () => {
      using plane = new Plane({ maxSessions: 131_072 });
      fill(plane, 100_000, monotonicNs());
      const turns = [1, 2, 3].map(() => plane.datapath.sweep(60_000, { budgetMs: 0 }));
      expect(turns.map(({ finished, endedCount }) => [finished, endedCount])).to.deep.equal(
        turns.map(() => [false, 0]),
      );
      expect(plane.datapath.sweep(60_000)).to.include({ finished: true, endedCount: 0 });
    });

    it('begins anew with the timeouts of programs that were loaded meanwhile', () => {
      using plane = new Plane({ maxSessions: 131_072 });
      fill(plane, 1000, monotonicNs() - 20_000_000_000n);
      plane.datapath.sweep(60_000, { budgetMs: 0 });
      const timeouts = { ...plane.config.timeouts, udp: 10 };
      plane.datapath.setPrograms(programsOf({ ...plane.config, timeouts }));
      plane.datapath.sweep(60_000);
      plane.datapath.sweep(60_000);
      expect(plane.datapath.sessions()).to.have.length(0);
    });
  });

  it('B7857-11-a: an empty block is taken back after a while, rests, and can be offered again', async () => {
    const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    const plane = new Plane();
    try {
      plane.gate(from6().udp({ sport: T, dport: 53 }));
      expect(plane.datapath.sweep(100).returned, 'in use').to.deep.equal([]);
      plane.age(32);
      expect(plane.datapath.sweep(100).returned, 'just emptied').to.deep.equal([]);
      await wait(150);
      const [row, ...others] = plane.datapath.sweep(100).returned;
      expect(others).to.deep.equal([]);
      expect(row).to.include({ index: 0, state: 'resting' });
      expect(row?.holder).to.deep.equal(
        plane.config.node6.map((_, i) => [32, 1, 13, 184, 0, 1][i] ?? (i === 15 ? 16 : 0)),
      );
      expect(plane.datapath.mapFill().find(({ map }) => map === 'pods')?.entries).to.equal(0);
      expect(Array.from(plane.gate(from6().udp({ sport: T, dport: 53 })).l3.slice(40, 42))).to.deep.equal([1, 3]);
      plane.datapath.offerBlock(0);
      expectSound(plane.gate(from6().udp({ sport: T, dport: 53 })));
    } finally {
      plane[Symbol.dispose]();
    }
  });
});
