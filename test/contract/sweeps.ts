// SPDX-License-Identifier: Apache-2.0
// The contract of sweeps: they end what has run out and nothing else, in turns as long as the caller likes.

import { expect } from 'chai';
import { formatIp6 } from '../../src/addr/ip.ts';
import type { SessionRow, SweepResult } from '../../src/datapath/datapath.ts';
import { FIRST_ADDRESS, IDLE_MS, pod, SERVER, type Play, type Stage } from './bench.ts';

const COUNT = 300;

/** `COUNT` sessions of one pod, whose time is over. */
function backlog(stage: Stage): void {
  stage.stock();
  for (let i = 0; i < COUNT; i++) stage.passed(1, 5, { protocol: 'icmp', to: SERVER + i });
  stage.bench.pass(10_000_000);
}

/** Turns until one says that the walk is over. */
function turns(stage: Stage, maxRows = 1000): SweepResult[] {
  const results: SweepResult[] = [];
  for (;;) {
    const result = stage.datapath.sweep(IDLE_MS, { budgetMs: 0, maxRows });
    results.push(result);
    if (result.finished) return results;
    expect(results.length, 'it goes on').to.be.below(COUNT * 2);
  }
}

const destinations = (rows: readonly SessionRow[]) => rows.map(({ destination }) => destination.v4);

