// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseIp4, parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import type { StaticBinding } from '../../../src/model/binding.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { Nat64, type Readiness } from '../../../src/nat64/nat64.ts';
import { HOLD_DOWN_SECONDS } from '../../../src/nat64/timeouts.ts';
import type { DesiredDatapath } from '../../../src/plan/desired.ts';
import { allocationFailures, filterSessions, poolUsage } from '../../../src/nat64/views.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import {
  desired,
  fakeDatapath,
  flow,
  passed,
  pod,
  range,
  TestClock,
  TestLog,
  type Facts,
  type Settings,
} from './support.ts';

const settings = (changes: Settings = {}): Settings => changes;
const facts = (changes: Facts = {}): Facts => changes;

const binding = (port: number, podPort = 80, protocol: StaticBinding['protocol'] = 'tcp'): StaticBinding => ({
  protocol,
  source: { v6: pod(5), port: podPort },
  pool: { v4: parseIp4('192.0.2.1'), port },
});

describe('nat64', () => {
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let nat64: Half;

  /** A process with the data plane. */
  class Half {
    readonly #half = new Nat64({ datapath, log, clock });
    readonly #wanted: DesiredDatapath;

    constructor(changed: Settings, node: Facts) {
      this.#wanted = desired(changed, node);
    }
    start = (): void => this.#half.start(this.#wanted);
    stop = (): void => this.#half.stop();
    reload = (changed: Settings, node: Facts): void => this.#half.converge(desired(changed, node));
    check = (changed: Settings, node: Facts = {}): void => this.#half.refuseOversized(desired(changed, node));
    ready = (): Readiness => this.#half.ready();
    leasedAddresses = (): readonly number[] => this.#half.leasedAddresses();
    poolView = () => ({
      addresses: poolUsage(datapath.blocks()),
      allocationFailures: allocationFailures(datapath.drops()),
    });
    reasons = (): unknown[] => log.with('static binding refused').map(({ reason }) => reason);
  }

  const create = (changed = settings(), node = facts()): Half => new Half(changed, node);

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
    nat64 = create();
  });

  it('is not ready before it starts, without a prefix or without a pool, and is with all', () => {
    expect(nat64.ready()).to.deep.equal({ ready: false, reason: 'NAT64 has not started' });
    nat64.start();
    expect(nat64.ready()).to.deep.equal({ ready: true });
    nat64.reload(settings({ prefixes: [] }), facts());
    expect(nat64.ready().reason).to.match(/prefix/);
    nat64.reload(settings(), facts({ pool: [] }));
    expect(nat64.ready().reason).to.match(/pool/);
    nat64.reload(settings(), facts());
    expect(nat64.ready().ready).to.equal(true);
  });

  it('brings policy, sources, pool and settings into the data plane', () => {
    nat64 = create(settings({ allowSources: [parseIp6Net('2001:db8:1::/48')], deny: [parseIp4Net('8.8.8.0/24')] }));
    nat64.start();
    expect(datapath.sources).to.have.length(1);
    expect(datapath.programs.restrictSources).to.equal(1);
    expect(datapath.destinations.map(({ verdict }) => verdict)).to.include.members([
      'never',
      'nonGlobal',
      'node',
      'configured',
    ]);
    expect(datapath.poolAddresses).to.deep.equal([
      { v4: parseIp4('192.0.2.1'), slot: 0, shared: false, draining: false },
    ]);
    expect(datapath.programs.slots).to.equal(1);
    expect(datapath.programs.maxBlocksPerPod).to.equal(2);
  });

  it('loads the programs anew only when what they are made with changes', () => {
    nat64.start();
    nat64.reload(settings({ deny: [parseIp4Net('8.8.8.0/24')] }), facts());
    datapath.loads = 0;
    nat64.reload(settings({ deny: [parseIp4Net('8.8.4.0/24')] }), facts());
    expect(datapath.loads).to.equal(0);
    nat64.reload(settings({ filtering: 'endpointIndependent' }), facts());
    expect(datapath.loads).to.equal(1);
    nat64.reload(
      settings({ filtering: 'endpointIndependent' }),
      facts({ device: { ifindex: 9, mac: new Uint8Array(6), mtu: 9000 } }),
    );
    expect(datapath.loads, 'a device made anew').to.equal(2);
  });

  it('ends sessions when their time is over, and takes blocks back', () => {
    nat64.start();
    passed(flow(datapath, 1, 11, 'icmp'));
    passed(flow(datapath, 1, 12, 'udp'));
    clock.advance(63_000);
    expect(datapath.sessions().map(({ source }) => source.port)).to.deep.equal([12]);
    clock.advance(240_000);
    expect(datapath.sessions()).to.deep.equal([]);
    clock.advance(60_000);
    expect(nat64.poolView().addresses[0]?.blocks).to.deep.equal({ offered: 1, leased: 0, resting: 1, retired: 0 });
    clock.advance(HOLD_DOWN_SECONDS * 1000 + 2000);
    expect(nat64.poolView().addresses[0]?.blocks.offered).to.equal(2);
  });

  it('shows what is used, and why a flow got no port', () => {
    nat64.start();
    for (let port = 1; port <= 8; port++) passed(flow(datapath, 1, port));
    expect(flow(datapath, 1, 9)).to.equal('pod_quota');
    expect(flow(datapath, 2, 1)).to.equal('pool_exhausted');
    expect(nat64.poolView()).to.deep.equal({
      addresses: [
        {
          v4: parseIp4('192.0.2.1'),
          slot: 0,
          ports: { total: 8, used: { tcp: 0, udp: 8, icmp: 0 } },
          blocks: { offered: 0, leased: 2, resting: 0, retired: 0 },
        },
      ],
      allocationFailures: { pool_exhausted: 1, pod_quota: 1, sessions_full: 0 },
    });
    expect(nat64.ready().ready, 'a full pool still serves').to.equal(true);
    clock.advance(61_000);
    expect(log.with('the pool ran out of port blocks')).to.have.length(1);
  });

  it('stop leaves the data plane as it is, and a new process takes over', () => {
    nat64.start();
    const session = passed(flow(datapath, 1, 1));
    nat64.stop();
    expect(clock.pending()).to.equal(0);
    const blocks = datapath.blocks();
    passed(flow(datapath, 1, 2));
    nat64 = create();
    nat64.start();
    expect(datapath.blocks().map(({ index, state }) => [index, state])).to.deep.equal(
      blocks.map(({ index, state }) => [index, state]),
    );
    expect(datapath.sessions().map(({ pool }) => pool)).to.deep.include(session.pool);
  });

  it('says why it is not ready when every block rests after a restart', () => {
    nat64 = create(settings(), facts({ pool: [range('192.0.2.1', 1000, 1003)] }));
    nat64.start();
    datapath.closeFlow(passed(flow(datapath, 1, 1)));
    clock.advance(62_000);
    // The one block of the pool was pressed to come back.
    expect(nat64.ready().reason).to.match(/rests.*next in [67]\d s/);
  });

  it('spends a hundredth of the time on sweeps at most', () => {
    nat64.start();
    datapath.sweepDurationMs = 50;
    clock.advance(1000);
    let sweeps = 0;
    const original = datapath.sweep.bind(datapath);
    datapath.sweep = (idle, options) => {
      sweeps++;
      return original(idle, options);
    };
    clock.advance(45_000);
    expect(sweeps).to.equal(9);
  });

  it('puts the programs back when somebody detached them, and is not ready while that fails', () => {
    nat64.start();
    datapath.isAttached = false;
    clock.advance(6000);
    expect(datapath.isAttached).to.equal(true);
    datapath.isAttached = false;
    datapath.canAttach = false;
    clock.advance(30_000);
    expect(nat64.ready().reason).to.match(/not attached/);
    expect(
      log.lines.filter(({ level }) => level === 'error'),
      'said once',
    ).to.have.length(1);
    datapath.canAttach = true;
    clock.advance(6000);
    expect(nat64.ready()).to.deep.equal({ ready: true });
  });

  it('goes on after a sweep that failed', () => {
    nat64.start();
    const original = datapath.sweep.bind(datapath);
    datapath.sweep = () => {
      throw new Error('the iterator broke');
    };
    clock.advance(1500);
    datapath.sweep = original;
    passed(flow(datapath, 1, 1, 'icmp'));
    clock.advance(80_000);
    expect(log.lines.filter(({ level }) => level === 'error')).to.have.length(1);
    expect(datapath.sessions()).to.have.length(0);
  });

  it('a check refuses what the maps have no room for, with the number, and changes nothing', () => {
    nat64.start();
    const refused = (config: Settings, hostFacts = facts()) => {
      const before = JSON.stringify(datapath.blocks());
      expect(() => nat64.check(config, hostFacts)).to.throw(Gate64Error);
      expect(JSON.stringify(datapath.blocks())).to.equal(before);
      try {
        nat64.check(config, hostFacts);
      } catch (error) {
        return (error as Gate64Error).message;
      }
      return '';
    };
    nat64.check(settings({ blockSize: 64 }), facts({ pool: [range('192.0.2.0/28', 1, 65535)] }));
    const wide = facts({ pool: [range('192.0.2.0/28', 1, 65535)] });
    expect(refused(settings({ blockSize: 16 }), wide)).to.match(/makes 65536 blocks of 16 ports; .* holds 16384/);
    // A block that a pod holds needs its record while it empties.
    passed(flow(datapath, 1, 1));
    const exact = facts({ pool: [range('198.51.100.0/28', 1, 1024)] });
    expect(refused(settings({ blockSize: 1 }), exact)).to.match(/16384 blocks of 1 ports and 1 that left it/);
    const deny = Array.from({ length: 17_000 }, (_, i) => ({ v4: 0x08000000 + i, length: 32 }));
    expect(refused(settings({ deny }))).to.match(/nat64\.deny.* 17\d\d\d networks/);
    nat64.check(settings(), facts({ nodeAddresses: deny.map(({ v4 }) => v4) }));
  });

  it('goes back to the configuration before when the data plane fails in the middle of another', () => {
    nat64.start();
    const session = passed(flow(datapath, 1, 1));
    const offered = () => datapath.blocks().filter(({ state }) => state === 'offered').length;
    const before = offered();
    const wide = facts({ pool: [range('192.0.2.0/28', 1, 65535)] });
    expect(() => nat64.reload(settings({ blockSize: 16 }), wide)).to.throw(/no room for block/);
    nat64.reload(settings(), facts());
    expect(offered()).to.equal(before);
    expect(passed(flow(datapath, 1, 1)).pool).to.deep.equal(session.pool);
    expect(passed(flow(datapath, 2, 1)).pool.v4).to.equal(session.pool.v4);
    expect(nat64.ready()).to.deep.equal({ ready: true });
  });

  it('serves a node with more addresses than there is room for, and says so once', () => {
    const nodeAddresses = Array.from({ length: 17_000 }, (_, i) => 0x08000000 + i);
    nat64 = create(settings(), facts({ nodeAddresses }));
    nat64.start();
    expect(datapath.destinations).to.have.length(16384);
    expect(datapath.destinations.map(({ verdict }) => verdict)).to.include.members(['never', 'nonGlobal', 'node']);
    nat64.reload(settings({ maxBlocksPerPod: 3 }), facts({ nodeAddresses }));
    const errors = () => log.lines.filter(({ level }) => level === 'error').map(({ message }) => message);
    expect(errors()).to.have.length(1);
    nat64.reload(settings(), facts({ nodeAddresses: nodeAddresses.slice(1) }));
    expect(errors()).to.have.length(2);
    expect(nat64.ready()).to.deep.equal({ ready: true });
  });

  it('a pod that holds ports of an address that left gets new ones elsewhere at once; its flows go on', () => {
    nat64.start();
    const old = passed(flow(datapath, 1, 1));
    nat64.reload(settings(), facts({ pool: [range('192.0.2.9', 1000, 1007)] }));
    expect(datapath.poolAddresses.map(({ v4, draining }) => [v4, draining])).to.have.deep.members([
      [old.pool.v4, true],
      [parseIp4('192.0.2.9'), false],
    ]);
    expect(passed(flow(datapath, 1, 1)).pool).to.deep.equal(old.pool);
    expect(passed(flow(datapath, 1, 2)).pool.v4).to.equal(parseIp4('192.0.2.9'));
    expect(nat64.leasedAddresses()).to.deep.equal([old.pool.v4, parseIp4('192.0.2.9')]);

    // Another process, with the new pool from its start on.
    nat64.stop();
    nat64 = create(settings(), facts({ pool: [range('192.0.2.9', 1000, 1007)] }));
    nat64.start();
    expect(nat64.leasedAddresses()).to.deep.equal([old.pool.v4, parseIp4('192.0.2.9')]);
    expect(datapath.poolAddresses.find(({ v4 }) => v4 === old.pool.v4)?.draining).to.equal(true);

    nat64.reload(settings(), facts());
    expect(datapath.poolAddresses.find(({ v4 }) => v4 === old.pool.v4)?.draining, 'wanted again').to.equal(false);
    expect(passed(flow(datapath, 1, 3)).pool.v4).to.equal(old.pool.v4);
  });

  it('keeps an address that left the pool known until its last block has rested', () => {
    nat64.start();
    const session = passed(flow(datapath, 1, 1));
    nat64.reload(settings(), facts({ pool: [range('192.0.2.9', 1000, 1007)] }));
    expect(datapath.poolAddresses.map(({ v4 }) => v4)).to.have.members([parseIp4('192.0.2.1'), parseIp4('192.0.2.9')]);
    datapath.closeFlow(session);
    clock.advance(200_000);
    expect(datapath.poolAddresses.map(({ v4 }) => v4)).to.deep.equal([parseIp4('192.0.2.9')]);
  });

  describe('static bindings', () => {
    it('are made for TCP, UDP and ICMP, and go when they leave the configuration', () => {
      const wanted = [binding(1000, 80, 'tcp'), binding(1000, 80, 'udp'), binding(7, 7, 'icmp')];
      nat64 = create(settings({ static: wanted }));
      nat64.start();
      expect(
        datapath
          .bindings()
          .filter((row) => row.isStatic)
          .map(({ protocol, pool }) => [protocol, pool.port]),
      ).to.have.deep.members([
        ['tcp', 1000],
        ['udp', 1000],
        ['icmp', 7],
      ]);
      nat64.reload(settings({ static: wanted.slice(1) }), facts());
      expect(datapath.bindings()).to.have.length(2);
      expect(log.with('static binding removed')[0]?.['binding']).to.equal('tcp 192.0.2.1:1000 → [2001:db8:1::5]:80');
    });

    it('survive a restart and the end of their sessions, and no pod gets their port', () => {
      nat64 = create(settings({ static: [binding(1001, 80, 'udp')] }));
      nat64.start();
      nat64.stop();
      create(settings({ static: [binding(1001, 80, 'udp')] })).start();
      const ports = [1, 2, 3, 4, 5, 6].map((port) => passed(flow(datapath, 1, port)).pool.port);
      expect(ports).not.to.include(1001);
      datapath.closeFlow(passed(flow(datapath, 5, 80)));
      expect(datapath.bindings().filter((row) => row.isStatic)).to.have.length(1);
    });

    it('in a block that a pod holds: made when the port is free, else refused with the reason and made later', () => {
      nat64.start();
      const session = passed(flow(datapath, 1, 1));
      const free = session.pool.port + 1;
      nat64.reload(settings({ static: [binding(free, 80, 'udp'), binding(session.pool.port, 81, 'udp')] }), facts());
      expect(nat64.reasons()).to.deep.equal(['the port is in use by [2001:db8:1::1]:1 until its sessions end']);
      expect(
        datapath
          .bindings()
          .filter((row) => row.isStatic)
          .map(({ pool }) => pool.port),
      ).to.deep.equal([free]);
      datapath.closeFlow(session);
      clock.advance(61_000);
      expect(datapath.bindings()).to.have.length(2);
    });

    it('keep their port from pods in blocks that were offered before, and in leased ones from their return on', () => {
      nat64.start();
      const session = passed(flow(datapath, 1, 1));
      const leased = session.pool.port;
      const other = leased === 1000 ? 1004 : 1000;
      nat64.reload(settings({ static: [binding(other, 80, 'udp'), binding(leased + 1, 81, 'udp')] }), facts());
      const used = () => datapath.blocks().map(({ state, firstPort, used: { udp } }) => [firstPort, state, udp]);
      expect(used()).to.have.deep.members([
        [leased, 'leased', 1],
        [other, 'offered', 1],
      ]);
      datapath.closeFlow(session);
      clock.advance((HOLD_DOWN_SECONDS + 70) * 1000);
      expect(used()).to.have.deep.members([
        [leased, 'offered', 1],
        [other, 'offered', 1],
      ]);
      nat64.reload(settings(), facts());
      expect(used()).to.have.deep.members([
        [leased, 'offered', 0],
        [other, 'offered', 0],
      ]);
      expect(datapath.queuedBlocks(0).size).to.equal(2);
    });

    it('are refused outside the pool’s addresses', () => {
      nat64 = create(settings({ static: [{ ...binding(80), pool: { v4: parseIp4('198.51.100.1'), port: 80 } }] }));
      nat64.start();
      expect(nat64.reasons()[0]).to.match(/198\.51\.100\.1 is no address of nat64\.pool/);
      expect(log.with('static binding refused')).to.have.length(1);
    });
  });

  describe('views', () => {
    it('filters sessions by pod, destination, protocol, state and more, newest first', () => {
      nat64.start();
      passed(flow(datapath, 1, 1, 'udp', '198.51.100.1'));
      clock.advance(10);
      passed(flow(datapath, 1, 2, 'tcp', '203.0.113.1'));
      clock.advance(10);
      passed(flow(datapath, 2, 3, 'udp', '203.0.113.1'));
      const ports = (filter: Parameters<typeof filterSessions>[1]) =>
        filterSessions(datapath.sessions(), filter).map((row) => row.source.port);
      expect(ports({})).to.deep.equal([3, 2, 1]);
      expect(ports({ limit: 2 })).to.deep.equal([3, 2]);
      expect(ports({ sources: [parseIp6Net('2001:db8:1::1')] })).to.deep.equal([2, 1]);
      expect(ports({ destinations: [parseIp4Net('203.0.113.0/24')], protocol: 'udp' })).to.deep.equal([3]);
      expect(ports({ state: 'v6Init' })).to.deep.equal([2]);
      expect(ports({ where: (row) => row.destination.v4 === parseIp4('198.51.100.1') })).to.deep.equal([1]);
    });

    it('sums up ports and blocks per address', () => {
      nat64 = create(settings(), facts({ pool: [range('192.0.2.8/31', 1000, 1003)] }));
      nat64.start();
      expect(
        poolUsage(datapath.blocks()).map(({ v4, ports, blocks }) => [v4, ports.total, blocks.offered]),
      ).to.deep.equal([
        [parseIp4('192.0.2.8'), 4, 1],
        [parseIp4('192.0.2.9'), 4, 1],
      ]);
    });
  });

  it('closed connections give way to new ones, open ones never', () => {
    const nat64 = new Half(settings({ blockSize: 4 }), facts({ pool: [range('192.0.2.1', 1000, 1007)] }));
    nat64.start();
    const open = Array.from({ length: 8 }, (_, i) => passed(flow(datapath, 1, i + 1, 'tcp')));
    expect(flow(datapath, 1, 9, 'tcp')).to.be.oneOf(['pod_quota', 'pool_exhausted']);
    for (const session of open.slice(0, 5)) datapath.finishFlow(session);
    clock.advance(4000);
    for (let i = 9; i < 14; i++) passed(flow(datapath, 1, i, 'tcp'));
    clock.advance(4000);
    expect(flow(datapath, 1, 14, 'tcp'), 'all are open').to.be.a('string');
    const left = datapath.sessions().map(({ source }) => source.port);
    expect(left).to.have.members([6, 7, 8, 9, 10, 11, 12, 13]);
  });

  it('says how large the pool is, and of pods that are seen by two addresses', () => {
    const nat64 = new Half(
      settings({ blockSize: 4, maxBlocksPerPod: 4, egress: 'direct' }),
      facts({ pool: [range('192.0.2.0/31', 1000, 1007)] }),
    );
    nat64.start();
    expect(log.lines.find(({ message }) => message.startsWith('the pool has'))?.fields).to.deep.equal({
      addresses: 2,
      ports: 16,
      blocks: 4,
      blockSize: 4,
      maxBlocksPerPod: 4,
    });
    const said = () => log.with('pods have ports of more than one address: the first has no block left for them');
    for (let i = 0; i < 8; i++) passed(flow(datapath, 1, i + 1));
    clock.advance(60_000);
    expect(said()).to.deep.equal([]);
    passed(flow(datapath, 1, 9));
    clock.advance(60_000);
    expect(said()).to.deep.equal([{ pods: 1 }]);
    clock.advance(120_000);
    expect(said(), 'once').to.have.length(1);
  });
});
