// SPDX-License-Identifier: Apache-2.0
// Sessions that the policy has come to refuse end with the next pass of the sweep, which asks it about everybody after a
// change and about a share of them otherwise. Changes that nobody tells of show which of both it does.

import { expect } from 'chai';
import { parseIp4, parseIp6, parseIp6Net } from '../../src/addr/ip.ts';
import { encode } from '../../src/datapath/bytes.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import type { StaticBinding } from '../../src/model/binding.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { u32Codec } from '../../src/model/codecs.ts';
import {
  bib4Codec,
  bib4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  FLOW_ANSWERED,
  lpm4KeyCodec,
  PROTOCOL,
  SHARES,
  STATE,
  VERDICT,
} from '../../src/model/layout.gen.ts';
import { eth } from '../helpers/packet.ts';
import { programsOf } from '../helpers/programs.ts';
import { fillSessions } from './many-sessions.ts';
import { expectSound, OBJECT, Plane, POD, POOL, PREFIX, SERVER, SERVER6, TIMEOUTS, withPlane } from './plane.ts';

const IDLE_MS = 60_000;
const COUNT = 64;
/** So many passes after a change and everybody has been judged; one may step over a neighbour of what it deletes. */
const JUDGED = 2;

const rule = (address: string, verdict: 'node' | 'configured') => ({
  net: { v4: parseIp4(address), length: 32 },
  verdict,
});
const sweep = (plane: Plane) => plane.datapath.sweep(IDLE_MS).endedCount;

/** Sessions with one server that have been judged, and are not any more, but for a share a pass. */
function quiet(plane: Plane, count = COUNT): void {
  for (let i = 0; i < count; i++) {
    expectSound(
      plane.gate(
        eth()
          .ip6({ src: POD, dst: SERVER6 })
          .udp({ sport: 40000 + i, dport: 53 }),
      ),
    );
  }
  for (let i = 0; i <= JUDGED; i++) expect(sweep(plane)).to.equal(0);
}

/** As if the map had been written by somebody else. */
function denyUnsaid(plane: Plane): void {
  const key = encode(lpm4KeyCodec, { length: 32, address: parseIp4(SERVER) });
  plane.maps.n64_dst4.update(key, encode(u32Codec, VERDICT.DENIED));
}

