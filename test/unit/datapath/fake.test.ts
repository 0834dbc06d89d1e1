// SPDX-License-Identifier: Apache-2.0
// The stand-in keeps the promises of datapath.ts, or tests built on it would prove nothing.
import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { Protocol } from '../../../src/model/binding.ts';
import type { Block, SessionRow } from '../../../src/datapath/datapath.ts';
import { FakeDatapath } from '../../fakes/datapath.ts';
import { programsOf, testPrograms } from '../../helpers/programs.ts';

const NONE = { tcp: [], udp: [], icmp: [] };
const prefix = parsePrefix64('2001:db8:64::/96');
const block = (index: number, firstPort: number, size = 2): Block => ({
  index,
  slot: 0,
  v4: parseIp4('192.0.2.1'),
  firstPort,
  size,
});

describe('datapath/fake', () => {
  let now: number;
  let datapath: FakeDatapath;

  const open = (pod: string, port: number, protocol: Protocol = 'udp', to = '198.51.100.1'): SessionRow | string =>
    datapath.openFlow({
      protocol,
      source: { v6: parseIp6(pod), port },
      destination6: embedIp4(prefix, parseIp4(to)),
      port: 53,
    });
  const opened = (...args: Parameters<typeof open>): SessionRow => {
    const result = open(...args);
    if (typeof result === 'string') throw new Error(result);
    return result;
  };

  beforeEach(() => {
    now = 1_000_000;
    datapath = new FakeDatapath({
      programs: programsOf(testPrograms({ prefixes: [prefix], maxBlocksPerPod: 2 })),
      sizes: { maxSessions: 4 },
      now: () => now,
    });
    datapath.writeBlock(block(0, 1000), NONE);
    datapath.offerBlock(0);
  });

  it('a block goes resting → offered → leased → resting, and is in its queue only while offered', () => {
    const state = () => datapath.blocks()[0]?.state;
    expect([state(), [...datapath.queuedBlocks(0)]]).to.deep.equal(['offered', [0]]);
    const session = opened('2001:db8:1::1', 1);
    expect([state(), [...datapath.queuedBlocks(0)]]).to.deep.equal(['leased', []]);
    datapath.closeFlow(session);
    expect(datapath.sweep(1000).returned).to.deep.equal([]);
    now += 1000;
    const [returned] = datapath.sweep(1000).returned;
    expect(returned).to.include({ index: 0, state: 'resting', since: 1_000_000 });
    expect(returned?.holder).to.deep.equal(parseIp6('2001:db8:1::1'));
    expect(datapath.blocks()[0]).to.include({ state: 'resting', holder: undefined });
    expect(() => datapath.writeBlock(block(0, 1000), NONE)).not.to.throw();
    datapath.offerBlock(0);
    expect(() => datapath.offerBlock(0), 'twice').to.throw(/offered, not resting/);
  });

  it('an offered block can be retired, a leased one cannot', () => {
    opened('2001:db8:1::1', 1);
    expect([...datapath.retireBlocks([0])]).to.deep.equal([]);
    datapath.writeBlock(block(1, 2000), NONE);
    datapath.offerBlock(1);
    expect([...datapath.retireBlocks([0, 1])]).to.deep.equal([1]);
    expect([...datapath.queuedBlocks(0)]).to.deep.equal([]);
    expect(open('2001:db8:1::2', 1)).to.equal('pool_exhausted');
  });

  it('refuses flows by reason and counts them, highest first', () => {
    for (const port of [1, 2]) opened('2001:db8:1::1', port);
    expect(open('2001:db8:1::1', 3)).to.equal('pool_exhausted');
    for (const to of ['198.51.100.2', '198.51.100.3']) opened('2001:db8:1::1', 1, 'udp', to);
    expect(open('2001:db8:1::1', 1, 'udp', '198.51.100.4')).to.equal('sessions_full');
    expect(open('2001:db8:1::1', 1, 'udp', '198.51.100.5')).to.equal('sessions_full');
    expect(datapath.drops().map(({ reason, count }) => [reason, count])).to.deep.equal([
      ['sessions_full', 2],
      ['pool_exhausted', 1],
    ]);
  });

  it('one binding serves sessions to several destinations and goes with the last', () => {
    const [a, b] = [opened('2001:db8:1::1', 1), opened('2001:db8:1::1', 1, 'udp', '198.51.100.2')];
    expect(a.pool).to.deep.equal(b.pool);
    expect(datapath.bindings().map((row) => row.sessions)).to.deep.equal([2]);
    datapath.closeFlow(a);
    expect(datapath.bindings()).to.have.length(1);
    datapath.closeFlow(b);
    expect(datapath.bindings()).to.have.length(0);
  });

  it('a sweep ends exactly what has expired', () => {
    opened('2001:db8:1::1', 1, 'icmp');
    opened('2001:db8:1::1', 1, 'udp');
    now += 62_000;
    const result = datapath.sweep(60_000);
    expect(result.ended.map((row) => row.protocol)).to.deep.equal(['icmp']);
  });

  it('a static binding keeps its port from pods: by the block’s record where that was written with it, else by refusal', () => {
    const source = { v6: parseIp6('2001:db8:1::9'), port: 80 };
    const at = (port: number) => ({ protocol: 'udp' as const, source, pool: { v4: parseIp4('192.0.2.1'), port } });
    datapath.putStaticBinding(at(1000));
    expect(open('2001:db8:1::1', 1000)).to.equal('session_conflict');
    datapath.deleteStaticBinding(at(1000));
    datapath.writeBlock(block(0, 1000), { tcp: [], udp: [1000], icmp: [] });
    datapath.offerBlock(0);
    datapath.putStaticBinding(at(1000));
    expect(opened('2001:db8:1::1', 1000).pool.port).to.equal(1001);
    expect(datapath.blocks()[0]?.used.udp).to.equal(2);
    expect(() => datapath.putStaticBinding(at(1001))).to.throw(/in use/);
  });
});
