// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { formatIp6 } from '../../../src/addr/ip.ts';
import type { PoolRange } from '../../../src/model/pool.ts';
import type { BlockRow, SessionRow } from '../../../src/datapath/datapath.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { PortBlockLedger } from '../../../src/nat64/ledger.ts';
import { blockKey, poolBlocks } from '../../../src/plan/blocks.ts';
import { holds } from '../../helpers/property.ts';
import { fakeDatapath, flow, passed, pod, range, TestClock, TestLog } from './support.ts';

const HOLD_DOWN_MS = 120_000;
const IDLE_MS = 60_000;

class Bench {
  readonly clock = new TestClock();
  readonly log = new TestLog();
  readonly datapath: FakeDatapath;
  ledger: PortBlockLedger;
  #unsubscribe = () => {};

  constructor(random?: () => number) {
    this.datapath = fakeDatapath(this.clock);
    this.ledger = this.restart(random);
  }

  /** A new process over the same maps. */
  restart(random?: () => number): PortBlockLedger {
    this.#unsubscribe();
    const { datapath, clock, log } = this;
    const ledger = new PortBlockLedger({ datapath, clock, log, holdDownMs: HOLD_DOWN_MS, ...(random && { random }) });
    this.#unsubscribe = datapath.onEvent((event) => ledger.noteEvent(event));
    this.ledger = ledger;
    return ledger;
  }

  use(ranges: readonly PoolRange[], blockSize = 4): void {
    this.ledger.reconcile(poolBlocks(ranges, blockSize), []);
    this.tellAddresses();
    this.ledger.tick();
  }

  /** As the service does: pods get ports of addresses that the data plane knows. */
  tellAddresses(): void {
    const { datapath, ledger } = this;
    datapath.setPoolAddresses(
      ledger.addresses().map(({ v4, slot, wanted }) => ({ v4, slot, shared: false, draining: !wanted })),
    );
    datapath.setPrograms({ ...datapath.programs, slots: ledger.slots() });
  }

  sweep(): void {
    this.ledger.noteReturned(this.datapath.sweep(IDLE_MS).returned);
    this.ledger.tick();
    this.tellAddresses();
  }

  live(): BlockRow[] {
    return this.datapath.blocks().filter((row) => row.state !== 'retired');
  }

  states(): string[] {
    return this.datapath
      .blocks()
      .map((row) => `${row.firstPort} ${row.state}`)
      .sort();
  }
}

function portsOf(row: BlockRow): string[] {
  return Array.from({ length: row.size }, (_, i) => `${row.v4}:${row.firstPort + i}`);
}

/** What must hold at any time. */
function checkInvariants(bench: Bench): void {
  const rows = bench.live();
  const ports = rows.flatMap(portsOf);
  expect(new Set(ports).size, 'a port of two blocks').to.equal(ports.length);
  const slots = new Set(rows.map((row) => row.slot));
  const queued = [...slots].flatMap((slot) => [...bench.datapath.queuedBlocks(slot)]);
  const offered = rows.filter((row) => row.state === 'offered').map((row) => row.index);
  expect(queued, 'queues and states').to.have.members(offered);
  const sources = bench.datapath.bindings().map((b) => `${b.protocol} ${formatIp6(b.source.v6)} ${b.source.port}`);
  const pools = bench.datapath.bindings().map((b) => `${b.protocol} ${b.pool.v4}:${b.pool.port}`);
  expect(new Set(sources).size).to.equal(sources.length);
  expect(new Set(pools).size).to.equal(pools.length);
}

