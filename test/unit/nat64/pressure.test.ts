// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { closingMs, Pressure, type BlockUse, type PressureLimits } from '../../../src/nat64/pressure.ts';
import { formatIp6 } from '../../../src/addr/ip.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { holds } from '../../helpers/property.ts';
import { fakeDatapath, flow, passed, pod, TestClock, TestLog } from './support.ts';

const CONFIGURED_MS = 240_000;
const PORTS = 16;
const LIMITS: PressureLimits = {
  tcpClosingMs: CONFIGURED_MS,
  maxSessions: 10_000,
  maxSessionsPerPod: 1000,
  maxBlocksPerPod: 4,
  reservedBlocks: 0,
};

describe('nat64/pressure', () => {
  it('closed connections live as configured up to a quarter, then the shorter the less is left, and two seconds at least', () => {
    const at = (used: number) => closingMs({ used, total: 100 }, CONFIGURED_MS);
    expect([0, 1, 25].map(at)).to.deep.equal([undefined, undefined, undefined]);
    expect([30, 50, 65].map(at)).to.deep.equal([180_316, 38_948, 4869]);
    expect([80, 95, 100, 130].map(at)).to.deep.equal([2000, 2000, 2000, 2000]);
    expect(closingMs({ used: 1, total: 0 }, CONFIGURED_MS)).to.equal(2000);
    expect(closingMs({ used: 0, total: 0 }, CONFIGURED_MS)).to.equal(undefined);
    expect(closingMs({ used: 100, total: 100 }, 1000), 'never longer than configured').to.equal(1000);
  });

  it('fuller never means longer', () => {
    holds(
      fc.property(fc.nat(1000), fc.nat(1000), fc.integer({ min: 1, max: 1000 }), (a, b, total) => {
        const [less, more] = [Math.min(a, b), Math.max(a, b)].map((used) => {
          return closingMs({ used, total }, CONFIGURED_MS) ?? CONFIGURED_MS;
        });
        expect(more).to.be.at.most(less as number);
      }),
    );
  });

  describe('tells the data plane', () => {
    let datapath: FakeDatapath;
    let log: TestLog;
    let pressure: Pressure;

    beforeEach(() => {
      datapath = fakeDatapath(new TestClock());
      datapath.setPrograms({ ...datapath.programs, slots: 1, maxBlocksPerPod: 4 });
      datapath.setPoolAddresses([{ v4: 1, slot: 0, shared: false, draining: false }]);
      for (let index = 0; index < 100; index++) {
        datapath.writeBlock(
          { index, slot: 0, v4: 1, firstPort: 1000 + index * PORTS, size: PORTS },
          { tcp: [], udp: [], icmp: [] },
        );
        datapath.offerBlock(index);
      }
      log = new TestLog();
      pressure = new Pressure(datapath, log);
    });

    function use(ports = 100 * PORTS, blocks = 100): BlockUse {
      const holders = new Map<string, { pod: Uint8Array; blocks: number[] }>();
      for (const { index, holder } of datapath.blocks()) {
        if (holder === undefined) continue;
        const name = Buffer.from(holder).toString('hex');
        const known = holders.get(name);
        if (known === undefined) holders.set(name, { pod: holder, blocks: [index] });
        else known.blocks.push(index);
      }
      return { holders, ports, blocks, blockSize: PORTS };
    }

    const open = (n: number, count: number) => {
      for (let i = 0; i < count; i++) passed(flow(datapath, n, 20_000 + i, 'tcp'));
    };
    const told = () =>
      datapath.closingTimes.map(({ pod: of, ms }) => `${of === undefined ? '*' : formatIp6(of)} ${ms}`);

    it('nothing while all is plenty', () => {
      for (let n = 1; n <= 10; n++) open(n, 16);
      pressure.tick(LIMITS, use());
      expect(told()).to.deep.equal([]);
      expect(log.lines).to.deep.equal([]);
    });

    it('of the pod alone that comes near its quota of blocks, among others that do not; and when it is over', () => {
      for (let n = 2; n <= 10; n++) open(n, 16);
      open(1, 40);
      pressure.tick(LIMITS, use());
      expect(told()).to.deep.equal([`${formatIp6(pod(1))} 7731`]);
      const sessions = datapath.sessions().filter(({ source }) => formatIp6(source.v6) === formatIp6(pod(1)));
      for (const session of sessions) datapath.closeFlow(session);
      pressure.tick(LIMITS, use());
      expect(told()).to.deep.equal([]);
      expect(log.lines.map(({ message }) => message)).to.deep.equal([
        'ports or sessions run short; closed connections give way sooner',
        'ports and sessions are plenty again; closed connections are kept as configured',
      ]);
    });

    it('of the pod alone that comes near its quota of sessions', () => {
      open(1, 20);
      open(2, 10);
      pressure.tick({ ...LIMITS, maxSessionsPerPod: 40 }, use());
      expect(told()).to.deep.equal([`${formatIp6(pod(1))} 38948`]);
    });

    it('of everybody as the pool or the table runs out', () => {
      for (let n = 1; n <= 10; n++) open(n, 16);
      pressure.tick(LIMITS, use(160 + 80 + 10));
      expect(told()).to.deep.equal(['* 2000']);
      pressure.tick({ ...LIMITS, maxSessions: 400 }, use());
      expect(told()).to.deep.equal(['* 92322']);
    });

    it('of everybody as blocks run out, whose ports are hardly used', () => {
      for (let n = 1; n <= 20; n++) open(n, 1);
      pressure.tick(LIMITS, use());
      expect(told(), '20 of 100').to.deep.equal([]);
      pressure.tick(LIMITS, use(100 * PORTS, 25));
      expect(told(), '20 of 25').to.deep.equal(['* 2000']);
      pressure.tick({ ...LIMITS, reservedBlocks: 78 }, use());
      expect(told(), '20 of 22 beside those that are for others').to.deep.equal(['* 2000']);
    });
  });
});
