// SPDX-License-Identifier: Apache-2.0
// The sweeper's turns against the data plane in memory: how long it rests, what it tells of.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import type { SessionRow, SweepOptions } from '../../../src/datapath/datapath.ts';
import { Sweeper, type SweepSum } from '../../../src/nat64/sweeper.ts';
import { fakeDatapath, flow, passed, TestClock, TestLog } from './support.ts';

const FLOWS = 500;

describe('sweeper', () => {
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let sweeper: Sweeper;
  let sums: SweepSum[];
  let ticks: number;
  let turns: { at: number; options: SweepOptions | undefined }[];

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
    sums = [];
    turns = [];
    ticks = 0;
    sweeper = new Sweeper({
      datapath,
      clock,
      log,
      idleBlockMs: 60_000,
      onSweep: (result) => sums.push(result),
      onTick: () => ticks++,
    });
    const sweep = datapath.sweep.bind(datapath);
    datapath.sweep = (idle, options) => {
      turns.push({ at: clock.now(), options });
      return sweep(idle, options);
    };
    datapath.setPoolAddresses([{ v4: parseIp4('192.0.2.1'), slot: 0, shared: false, draining: false }]);
    datapath.writeBlock(
      { index: 0, slot: 0, v4: parseIp4('192.0.2.1'), firstPort: 1024, size: 1024 },
      { tcp: [], udp: [], icmp: [] },
    );
    datapath.offerBlock(0);
    for (let i = 0; i < FLOWS; i++) passed(flow(datapath, 1, 1024 + i));
    datapath.sweepDurationMs = 10;
    datapath.sweepStep = 100;
  });

  afterEach(() => sweeper.stop());

  it('tells of the sessions that end, a bounded number a turn', () => {
    const told: number[] = [];
    const onEnded = (rows: readonly SessionRow[]) => void told.push(rows.length);
    const options = { datapath, clock, log, idleBlockMs: 60_000, onEnded, onSweep: () => {}, onTick: () => {} };
    sweeper = new Sweeper(options);
    clock.advance(302_000);
    sweeper.sweep();
    datapath.sweepStep = 1000;
    sweeper.sweep();
    sweeper.sweep();
    expect(told).to.deep.equal([100, 256]);
  });

  it('takes a fifth of the time for a backlog, a hundredth when there is none, and tells of a sweep when it is over', () => {
    clock.advance(302_000);
    sweeper.start();
    clock.advance(0);
    expect(turns.map(({ options }) => options?.budgetMs)).to.deep.equal([4]);
    clock.advance(4 * 40);
    expect(turns.slice(1).map(({ at }, i) => at - (turns[i]?.at ?? 0))).to.deep.equal([40, 40, 40, 40]);
    expect(sums).to.deep.equal([{ endedCount: FLOWS, durationMs: 50, returned: [] }]);
    expect(ticks, 'once a second').to.equal(1);
    datapath.sweepDurationMs = 200;
    clock.advance(1000);
    expect(turns).to.have.length(6);
    clock.advance(99 * 200 - 1);
    expect(turns).to.have.length(6);
    clock.advance(1);
    expect(turns).to.have.length(7);
    expect(ticks).to.equal(3);
  });

  it('goes on after a sweep that failed', () => {
    datapath.sweep = () => {
      throw new Error('no');
    };
    expect(sweeper.sweep()).to.equal(10_000);
    expect(log.with('sweep failed; trying again')).to.have.length(1);
  });
});
