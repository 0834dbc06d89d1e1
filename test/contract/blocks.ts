// SPDX-License-Identifier: Apache-2.0
// The contract of port blocks: written, offered, leased by a flow, given back, retired.

import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import type { DatapathEvent } from '../../src/datapath/datapath.ts';
import { FIRST_ADDRESS, FIRST_PORT, IDLE_MS, pod, textOf, type Play } from './bench.ts';

const refused = { code: 'G64_DATAPATH_MAP' } as const;

function codeOf(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return 'nothing was thrown';
}

export function blocks(play: Play): void {
  describe('blocks', () => {
    it('rests when it is written, lies in its queue when it is offered, and a flow takes it out', () => {
      const stage = play();
      const { datapath } = stage;
      stage.tellAddresses();
      expect(datapath.blocks()).to.deep.equal([]);
      stage.write(3, FIRST_PORT);
      const written = { index: 3, slot: 0, v4: FIRST_ADDRESS, firstPort: FIRST_PORT, size: 16 };
      const empty = { holder: undefined, since: undefined, wasLeased: false, used: { tcp: 0, udp: 0, icmp: 0 } };
      expect(datapath.blocks()).to.deep.equal([{ ...written, ...empty, state: 'resting' }]);
      expect([...datapath.queuedBlocks(0)]).to.deep.equal([]);
      expect(stage.send(1, 5)).to.equal('pool_exhausted');
      datapath.offerBlock(3);
      expect(datapath.blocks()).to.deep.equal([{ ...written, ...empty, state: 'offered' }]);
      expect([...datapath.queuedBlocks(0)]).to.deep.equal([3]);
      const pool = stage.passed(1, 5);
      expect(pool.v4).to.equal(FIRST_ADDRESS);
      expect(pool.port).to.be.within(FIRST_PORT, FIRST_PORT + 15);
      expect([...datapath.queuedBlocks(0)]).to.deep.equal([]);
      const { since, ...leased } = stage.block(3);
      const used = { tcp: 0, udp: 1, icmp: 0 };
      expect(leased).to.deep.equal({ ...written, state: 'leased', holder: pod(1), wasLeased: true, used });
      expect(since).to.be.closeTo(datapath.sessions()[0]?.createdAt as number, 50);
    });

    it('every lease is told of once, in order, until the subscription ends', async () => {
      const stage = play();
      const heard: DatapathEvent[] = [];
      const heardToo: DatapathEvent[] = [];
      const end = stage.datapath.onEvent((event) => heard.push(event));
      stage.datapath.onEvent((event) => heardToo.push(event));
      stage.stock({ blocks: 4 });
      for (const n of [2, 1, 3]) for (const from of [5, 6]) stage.passed(n, from);
      await stage.bench.settle();
      expect(heard.map(({ type, holder }) => [type, holder])).to.deep.equal(
        [2, 1, 3].map((n) => ['blockLeased', pod(n)]),
      );
      for (const { block, holder, at } of heard) {
        const row = stage.block(block);
        expect(row.holder).to.deep.equal(holder);
        expect(at).to.be.closeTo(row.since as number, 50);
      }
      end();
      stage.passed(4, 5);
      await stage.bench.settle();
      expect([heard.length, heardToo.length]).to.deep.equal([3, 4]);
    });

    it('the records tell of a lease whose event was lost', async () => {
      const stage = play();
      const heard: DatapathEvent[] = [];
      stage.datapath.onEvent((event) => heard.push(event));
      stage.stock({ blocks: 2 });
      stage.bench.losingEvents(() => stage.passed(1, 5));
      await stage.bench.settle();
      expect(heard).to.deep.equal([]);
      expect(stage.datapath.blocks().filter(({ state }) => state === 'leased')).to.have.length(1);
      stage.passed(2, 5);
      await stage.bench.settle();
      expect(heard.map(({ holder }) => holder)).to.deep.equal([pod(2)]);
    });

    it('looking into a queue leaves all that lies in it', () => {
      const stage = play();
      stage.stock({ addresses: 2, blocks: 3 });
      for (let round = 0; round < 3; round++) {
        expect([...stage.datapath.queuedBlocks(0)]).to.have.members([0, 1, 2]);
        expect([...stage.datapath.queuedBlocks(1)]).to.have.members([3, 4, 5]);
      }
      expect([...stage.datapath.queuedBlocks(7)], 'a slot that nobody has').to.deep.equal([]);
      for (const n of [1, 2, 3]) stage.passed(n, 5);
    });

    it('a pod has so many blocks and no more, and is told apart from a pool that has none left', () => {
      const stage = play({ maxBlocksPerPod: 2 });
      stage.stock({ blocks: 3, size: 2 });
      const ports = [1, 2, 3, 4].map((from) => textOf(stage.passed(1, from)));
      expect(new Set(ports).size).to.equal(4);
      expect(stage.send(1, 5)).to.equal('pod_quota');
      expect(stage.send(1, 5, { protocol: 'tcp' }), 'each protocol has the ports to itself').to.be.an('object');
      expect([stage.passed(2, 1), stage.passed(2, 2)]).to.have.length(2);
      for (const [n, from] of [
        [2, 3],
        [3, 1],
      ] as const) {
        expect(stage.send(n, from)).to.equal('pool_exhausted');
      }
      const [first, second, ...others] = stage.datapath.drops();
      expect(others).to.deep.equal([]);
      expect(first).to.deep.include({ reason: 'pool_exhausted', direction: '6to4', count: 2 });
      expect(second).to.deep.include({ reason: 'pod_quota', direction: '6to4', count: 1 });
      expect(first?.last).to.deep.include({
        source: '2001:db8:1::3',
        destination: '2001:db8:64::c633:6407',
        protocol: 17,
        sourcePort: 1,
        destinationPort: 53,
        icmpType: null,
        icmpCode: null,
      });
    });

    it('a pod keeps its own port where that is free, in whichever of its blocks', () => {
      const stage = play();
      stage.stock({ blocks: 2, size: 4 });
      for (let i = 0; i < 5; i++) stage.passed(1, 100 + i);
      const ports = stage.datapath.bindings().map(({ pool }) => pool.port);
      const free = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => FIRST_PORT + i).filter((port) => !ports.includes(port));
      for (const port of free) expect(stage.passed(1, port).port).to.equal(port);
      const [taken] = ports;
      expect(stage.send(1, taken as number), 'all are in use').to.equal('pod_quota');
    });

    it('resting and offered blocks can be retired and nobody gets them; leased ones cannot', () => {
      const stage = play();
      const { datapath } = stage;
      stage.stock({ blocks: 1 });
      stage.passed(1, 5);
      for (const index of [1, 2, 3]) stage.write(index, FIRST_PORT + index * 16);
      for (const index of [2, 3]) datapath.offerBlock(index);
      expect([...datapath.retireBlocks([0, 1, 2, 99])], 'leased; resting; offered; never written').to.have.members([
        1, 2,
      ]);
      expect(stage.states()).to.deep.equal(['leased', 'retired', 'retired', 'offered']);
      expect([...datapath.queuedBlocks(0)]).to.deep.equal([3]);
      expect([...datapath.retireBlocks([1, 2])], 'again').to.deep.equal([]);
      stage.passed(2, 5);
      expect(stage.send(3, 5)).to.equal('pool_exhausted');
      stage.write(1, FIRST_PORT + 16);
      datapath.offerBlock(1);
      stage.passed(3, 5);
    });

    it('a block that its queue lost is found by what is in the queue, cannot be retired, and can be offered anew', () => {
      const stage = play();
      const { datapath } = stage;
      stage.stock({ blocks: 3 });
      stage.bench.loseFromQueue(0, 1);
      expect([...datapath.queuedBlocks(0)]).to.have.members([0, 2]);
      expect(stage.states()).to.deep.equal(['offered', 'offered', 'offered']);
      expect([...datapath.retireBlocks([0, 1])]).to.deep.equal([0]);
      stage.write(1, FIRST_PORT + 16);
      datapath.offerBlock(1);
      expect([...datapath.queuedBlocks(0)]).to.have.members([1, 2]);
      for (const n of [1, 2]) stage.passed(n, 5);
    });

    it('a block comes back when it has been empty for the time asked for, and not before, and says whose it was', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      stage.passed(1, 5, { protocol: 'icmp' });
      const { since } = stage.block(0);
      expect(datapath.sweep(IDLE_MS).returned, 'in use').to.deep.equal([]);
      bench.pass(100_000);
      expect(datapath.sweep(IDLE_MS)).to.deep.include({ endedCount: 1, finished: true, returned: [] });
      bench.pass(IDLE_MS - 5000);
      expect(datapath.sweep(IDLE_MS).returned, 'empty, but not for long').to.deep.equal([]);
      bench.pass(6000);
      const [row, ...others] = datapath.sweep(IDLE_MS).returned;
      expect(others).to.deep.equal([]);
      expect(row).to.deep.include({ index: 0, slot: 0, v4: FIRST_ADDRESS, firstPort: FIRST_PORT, size: 16 });
      expect(row).to.deep.include({ state: 'resting', holder: pod(1) });
      expect(row?.since).to.be.closeTo(since as number, 50);
      expect(stage.block(0)).to.deep.include({
        state: 'resting',
        holder: undefined,
        since: undefined,
        wasLeased: true,
      });
      expect(datapath.sweep(IDLE_MS).returned, 'once').to.deep.equal([]);
      expect(stage.send(1, 5), 'it rests').to.equal('pool_exhausted');
      datapath.offerBlock(0);
      stage.passed(2, 5);
      expect(stage.block(0).holder).to.deep.equal(pod(2));
    });

    it('a flow that came in time keeps its block', () => {
      const stage = play();
      stage.stock();
      stage.passed(1, 5, { protocol: 'icmp' });
      stage.bench.pass(100_000);
      stage.datapath.sweep(IDLE_MS);
      stage.passed(1, 6);
      stage.bench.pass(IDLE_MS + 1000);
      expect(stage.datapath.sweep(IDLE_MS).returned).to.deep.equal([]);
      expect(stage.states()).to.deep.equal(['leased']);
    });

    it('an address that drains gives no new port, its flows go on; wanted again it serves as before', () => {
      const stage = play({ slots: 2 });
      const { datapath } = stage;
      stage.stock({ addresses: 2, blocks: 2 });
      const old = stage.passed(1, 5);
      const slot = old.v4 - FIRST_ADDRESS;
      const queued = [...datapath.queuedBlocks(slot)];
      expect(queued).to.have.length(1);
      stage.tellAddresses({ addresses: 2, draining: [slot] });
      expect(stage.send(1, 5), 'it goes on').to.deep.equal(old);
      expect(stage.send(1, 5, { port: 54 }), 'and so does its binding').to.deep.equal(old);
      const other = stage.passed(1, 6);
      expect(other.v4).to.equal(FIRST_ADDRESS + 1 - slot);
      for (let n = 2; n <= 2; n++) expect(stage.passed(n, 5).v4).to.equal(other.v4);
      expect(stage.send(3, 5), 'what the other one has is gone').to.equal('pool_exhausted');
      expect([...datapath.queuedBlocks(slot)], 'it is kept').to.deep.equal(queued);
      stage.tellAddresses({ addresses: 2 });
      expect(stage.passed(3, 5).v4).to.equal(old.v4);
    });

    it('an address that comes gets the slot of one that left', () => {
      const stage = play();
      const { datapath } = stage;
      stage.stock();
      const old = stage.passed(1, 5);
      const v4 = parseIp4('203.0.113.99');
      datapath.setPoolAddresses([
        { v4: FIRST_ADDRESS, slot: 0, shared: false, draining: true },
        { v4, slot: 0, shared: false, draining: false },
      ]);
      datapath.writeBlock({ index: 1, slot: 0, v4, firstPort: 1024, size: 16 }, { tcp: [], udp: [], icmp: [] });
      datapath.offerBlock(1);
      expect(stage.send(1, 5)).to.deep.equal(old);
      expect(stage.passed(1, 6).v4).to.equal(v4);
    });

    it('refuses what cannot be: a record beyond the last, an offer of none, a port outside its block', () => {
      const stage = play();
      const { datapath } = stage;
      stage.tellAddresses();
      expect(codeOf(() => stage.write(datapath.limits().blocks, FIRST_PORT))).to.include(refused);
      expect(codeOf(() => datapath.offerBlock(0))).to.include(refused);
      const statics = { tcp: [FIRST_PORT + 16], udp: [], icmp: [] };
      expect(codeOf(() => stage.write(0, FIRST_PORT, { statics }))).to.include(refused);
      expect(datapath.blocks()).to.deep.equal([]);
      stage.write(datapath.limits().blocks - 1, FIRST_PORT);
      expect(datapath.blocks()).to.have.length(1);
    });
  });
}
