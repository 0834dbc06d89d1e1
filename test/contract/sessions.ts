// SPDX-License-Identifier: Apache-2.0
// The contract of what can be read of flows: sessions, bindings, counts, fill of the maps, drops; and of what limits them.

import { expect } from 'chai';
import type { BlockRow } from '../../src/datapath/datapath.ts';
import type { SessionsWanted } from '../../src/datapath/wanted.ts';
import { FIRST_PORT, IDLE_MS, SERVER, pod, textOf, type Play, type Stage } from './bench.ts';

const PROTOCOLS = ['tcp', 'udp', 'icmp'] as const;

/** Every table says the same of what is there. */
function expectAgreement({ datapath }: Stage): void {
  const [sessions, bindings, counts] = [datapath.sessions(), datapath.bindings(), datapath.counts()];
  for (const protocol of PROTOCOLS) {
    const of = <T extends { protocol: string }>(rows: readonly T[]) => rows.filter((row) => row.protocol === protocol);
    expect(counts.sessions[protocol], `sessions of ${protocol}`).to.equal(of(sessions).length);
    expect(counts.bindings[protocol], `bindings of ${protocol}`).to.equal(of(bindings).length);
    const used = datapath.blocks().reduce((sum, row) => sum + row.used[protocol], 0);
    expect(used, `ports of ${protocol}`).to.equal(of(bindings).length);
    for (const binding of of(bindings)) {
      const mine = of(sessions).filter(({ pool }) => textOf(pool) === textOf(binding.pool));
      expect(binding.sessions, textOf(binding.pool)).to.equal(mine.length);
      for (const { source } of mine) expect(source).to.deep.equal(binding.source);
    }
  }
  const fill = new Map(datapath.mapFill().map(({ map, entries }) => [map, entries]));
  for (const map of ['flow6', 'flow4']) expect(fill.get(map), map).to.equal(sessions.length);
  for (const map of ['bib6', 'bib4']) expect(fill.get(map), map).to.equal(bindings.length);
  const rows = datapath.blocks();
  const indexes = rows.map(({ index }) => index);
  // Times are told to the nearest millisecond, which may be another one the second time.
  const timeless = (of: readonly BlockRow[]) => of.map((row) => ({ ...row, since: undefined }));
  expect(timeless(datapath.blocksAt(indexes)), 'blocks by index').to.have.deep.members(timeless(rows));
  expect(datapath.blocksAt([])).to.deep.equal([]);
  const some = indexes.slice(1, 2);
  expect(datapath.blocksAt(some).map(({ index }) => index)).to.deep.equal(some);
  const ofPods = datapath.pods();
  for (const { pod: v6, sessions: count } of ofPods) {
    const mine = sessions.filter(({ source }) => source.v6.join() === v6.join());
    expect(count, `sessions of ${v6.join()}`).to.equal(mine.length);
  }
  expect(fill.get('pods')).to.equal(ofPods.length);
  const holders = datapath.blocks().flatMap(({ holder }) => (holder === undefined ? [] : [holder.join()]));
  expect(fill.get('pods'), 'pods').to.equal(new Set(holders).size);
}