describe('nat64/ledger', () => {
  it('offers every block of the pool, each once, each address by its own queue', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.0/31', 1000, 1009)]);
    expect(bench.live().map((row) => [row.slot, row.firstPort, row.size, row.state])).to.have.deep.members([
      [0, 1000, 4, 'offered'],
      [0, 1004, 4, 'offered'],
      [0, 1008, 2, 'offered'],
      [1, 1000, 4, 'offered'],
      [1, 1004, 4, 'offered'],
      [1, 1008, 2, 'offered'],
    ]);
    expect(bench.ledger.slots()).to.equal(2);
    checkInvariants(bench);
  });

  it('a pool of two ports serves two flows, then no third, and both sides stay unique', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1001)]);
    const [a, b] = [passed(flow(bench.datapath, 1, 40000)), passed(flow(bench.datapath, 1, 40001))];
    expect([a.pool.port, b.pool.port]).to.have.members([1000, 1001]);
    expect(flow(bench.datapath, 2, 40000)).to.equal('pool_exhausted');
    checkInvariants(bench);
  });

  it('blocks that rest are given out early when none is left, the longest rested first, and only then', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1067)]);
    const sessions: SessionRow[] = [];
    for (let n = 1; n <= 16; n++) sessions.push(passed(flow(bench.datapath, n, 1)));
    for (const session of sessions) {
      bench.datapath.closeFlow(session);
      bench.clock.advance(1000);
    }
    bench.clock.advance(IDLE_MS - 8000);
    bench.sweep();
    const resting = () => bench.live().filter(({ state }) => state === 'resting').length;
    expect(resting(), 'those that ended first').to.equal(9);
    bench.clock.advance(8000);
    bench.sweep();
    expect(resting()).to.equal(16);
    bench.ledger.wake(0);
    bench.ledger.tick();
    expect(resting(), 'one is free still').to.equal(16);
    passed(flow(bench.datapath, 17, 1));
    expect(flow(bench.datapath, 18, 1)).to.equal('pool_exhausted');
    bench.sweep();
    bench.ledger.wake(0);
    bench.ledger.tick();
    expect(resting()).to.equal(14);
    const early = bench.live().filter(({ state }) => state === 'offered');
    const first = sessions.slice(0, 9).map(({ pool }) => pool.port - (pool.port % 4));
    for (const { firstPort } of early) expect(first).to.include(firstPort);
    passed(flow(bench.datapath, 18, 1));
    expect(bench.log.lines.at(-2)?.message).to.match(/given out early/);
    checkInvariants(bench);
  });

  it('blocks that rest are given out early when all that is left is kept for pods that hold none', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1039)]);
    const sessions = Array.from({ length: 8 }, (_, n) => passed(flow(bench.datapath, n, 1)));
    for (const session of sessions) bench.datapath.closeFlow(session);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    const offered = () => bench.live().filter(({ state }) => state === 'offered').length;
    bench.ledger.wake(1);
    bench.ledger.tick();
    expect(offered(), 'two are left, and one is kept').to.equal(2);
    bench.ledger.wake(2);
    bench.ledger.tick();
    expect(offered()).to.equal(3);
    checkInvariants(bench);
  });

  it('a port that TCP uses stays free for UDP', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1000)]);
    expect(passed(flow(bench.datapath, 1, 5, 'tcp')).pool).to.deep.equal(
      passed(flow(bench.datapath, 1, 5, 'udp')).pool,
    );
  });

  it('one log line for a block leased and one for it returned: holder, address, ports, time', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    const sessions = [1, 2, 3].map((port) => passed(flow(bench.datapath, 1, port)));
    const at = '2026-01-01T00:00:00.000Z';
    const block = { address: '192.0.2.1', ports: '1000-1003', holder: '2001:db8:1::1' };
    expect(bench.log.with('port block leased')).to.deep.equal([{ ...block, at }]);
    for (const session of sessions) bench.datapath.closeFlow(session);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    expect(bench.log.with('port block returned')).to.deep.equal([
      { ...block, since: at, at: '2026-01-01T00:01:00.000Z' },
    ]);
  });

  it('a returned block is not given out after 119 s and is after 120 s', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    bench.datapath.closeFlow(passed(flow(bench.datapath, 1, 1)));
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    bench.clock.advance(HOLD_DOWN_MS - 1000);
    bench.sweep();
    expect(flow(bench.datapath, 2, 1)).to.equal('pool_exhausted');
    expect(bench.ledger.nextReadyAt()).to.equal(bench.clock.now() + 1000);
    bench.clock.advance(1000);
    bench.sweep();
    passed(flow(bench.datapath, 2, 1));
  });

  it('a restart gives nobody a port that was in use, and lets returned blocks rest anew', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1011)]);
    const kept = passed(flow(bench.datapath, 1, 1));
    bench.datapath.closeFlow(passed(flow(bench.datapath, 2, 1)));
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    const before = bench.datapath.blocks();
    bench.clock.advance(100_000);
    bench.restart();
    bench.use([range('192.0.2.1', 1000, 1011)]);
    expect(bench.datapath.blocks(), 'no block changes its name or state').to.deep.equal(before);
    expect(bench.log.with('port block adopted')).to.have.length(1);
    bench.clock.advance(HOLD_DOWN_MS - 1);
    bench.sweep();
    expect(bench.live().filter((row) => row.state === 'resting')).to.have.length(1);
    bench.clock.advance(1);
    bench.ledger.tick();
    expect(bench.live().filter((row) => row.state === 'resting')).to.have.length(0);
    expect(bench.datapath.bindings().map((row) => row.pool)).to.deep.equal([kept.pool]);
    checkInvariants(bench);
  });

  it('offers blocks that no pod has had at once when a start ended between writing and offering them', () => {
    const bench = new Bench();
    bench.ledger.reconcile(poolBlocks([range('192.0.2.1', 1000, 1011)], 4), []);
    expect(bench.live().map(({ state }) => state)).to.deep.equal(['resting', 'resting', 'resting']);
    bench.restart();
    bench.use([range('192.0.2.1', 1000, 1011)]);
    expect(bench.live().map(({ state }) => state)).to.deep.equal(['offered', 'offered', 'offered']);
    // And lets go of them at once when the pool is another by then.
    bench.restart();
    bench.use([range('192.0.2.1', 1000, 1007)]);
    expect(bench.live().map(({ state }) => state)).to.deep.equal(['offered', 'offered']);
    checkInvariants(bench);
  });

  it('counts as serving what can be given of the pool, not what pods hold of one before', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    passed(flow(bench.datapath, 1, 1000));
    expect(bench.ledger.serving()).to.deep.equal({ offered: 0, leased: 1, resting: 0 });
    // Its one block waits for the ports of the block before.
    bench.use([range('192.0.2.1', 1000, 1001)], 2);
    expect(bench.ledger.serving()).to.deep.equal({ offered: 0, leased: 0, resting: 0 });
  });

  it('takes offered blocks out of the pool at once, leased ones when they are empty and have rested', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1007)]);
    const session = passed(flow(bench.datapath, 1, 1000));
    bench.use([range('192.0.2.1', 3000, 3003)]);
    const leased = bench.live().find((row) => row.state === 'leased');
    expect(bench.states()).to.deep.equal([`${leased?.firstPort} leased`, '3000 offered'].sort());
    expect(passed(flow(bench.datapath, 1, 1000)).pool, 'the flow goes on').to.deep.equal(session.pool);
    bench.datapath.closeFlow(session);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    bench.clock.advance(HOLD_DOWN_MS);
    bench.sweep();
    expect(bench.live().map((row) => row.firstPort)).to.deep.equal([3000]);
  });

  it('blocks of another size wait until the old block on their ports is empty and has rested', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1007)], 4);
    const session = passed(flow(bench.datapath, 1, 1000));
    bench.use([range('192.0.2.1', 1000, 1007)], 2);
    checkInvariants(bench);
    expect(bench.live()).to.have.length(3);
    bench.datapath.closeFlow(session);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    expect(bench.live()).to.have.length(3);
    bench.clock.advance(HOLD_DOWN_MS);
    bench.sweep();
    expect(bench.live().map((row) => [row.size, row.state])).to.deep.equal(
      Array.from({ length: 4 }, () => [2, 'offered']),
    );
    checkInvariants(bench);
  });

  it('an address that leaves the pool stays known while a pod holds its blocks, and its slot is filled again', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    const session = passed(flow(bench.datapath, 1, 1));
    bench.use([range('192.0.2.2', 1000, 1003)]);
    expect(bench.ledger.addresses().map(({ slot, wanted }) => [slot, wanted])).to.have.deep.members([
      [0, false],
      [0, true],
    ]);
    expect(bench.ledger.slots()).to.equal(1);
    bench.datapath.closeFlow(session);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    bench.clock.advance(HOLD_DOWN_MS);
    bench.sweep();
    expect(bench.ledger.addresses()).to.have.length(1);
  });

  it('addresses that had one slot after another get two when both are of the pool', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1007)]);
    const old = passed(flow(bench.datapath, 1, 1));
    bench.use([range('192.0.2.2', 1000, 1007)]);
    passed(flow(bench.datapath, 2, 1));
    bench.use([range('192.0.2.1', 1000, 1007), range('192.0.2.2', 1000, 1007)]);
    expect(bench.ledger.addresses().map(({ slot }) => slot)).to.deep.equal([0, 1]);
    bench.datapath.closeFlow(old);
    bench.clock.advance(IDLE_MS);
    bench.sweep();
    bench.clock.advance(HOLD_DOWN_MS);
    bench.sweep();
    for (const slot of [0, 1]) {
      const addresses = bench.live().filter((row) => bench.datapath.queuedBlocks(slot).has(row.index));
      expect(new Set(addresses.map((row) => row.v4)).size, `slot ${slot}`).to.equal(1);
    }
    expect(bench.live().filter((row) => row.v4 === old.pool.v4 && row.state === 'offered')).to.have.length(2);
    checkInvariants(bench);
  });

  it('offers a block again that its queue has lost, once two looks in a row have found it so', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    const [row] = bench.live();
    bench.datapath.loseFromQueue(row?.index ?? -1);
    bench.ledger.verify();
    expect(flow(bench.datapath, 1, 1)).to.equal('pool_exhausted');
    bench.ledger.verify();
    passed(flow(bench.datapath, 1, 1));
    expect(bench.log.with('port block was in no queue; offered again')).to.have.length(1);
  });

  it('lets go of a block that no queue has and that left the pool, once two looks in a row have found it so', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    bench.datapath.loseFromQueue(bench.live()[0]?.index ?? -1);
    bench.restart();
    bench.use([range('192.0.2.2', 1000, 1003)]);
    expect(bench.states(), 'a pod may be taking it just now').to.deep.equal(['1000 offered', '1000 offered']);
    bench.ledger.verify();
    expect(bench.states()).to.deep.equal(['1000 offered', '1000 offered']);
    bench.ledger.verify();
    expect(bench.states()).to.deep.equal(['1000 offered', '1000 retired']);
    expect(bench.ledger.addresses()).to.have.length(1);
    checkInvariants(bench);
  });

  it('retires and rewrites any number of blocks by one call', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.0/30', 1000, 1999)]);
    let calls = 0;
    const retire = bench.datapath.retireBlocks.bind(bench.datapath);
    bench.datapath.retireBlocks = (indexes) => {
      calls++;
      return retire(indexes);
    };
    const statics = [1001, 1501].map((port) => ({
      protocol: 'tcp' as const,
      source: { v6: pod(1), port },
      pool: { v4: 0xc0000201, port },
    }));
    bench.ledger.setStatics(statics);
    expect(calls).to.equal(1);
    bench.use([range('198.51.100.1', 1000, 1003)]);
    // One for what left, one for the static bindings of what stayed.
    expect(calls).to.be.at.most(4);
    expect(bench.states().filter((state) => state.endsWith('offered'))).to.deep.equal(['1000 offered']);
  });

  it('catches up on a lease whose event was lost', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    bench.datapath.losingEvents(() => void passed(flow(bench.datapath, 1, 1)));
    expect(bench.log.with('port block leased')).to.have.length(0);
    bench.ledger.verify();
    expect(bench.log.with('port block leased')).to.have.length(1);
    expect(bench.ledger.serving()).to.deep.equal({ offered: 0, leased: 1, resting: 0 });
  });

  it('the order in which blocks are offered is random', () => {
    const orders = Array.from({ length: 20 }, () => {
      const bench = new Bench();
      bench.use([range('192.0.2.1', 1000, 1039)]);
      return [...bench.datapath.queuedBlocks(0)].join();
    });
    expect(new Set(orders).size).to.be.greaterThan(15);
  });

  it('a pod keeps one address, also for its second block and other protocols', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.0/30', 1000, 1007)], 2);
    const sessions = [1, 2, 3, 4, 5].map((port) =>
      passed(flow(bench.datapath, 1, port, port % 2 === 0 ? 'tcp' : 'udp')),
    );
    expect(new Set(sessions.map((session) => session.pool.v4)).size).to.equal(1);
  });

  it('keeps its promises through any order of flows, sweeps, reloads and restarts', () => {
    const pools: readonly (readonly PoolRange[])[] = [
      [range('192.0.2.0/31', 1000, 1019)],
      [range('192.0.2.0/30', 1000, 1009)],
      [range('192.0.2.1', 1005, 1030), range('192.0.2.9', 1, 7)],
    ];
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('open' as const),
        pod: fc.integer({ min: 1, max: 6 }),
        port: fc.integer({ min: 1, max: 8 }),
      }),
      fc.record({ kind: fc.constant('close' as const), nth: fc.nat(30) }),
      fc.record({ kind: fc.constant('pass' as const), seconds: fc.integer({ min: 1, max: 200 }) }),
      fc.record({ kind: fc.constant('reload' as const), pool: fc.nat(2), size: fc.integer({ min: 2, max: 6 }) }),
      fc.record({ kind: fc.constant('restart' as const) }),
    );
    holds(
      fc.property(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), (steps) => {
        const bench = new Bench();
        let used = { ranges: pools[0] ?? [], size: 4 };
        bench.use(used.ranges, used.size);
        const leftAt = new Map<string, number>();
        for (const action of steps) {
          if (action.kind === 'open') flow(bench.datapath, action.pod, action.port);
          if (action.kind === 'close') {
            const session = bench.datapath.sessions()[action.nth];
            if (session !== undefined) bench.datapath.closeFlow(session);
          }
          if (action.kind === 'pass') {
            bench.clock.advance(action.seconds * 1000);
            const { returned } = bench.datapath.sweep(IDLE_MS);
            for (const port of returned.flatMap(portsOf)) leftAt.set(port, bench.clock.now());
            bench.ledger.noteReturned(returned);
            bench.ledger.tick();
            bench.ledger.verify();
            bench.tellAddresses();
          }
          if (action.kind === 'reload') {
            used = { ranges: pools[action.pool] ?? [], size: action.size };
            bench.use(used.ranges, used.size);
          }
          if (action.kind === 'restart') {
            bench.restart();
            bench.use(used.ranges, used.size);
          }
          checkInvariants(bench);
          for (const port of bench
            .live()
            .filter((row) => row.state === 'offered')
            .flatMap(portsOf)) {
            const left = leftAt.get(port);
            if (left !== undefined) expect(bench.clock.now() - left, `rest of ${port}`).to.be.at.least(HOLD_DOWN_MS);
          }
        }
        // In the end, with every flow gone and rested, exactly the pool is offered.
        for (const session of bench.datapath.sessions()) bench.datapath.closeFlow(session);
        for (let i = 0; i < 4; i++) {
          bench.clock.advance(HOLD_DOWN_MS + IDLE_MS);
          bench.sweep();
        }
        const wanted = poolBlocks(used.ranges, used.size).map(blockKey).sort();
        expect(
          bench
            .live()
            .filter((row) => row.state === 'offered')
            .map(blockKey)
            .sort(),
        ).to.deep.equal(wanted);
        expect(bench.live()).to.have.length(wanted.length);
      }),
      { runs: 150 },
    );
  }).timeout(30_000);

  it('keeps a block that a pod takes just when it leaves the pool', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    const retire = bench.datapath.retireBlocks.bind(bench.datapath);
    bench.datapath.retireBlocks = (indexes) => {
      bench.datapath.losingEvents(() => void passed(flow(bench.datapath, 1, 1)));
      return retire(indexes);
    };
    bench.use([range('192.0.2.1', 1000, 1001)]);
    bench.datapath.retireBlocks = retire;
    expect(bench.states()).to.deep.equal(['1000 leased']);
    bench.clock.advance(1);
    bench.sweep();
    expect(bench.ledger.serving()).to.deep.equal({ offered: 0, leased: 0, resting: 0 });
    checkInvariants(bench);
  });

  it('names the holder as the pod’s address', () => {
    const bench = new Bench();
    bench.use([range('192.0.2.1', 1000, 1003)]);
    passed(flow(bench.datapath, 3, 1));
    expect(bench.live()[0]?.holder).to.deep.equal(pod(3));
  });
});