describe('judging running sessions', () => {
  it('where nothing has changed a pass judges a share of them, and sixteen passes all', () => {
    withPlane({}, (plane) => {
      quiet(plane);
      denyUnsaid(plane);
      const each = Array.from({ length: SHARES }, () => sweep(plane));
      expect(each[0], 'in a pass').to.be.within(0, COUNT / 8);
      expect(Math.max(...each), 'in a pass').to.be.within(1, COUNT / 8);
      expect(each.reduce((sum, n) => sum + n, 0)).to.be.at.least(COUNT - 2);
    });
  });

  for (const [what, change] of [
    ['a rule that refuses them', (plane: Plane) => plane.datapath.setDestinations([rule(SERVER, 'configured')])],
    [
      'a server’s address that becomes the node’s own',
      (plane: Plane) => plane.datapath.setDestinations([rule(SERVER, 'node')]),
    ],
    [
      'a server’s address that becomes one of the pool',
      (plane: Plane) =>
        plane.datapath.setPoolAddresses(
          [POOL, SERVER].map((v4, slot) => ({ v4: parseIp4(v4), slot, shared: false, draining: false })),
        ),
    ],
  ] as const) {
    it(`ends all of them with the next pass after ${what}`, () => {
      withPlane({}, (plane) => {
        quiet(plane);
        change(plane);
        const ended = [sweep(plane), sweep(plane)];
        expect(ended[0]).to.be.at.least(COUNT - 2);
        expect(plane.datapath.sessions()).to.deep.equal([]);
        plane.datapath.setDestinations([]);
      });
    });
  }

  it('ends them after a list of sources that has the pod no more', () => {
    withPlane({ config: { restrictSources: true } }, (plane) => {
      plane.datapath.setSources([parseIp6Net('2001:db8:1::/64')]);
      quiet(plane);
      plane.datapath.setSources([parseIp6Net('2001:db8:9::/64')]);
      expect(sweep(plane)).to.be.at.least(COUNT - 2);
      sweep(plane);
      expect(plane.datapath.sessions()).to.deep.equal([]);
    });
  });

  it('ends those of a static binding that has gone, whose pod is on no list', () => {
    withPlane(
      { config: { restrictSources: true } },
      (plane) => {
        const binding: StaticBinding = {
          protocol: 'udp',
          source: { v6: parseIp6(POD), port: 99 },
          pool: { v4: parseIp4(POOL), port: 99 },
        };
        plane.datapath.putStaticBinding(binding);
        for (let i = 0; i < COUNT; i++) {
          const from = eth().ip4({ src: `198.51.100.${i + 1}`, dst: POOL });
          expectSound(plane.gate(from.udp({ sport: 53, dport: 99 })));
        }
        for (let i = 0; i <= JUDGED; i++) expect(sweep(plane)).to.equal(0);
        plane.datapath.deleteStaticBinding(binding);
        expect(sweep(plane)).to.be.at.least(COUNT - 2);
        sweep(plane);
        expect(plane.datapath.sessions()).to.deep.equal([]);
      },
      false,
    );
  });

  it('ends them after programs with another policy', () => {
    using plane = new Plane();
    quiet(plane);
    plane.datapath.setPrograms(programsOf({ ...plane.config, restrictSources: true }));
    expect(sweep(plane)).to.be.at.least(COUNT - 2);
    sweep(plane);
    expect(plane.datapath.sessions()).to.deep.equal([]);
  });

  it('judges everybody after a start, whatever happened before it', () => {
    using plane = new Plane();
    quiet(plane);
    denyUnsaid(plane);
    expect(sweep(plane), 'nobody has said it').to.be.below(COUNT / 2);
    using next = EbpfDatapath.open(
      { objectPath: OBJECT, pins: plane.pins, sizes: { maxSessions: 4096, maxBlocks: 128 } },
      programsOf(plane.config),
    );
    expect(next.info().adopted).to.equal(true);
    for (let i = 0; i < JUDGED; i++) next.sweep(IDLE_MS);
    expect(next.sessions()).to.deep.equal([]);
  });

  it('a session with another pod ends when that one’s binding has gone, though no policy has changed', () => {
    const blocks = [0, 1].map((index) => {
      return { index, slot: 0, v4: parseIp4(POOL), firstPort: 40000 + 512 * index, size: 512 };
    });
    using plane = new Plane({ blocks });
    plane.gate(eth().ip6({ src: '2001:db8:1::20', dst: SERVER6 }).udp({ sport: 40900, dport: 53 }));
    const port = plane.datapath.bindings()[0]?.pool.port ?? 0;
    const toPool = eth().ip6({ src: POD, dst: `${PREFIX}${POOL}` });
    for (let i = 0; i < COUNT; i++) plane.gate(toPool.udp({ sport: 40000 + i, dport: port }));
    for (let i = 0; i <= JUDGED; i++) expect(sweep(plane)).to.equal(0);
    expect(plane.datapath.sessions().filter(({ destination }) => destination.v4 === parseIp4(POOL))).to.have.length(
      COUNT,
    );
    new TypedMap(plane.maps.n64_bib4, bib4KeyCodec, bib4Codec).delete({
      pool: parseIp4(POOL),
      port,
      protocol: PROTOCOL.UDP,
    });
    expect(sweep(plane)).to.be.at.least(COUNT - 2);
  });

  describe('in turns', () => {
    const MANY = 20_000;
    const [FIRST, SECOND] = ['198.51.100.0', '198.51.100.1'] as const;
    const fill = (plane: Plane) =>
      fillSessions(plane, { count: MANY, lastNs: monotonicNs(), servers: 2, firstServer: parseIp4(FIRST) });
    const pass = (plane: Plane) => {
      let ended = 0;
      for (;;) {
        const turn = plane.datapath.sweep(IDLE_MS, { budgetMs: 0, maxRows: 0 });
        ended += turn.endedCount;
        if (turn.finished) return ended;
      }
    };
    /** Nearly half: walks step over neighbours of what they delete, and find them later. */
    const HALF = MANY / 2 - 100;

    it('a change in mid-pass holds for the rest of the pass and for a whole one', () => {
      using plane = new Plane({ maxSessions: 131_072 });
      fill(plane);
      for (let i = 0; i <= JUDGED; i++) expect(pass(plane)).to.equal(0);
      expect(plane.datapath.sweep(IDLE_MS, { budgetMs: 0 }).finished).to.equal(false);
      plane.datapath.setDestinations([rule(FIRST, 'configured')]);
      const rest = pass(plane);
      expect(rest, 'what the pass had not come to yet').to.be.within(MANY / 4, MANY / 2 - 1000);
      expect(rest + pass(plane), 'and what it had passed').to.be.at.least(HALF);
    });

    it('so does one in the middle of a pass that judges everybody already, the second whole one included', () => {
      using plane = new Plane({ maxSessions: 131_072 });
      fill(plane);
      pass(plane);
      for (let i = 0; i < 2; i++) {
        expect(plane.datapath.sweep(IDLE_MS, { budgetMs: 0 }).finished).to.equal(false);
        plane.datapath.setDestinations([rule(i === 0 ? FIRST : SECOND, 'configured')]);
        expect(pass(plane) + pass(plane)).to.be.at.least(HALF);
      }
    });
  });

  describe('closing times', () => {
    it('hold from the next pass on, and those that an earlier process has left from the first on', () => {
      using plane = new Plane();
      const six = { state: STATE.TRANS };
      const lastNs = monotonicNs();
      fillSessions(plane, { count: COUNT, lastNs, servers: 1, firstServer: 1, protocol: PROTOCOL.TCP, six });
      const open = () =>
        EbpfDatapath.open(
          { objectPath: OBJECT, pins: plane.pins, sizes: { maxSessions: 4096, maxBlocks: 128 } },
          programsOf(plane.config),
        );
      // Whom the policy judges is looked at in all respects, which is to be over.
      const settle = (datapath: EbpfDatapath) => {
        for (let i = 0; i <= JUDGED; i++) expect(datapath.sweep(IDLE_MS).endedCount).to.equal(0);
      };
      {
        using next = open();
        settle(next);
        plane.age(10);
        expect(next.sweep(IDLE_MS).endedCount, 'as long as configured').to.equal(0);
        next.setClosingTimes([{ ms: 12_000 }]);
      }
      using last = open();
      settle(last);
      plane.age(13);
      expect(last.sweep(IDLE_MS).endedCount).to.be.at.least(COUNT - 2);
      for (let i = 0; i < JUDGED; i++) last.sweep(IDLE_MS);
      fillSessions(plane, { count: COUNT, lastNs, servers: 1, firstServer: 1, protocol: PROTOCOL.TCP, six });
      last.setClosingTimes([]);
      plane.age(10);
      settle(last);
      last.setClosingTimes([{ ms: 2000 }]);
      expect(last.sweep(IDLE_MS).endedCount).to.be.at.least(COUNT - 2);
    });

    it('answered ones of UDP outlive them, pass after pass; those that were only said to do not', () => {
      using plane = new Plane();
      const ask = (sport: number) => plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport, dport: 53 }));
      for (const sport of [40001, 40002]) expectSound(ask(sport));
      expectSound(plane.gate(eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: 53, dport: 40001 })));
      plane.age(TIMEOUTS.udp - 5);
      plane.datapath.setClosingTimes([{ ms: 2000 }]);
      for (let i = 0; i < 3; i++) {
        sweep(plane);
        expect(plane.datapath.sessions().map(({ source }) => source.port)).to.deep.equal([40001]);
      }
      plane.age(TIMEOUTS.udp + 2);
      expect(sweep(plane)).to.equal(1);
    });

    it('that they are answered is noted with the answer, and by the sweep where it was not', () => {
      using plane = new Plane();
      const six = new TypedMap(plane.maps.n64_flow6, flow6KeyCodec, flow6Codec);
      const flags = () => [...six.entries()].map(([, { flags: are }]) => are & FLOW_ANSWERED);
      const ask = () => plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport: 40001, dport: 53 }));
      expectSound(ask());
      expectSound(ask());
      expect(flags()).to.deep.equal([0]);
      expectSound(plane.gate(eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: 53, dport: 40001 })));
      expect(flags()).to.deep.equal([FLOW_ANSWERED]);
      for (const [key, value] of Array.from(six.entries())) six.update(key, { ...value, flags: 0 });
      plane.age(TIMEOUTS.udp - 5);
      sweep(plane);
      expect(flags(), 'nothing runs short').to.deep.equal([0]);
      plane.datapath.setClosingTimes([{ ms: 2000 }]);
      sweep(plane);
      expect(flags()).to.deep.equal([FLOW_ANSWERED]);
    });
  });
});