export function sweeps(play: Play): void {
  describe('sweeps', () => {
    it('ends exactly what has run out, and gives it as it last stood', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock({ blocks: 2 });
      const row = () => datapath.sessions().find(({ protocol }) => protocol === 'icmp');
      for (const protocol of ['udp', 'tcp', 'icmp'] as const) stage.passed(1, 5, { protocol });
      stage.passed(1, 5, { protocol: 'icmp' });
      bench.pass(59_000);
      expect(datapath.sweep(IDLE_MS)).to.deep.include({ endedCount: 0, ended: [], finished: true });
      bench.pass(4000);
      const stood = row();
      const result = datapath.sweep(IDLE_MS);
      expect(result).to.deep.include({ endedCount: 1, finished: true });
      expect(result.durationMs).to.be.at.least(0);
      const { createdAt, lastSeenAt, expiresAt, ...ended } = result.ended[0] as SessionRow;
      expect(stood).to.deep.include(ended);
      for (const [time, before] of [
        [createdAt, stood?.createdAt],
        [lastSeenAt, stood?.lastSeenAt],
        [expiresAt, stood?.expiresAt],
      ]) {
        expect(time).to.be.closeTo(before as number, 50);
      }
      expect(datapath.sessions().map(({ protocol }) => protocol)).to.have.members(['udp', 'tcp']);
      bench.pass(180_000);
      expect(datapath.sweep(IDLE_MS).ended.map(({ protocol }) => protocol)).to.deep.equal(['tcp']);
      bench.pass(60_000);
      expect(datapath.sweep(IDLE_MS).ended.map(({ protocol }) => protocol)).to.deep.equal(['udp']);
      expect(datapath.sweep(IDLE_MS).endedCount).to.equal(0);
    });

    it('closed connections end after the time of their pod, or everybody’s; open ones do not', () => {
      const stage = play({ slots: 2 });
      const { bench, datapath } = stage;
      stage.stock({ addresses: 2, blocks: 4 });
      const tcp = { protocol: 'tcp', port: 443 } as const;
      const all = [1, 2, 3].flatMap((n) => [1, 2].map((from) => [n, from] as const));
      for (const [n, from] of all) stage.passed(n, from, tcp);
      bench.finish(datapath.sessions().filter(({ source }) => source.port === 1));
      const left = () =>
        all.filter(([n, from]) => stage.session(n, from) !== undefined).map(([n, from]) => `${n}:${from}`);
      // One walk may step over a neighbour of what it deletes.
      const sweep = () => [1, 2].forEach(() => datapath.sweep(IDLE_MS));
      datapath.setClosingTimes([{ pod: pod(2), ms: 3000 }, { ms: 20_000 }]);
      bench.pass(2500);
      sweep();
      expect(left()).to.have.length(all.length);
      bench.pass(1000);
      sweep();
      expect(left()).to.have.members(['1:1', '1:2', '2:2', '3:1', '3:2']);
      datapath.setClosingTimes([{ pod: pod(3), ms: 3000 }]);
      sweep();
      expect(left(), 'those before hold no more').to.have.members(['1:1', '1:2', '2:2', '3:2']);
      datapath.setClosingTimes([{ ms: 3000 }]);
      sweep();
      expect(left()).to.have.members(['1:2', '2:2', '3:2']);
      datapath.setClosingTimes([]);
      expect(
        datapath.blocks().reduce((sum, { used }) => sum + used.tcp, 0),
        'their ports are free',
      ).to.equal(3);
    });

    it('while ports run short for everybody a block that nothing uses goes back as soon as closed sessions go', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock({ blocks: 2 });
      stage.passed(1, 5, { protocol: 'icmp' });
      bench.pass(64_000);
      expect(datapath.sweep(IDLE_MS).returned, 'just emptied').to.deep.equal([]);
      bench.pass(5000);
      expect(datapath.sweep(IDLE_MS).returned).to.deep.equal([]);
      datapath.setClosingTimes([{ pod: pod(1), ms: 2000 }]);
      expect(datapath.sweep(IDLE_MS).returned, 'the pod alone is pressed').to.deep.equal([]);
      datapath.setClosingTimes([{ ms: 2000 }]);
      expect(datapath.sweep(IDLE_MS).returned, 'ten seconds at least').to.deep.equal([]);
      bench.pass(6000);
      expect(datapath.sweep(IDLE_MS).returned).to.have.length(1);
      datapath.setClosingTimes([]);
    });

    it('while ports run short a pod that has fewer sessions than blocks gives back empty ones at once, but for the last', () => {
      const stage = play({ maxBlocksPerPod: 8 });
      const { bench, datapath } = stage;
      stage.stock({ blocks: 8, size: 2 });
      const tcp = { protocol: 'tcp', port: 443 } as const;
      for (let from = 1; from <= 6; from++) stage.passed(1, from, tcp);
      for (let from = 1; from <= 4; from++) stage.passed(2, from, tcp);
      const held = (n: number) => datapath.blocks().filter(({ holder }) => holder?.join() === pod(n).join());
      expect([held(1), held(2)].map(({ length }) => length)).to.deep.equal([3, 2]);
      // The second keeps both ports of one block, and so has as many sessions as blocks.
      const kept = stage.session(2, 1)?.pool.port ?? 0;
      const sameBlock = ({ port }: { port: number }) => port >> 1 === kept >> 1;
      bench.finish(
        datapath.sessions().filter(({ source, pool }) => source.v6.join() === pod(1).join() || !sameBlock(pool)),
      );
      datapath.setClosingTimes([{ ms: 2000 }]);
      bench.pass(3000);
      for (let i = 0; i < 3; i++) datapath.sweep(IDLE_MS);
      bench.pass(1000);
      expect(datapath.sweep(IDLE_MS).returned, 'just emptied').to.deep.equal([]);
      bench.pass(2000);
      expect(datapath.sweep(IDLE_MS).returned).to.have.length(2);
      expect([held(1), held(2)].map(({ length }) => length)).to.deep.equal([1, 2]);
      bench.pass(8000);
      expect(datapath.sweep(IDLE_MS).returned).to.have.length(2);
      expect([held(1), held(2)].map(({ length }) => length)).to.deep.equal([0, 1]);
      datapath.setClosingTimes([]);
    });

    it('sessions of an address that is given up are over at once, those of others are not', () => {
      const stage = play({ slots: 2 });
      const { datapath } = stage;
      stage.stock({ addresses: 2, blocks: 4 });
      const all = [1, 2].flatMap((n) => (['tcp', 'udp', 'icmp'] as const).map((protocol) => ({ n, protocol })));
      for (const { n, protocol } of all) stage.passed(n, 5, { protocol });
      stage.passed(1, 5, { port: 54 });
      const [lost = 0, kept = 0] = [1, 2].map((n) => stage.session(n, 5)?.pool.v4);
      expect(lost, 'pods that follow one another get addresses of their own').not.to.equal(kept);
      const of = (v4: number) => datapath.sessions().filter(({ pool }) => pool.v4 === v4).length;
      stage.tellAddresses({ addresses: 2, draining: [lost - FIRST_ADDRESS], shared: [lost - FIRST_ADDRESS] });
      expect(datapath.sharedAddresses()).to.deep.equal([lost]);
      expect(datapath.drainingAddresses()).to.deep.equal([lost]);
      expect(datapath.endSessionsOf(lost)).to.equal(4);
      // A session in use goes on by another address with its next packet.
      expect(stage.passed(1, 5, { protocol: 'icmp' }).v4).to.equal(kept);
      expect(datapath.endSessionsOf(lost), 'those that have not been swept').to.equal(3);
      // One walk may step over a neighbour of what it deletes.
      for (let walk = 0; walk < 2; walk++) datapath.sweep(IDLE_MS);
      expect([of(lost), of(kept)]).to.deep.equal([0, 4]);
      expect(datapath.endSessionsOf(lost)).to.equal(0);
      expect(datapath.bindings().map(({ pool }) => pool.v4)).to.deep.equal(Array(4).fill(kept));
      expect(datapath.counts().sessions).to.deep.equal({ tcp: 1, udp: 1, icmp: 2 });
      const used = datapath
        .blocks()
        .filter(({ v4 }) => v4 === lost)
        .map((row) => row.used);
      for (const ports of used) expect(ports).to.deep.equal({ tcp: 0, udp: 0, icmp: 0 });
      expect(stage.passed(1, 5).v4).to.equal(kept);
    });

    it('without a budget one call walks to the end, and each session ends once', () => {
      const stage = play();
      backlog(stage);
      const first = stage.datapath.sweep(IDLE_MS);
      expect(first.finished).to.equal(true);
      // A walk may step over a neighbour of what is deleted under it; the next one meets that.
      expect(first.endedCount).to.be.greaterThan(COUNT * 0.9);
      const all = [...first.ended, ...stage.datapath.sweep(IDLE_MS).ended];
      expect(new Set(destinations(all)).size).to.equal(COUNT);
      expect(all).to.have.length(COUNT);
    });

    it('with a budget it pauses and goes on there; blocks are looked at when it is through', () => {
      const stage = play();
      backlog(stage);
      const results = turns(stage);
      expect(results.length).to.be.greaterThan(1);
      expect(results[0]?.endedCount).to.be.within(1, COUNT - 1);
      for (const { finished, returned } of results.slice(0, -1))
        expect([finished, returned]).to.deep.equal([false, []]);
      for (const { endedCount, ended } of results) expect(ended).to.have.length(endedCount);
      const all = [...results, ...turns(stage)].flatMap(({ ended }) => destinations(ended));
      expect(new Set(all).size).to.equal(COUNT);
      expect(all).to.have.length(COUNT);
      expect(stage.datapath.sessions()).to.deep.equal([]);
    });

    it('what comes in while it pauses stays', () => {
      const stage = play();
      backlog(stage);
      expect(stage.datapath.sweep(IDLE_MS, { budgetMs: 0 }).finished).to.equal(false);
      stage.passed(1, 7);
      turns(stage);
      turns(stage);
      expect(stage.datapath.sessions().map(({ source }) => [formatIp6(source.v6), source.port])).to.deep.equal([
        ['2001:db8:1::1', 7],
      ]);
      expect(stage.states()).to.deep.equal(['leased']);
    });

    it('a load between two turns is no harm', () => {
      const stage = play();
      backlog(stage);
      expect(stage.datapath.sweep(IDLE_MS, { budgetMs: 0 }).finished).to.equal(false);
      expect(stage.datapath.setPrograms(stage.wanted({ maxBlocksPerPod: 3 }))).to.equal('loaded');
      turns(stage);
      turns(stage);
      expect(stage.datapath.sessions()).to.deep.equal([]);
    });

    it('counts all and makes no more rows than asked for', () => {
      const stage = play();
      backlog(stage);
      const { endedCount, ended } = stage.datapath.sweep(IDLE_MS, { maxRows: 10 });
      expect(endedCount).to.be.greaterThan(COUNT * 0.9);
      expect(ended).to.have.length(10);
      const rest = stage.datapath.sweep(IDLE_MS, { maxRows: 0 });
      expect(rest.ended).to.deep.equal([]);
      expect(endedCount + rest.endedCount).to.equal(COUNT);
    });

    it('another time for empty blocks holds from that sweep on', () => {
      const stage = play();
      stage.stock();
      stage.passed(1, 5, { protocol: 'icmp' });
      stage.bench.pass(100_000);
      stage.datapath.sweep(IDLE_MS);
      stage.bench.pass(1000);
      expect(stage.datapath.sweep(IDLE_MS).returned).to.deep.equal([]);
      expect(stage.datapath.sweep(500).returned.map(({ index }) => index)).to.deep.equal([0]);
    });
  });
}