export function sessions(play: Play): void {
  describe('sessions', () => {
    it('of all, those that are wanted are read', () => {
      const stage = play();
      const { datapath } = stage;
      stage.stock({ blocks: 2 });
      stage.passed(1, 5);
      stage.passed(1, 6, { protocol: 'tcp' });
      stage.passed(2, 7);
      stage.passed(2, 8, { to: SERVER + 1 });
      const ports = (wanted: SessionsWanted) =>
        datapath
          .sessions(wanted)
          .map(({ source }) => source.port)
          .sort((a, b) => a - b);
      expect(ports({})).to.deep.equal([5, 6, 7, 8]);
      expect(ports({ sources: [{ v6: pod(1), length: 128 }] })).to.deep.equal([5, 6]);
      expect(ports({ sources: [{ v6: pod(1), length: 128 }], protocol: 'tcp' })).to.deep.equal([6]);
      expect(ports({ destinations: [{ v4: SERVER, length: 32 }] })).to.deep.equal([5, 6, 7]);
      expect(ports({ sources: [] })).to.deep.equal([]);
    });

    for (const [protocol, state, seconds] of [
      ['udp', 'open', 300],
      ['tcp', 'v6Init', 240],
      ['icmp', 'open', 60],
    ] as const) {
      it(`a flow of ${protocol} makes a session and its binding, and says all of it`, () => {
        const stage = play();
        const { bench, datapath } = stage;
        stage.stock();
        const pool = stage.passed(1, 5, { protocol });
        const [row, ...others] = datapath.sessions();
        expect(others).to.deep.equal([]);
        const source = { v6: pod(1), port: 5 };
        expect(row).to.deep.include({ protocol, state, source, pool, packetsOut: 1, packetsIn: 0, bytesIn: 0 });
        expect(row?.destination6).to.deep.equal(stage.flow(1, 5).destination6);
        // An echo has one number alone, and the pool's side of it is what the server sees.
        expect(row?.destination).to.deep.equal({ v4: SERVER, port: protocol === 'icmp' ? pool.port : 53 });
        expect(row?.bytesOut).to.be.greaterThan(0);
        expect(row?.createdAt).to.be.closeTo(row?.lastSeenAt as number, 50);
        const lives = ((row?.expiresAt as number) - (row?.lastSeenAt as number)) / 1000;
        expect(lives, 'never too short').to.be.within(seconds, seconds + 2);
        const [binding, ...more] = datapath.bindings();
        expect(more).to.deep.equal([]);
        expect(binding).to.deep.include({ protocol, source, pool, sessions: 1, isStatic: false });
        expect(binding?.createdAt).to.be.closeTo(row?.createdAt as number, 50);

        bench.pass(10_000);
        expect(stage.send(1, 5, { protocol })).to.deep.equal(pool);
        const again = datapath.sessions()[0];
        expect(again).to.deep.include({ pool, packetsOut: 2, bytesOut: 2 * (row?.bytesOut as number) });
        expect(again?.expiresAt).to.be.at.least((again?.lastSeenAt as number) + seconds * 1000);
        const counters = datapath.packetCounters();
        expect(counters).to.have.length(6);
        expect(counters.find((one) => one.direction === '6to4' && one.protocol === protocol)).to.deep.equal({
          direction: '6to4',
          protocol,
          packets: 2,
          bytes: again?.bytesOut,
        });
        expect(counters.reduce((sum, one) => sum + one.packets, 0)).to.equal(2);
        expectAgreement(stage);
      });
    }

    it('one binding serves every destination of its source, and goes with the last session', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      const pool = stage.passed(1, 5);
      for (const packet of [{ port: 54 }, { to: SERVER + 1 }]) expect(stage.send(1, 5, packet)).to.deep.equal(pool);
      expect(datapath.bindings().map((row) => row.sessions)).to.deep.equal([3]);
      expectAgreement(stage);
      bench.pass(200_000);
      stage.passed(1, 5);
      bench.pass(200_000);
      expect(datapath.sweep(IDLE_MS).endedCount).to.equal(2);
      expect(datapath.bindings().map((row) => row.sessions)).to.deep.equal([1]);
      expect(stage.send(1, 5, { port: 55 })).to.deep.equal(pool);
      stage.wear();
      expect(datapath.bindings()).to.deep.equal([]);
      expect(stage.states()).to.deep.equal(['resting']);
      expectAgreement(stage);
    });

    it('tables agree over many flows, sweeps and drops', () => {
      const stage = play({ maxBlocksPerPod: 2 });
      const { bench, datapath } = stage;
      stage.stock({ blocks: 8, size: 8 });
      for (let n = 0; n < 10; n++) {
        for (let from = 0; from < 20; from++) {
          const protocol = PROTOCOLS[(n + from) % 3] ?? 'udp';
          stage.send(n, FIRST_PORT + from, { protocol, to: SERVER + (from % 2) });
          stage.send(n, FIRST_PORT + from, { protocol, port: from });
        }
      }
      expectAgreement(stage);
      expect(datapath.drops().reduce((sum, row) => sum + row.count, 0)).to.be.greaterThan(0);
      for (const ms of [100_000, 100_000, 100_000, 500_000]) {
        bench.pass(ms);
        datapath.sweep(IDLE_MS);
        datapath.sweep(IDLE_MS);
        expectAgreement(stage);
      }
      expect(datapath.sessions()).to.deep.equal([]);
    });

    it('what has run out is over, swept or not: the next packet begins anew', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      stage.passed(1, 5, { protocol: 'icmp' });
      stage.passed(1, 5, { protocol: 'icmp' });
      bench.pass(62_000);
      stage.passed(1, 5, { protocol: 'icmp' });
      expect(datapath.sessions().map(({ packetsOut }) => packetsOut)).to.deep.equal([1]);
      expect(datapath.bindings().map((row) => row.sessions)).to.deep.equal([1]);
      expect(datapath.sweep(IDLE_MS).endedCount).to.equal(0);
      expectAgreement(stage);
    });

    it('no session beyond those that there is room for; those that are there go on, and what ends makes room', () => {
      const stage = play({ maxSessionsPerPod: 1000 }, { maxSessions: 8 });
      const { bench, datapath } = stage;
      stage.stock();
      for (let i = 0; i < 8; i++) stage.passed(1, 5, { to: SERVER + i, protocol: 'icmp' });
      expect(stage.send(1, 5, { to: SERVER + 8, protocol: 'icmp' })).to.equal('sessions_full');
      expect(stage.send(1, 6, { protocol: 'icmp' }), 'with a binding of its own').to.equal('sessions_full');
      expect(
        datapath.bindings().map((row) => row.sessions),
        'which leaves nothing',
      ).to.deep.equal([8]);
      expectAgreement(stage);
      stage.passed(1, 5, { protocol: 'icmp' });
      for (const { map, entries, maxEntries } of datapath.mapFill()) {
        if (map.startsWith('flow')) expect([entries, maxEntries], map).to.deep.equal([8, 8]);
      }
      bench.pass(100_000);
      datapath.sweep(IDLE_MS);
      datapath.sweep(IDLE_MS);
      stage.passed(1, 6);
      expect(datapath.drops().map(({ reason, count }) => [reason, count])).to.deep.equal([['sessions_full', 2]]);
    });

    it('a pod has so many sessions and no more, those of its static bindings too; its neighbour has its own', () => {
      const stage = play({ maxSessionsPerPod: 3 });
      const { datapath } = stage;
      stage.stock({ blocks: 2 });
      datapath.putStaticBinding({
        protocol: 'udp',
        source: { v6: pod(1), port: 80 },
        pool: { v4: stage.block(0).v4, port: 9 },
      });
      stage.passed(1, 80);
      for (const port of [1, 2]) stage.passed(1, 5, { port });
      for (const from of [5, 6, 80]) expect(stage.send(1, from, { port: 3 })).to.equal('pod_quota');
      for (const port of [1, 2, 3]) stage.passed(2, 5, { port });
      stage.wear();
      stage.passed(1, 80);
    });
  });
}
