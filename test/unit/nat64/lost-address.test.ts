// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { Nat64 } from '../../../src/nat64/nat64.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { desired, fakeDatapath, flow, passed, range, TestClock, TestLog, type Facts } from './support.ts';

describe('nat64: an address that the node has lost', () => {
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let nat64: Nat64;

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
  });

  /** A process with the data plane. */
  const begin = (node: Facts) => {
    nat64 = new Nat64({ datapath, log, clock });
    nat64.start(desired({}, node));
  };
  const reload = (node: Facts) => nat64.converge(desired({}, node));
  const at = (text: string, v4 = parseIp4(text)): Facts => ({
    pool: [range(text, 1000, 1007, true)],
    nodeAddresses: [v4, parseIp4('10.0.0.1')],
  });
  const lines = () => log.with('the node has lost an address of the pool; its sessions end, new ones get another');

  it('is given up at once: its sessions end, the next packet of a flow gets a port of another', () => {
    begin(at('192.0.2.1'));
    for (const to of ['198.51.100.1', '198.51.100.2']) passed(flow(datapath, 1, 1, 'udp', to));
    passed(flow(datapath, 1, 2, 'tcp'));
    reload(at('192.0.2.9'));
    expect(lines()).to.deep.equal([{ address: '192.0.2.1', sessions: 3 }]);
    expect(passed(flow(datapath, 1, 2, 'tcp')).pool.v4).to.equal(parseIp4('192.0.2.9'));
    // Its binding lives by the other session, so this one has the old address for as long as nobody sweeps.
    expect(passed(flow(datapath, 1, 1)).pool.v4).to.equal(parseIp4('192.0.2.1'));
    clock.advance(3000);
    expect(passed(flow(datapath, 1, 1)).pool.v4).to.equal(parseIp4('192.0.2.9'));
    expect(datapath.sessions().every(({ pool }) => pool.v4 === parseIp4('192.0.2.9'))).to.equal(true);
    reload(at('192.0.2.9'));
    expect(lines()).to.have.length(1);
    clock.advance(300_000);
    expect(datapath.poolAddresses.map(({ v4 }) => v4)).to.deep.equal([parseIp4('192.0.2.9')]);
  });

  it('while nobody ran is given up by the next process; one that the node still has drains', () => {
    begin(at('192.0.2.1'));
    passed(flow(datapath, 1, 1));
    nat64.stop();
    const both = [parseIp4('192.0.2.1'), parseIp4('192.0.2.9')];
    begin({ pool: [range('192.0.2.9', 1000, 1007, true)], nodeAddresses: both });
    expect(passed(flow(datapath, 1, 1)).pool.v4, 'the node has both').to.equal(parseIp4('192.0.2.1'));
    expect(lines()).to.deep.equal([]);
    nat64.stop();
    begin(at('192.0.2.9'));
    expect(lines()).to.deep.equal([{ address: '192.0.2.1', sessions: 1 }]);
    expect(passed(flow(datapath, 1, 1)).pool.v4).to.equal(parseIp4('192.0.2.9'));
  });

  it('serves again when the node has it back', () => {
    begin(at('192.0.2.1'));
    passed(flow(datapath, 1, 1));
    for (const now of ['192.0.2.9', '192.0.2.1']) reload(at(now));
    clock.advance(3000);
    expect(passed(flow(datapath, 1, 1)).pool.v4).to.equal(parseIp4('192.0.2.1'));
    clock.advance(10_000);
    expect(datapath.sessions()).to.have.length(1);
  });
});
