// SPDX-License-Identifier: Apache-2.0
// What the data plane in memory has beside the contract: ends of sessions without time or sweeps.
import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { SessionRow } from '../../../src/datapath/datapath.ts';
import { FakeDatapath } from '../../fakes/datapath.ts';
import { programsOf, testPrograms } from '../../helpers/programs.ts';

describe('datapath/fake', () => {
  it('a session that is closed is gone at once, its binding with the last of its sessions', () => {
    const prefix = parsePrefix64('2001:db8:64::/96');
    const programs = programsOf(testPrograms({ prefixes: [prefix] }));
    const datapath = new FakeDatapath({ programs, sizes: { maxSessions: 4 }, now: () => 0 });
    const v4 = parseIp4('192.0.2.1');
    datapath.setPoolAddresses([{ v4, slot: 0, shared: false, draining: false }]);
    datapath.writeBlock({ index: 0, slot: 0, v4, firstPort: 1000, size: 1 }, { tcp: [], udp: [], icmp: [] });
    datapath.offerBlock(0);
    const open = (to: string): SessionRow => {
      const source = { v6: parseIp6('2001:db8:1::1'), port: 1 };
      const destination6 = embedIp4(prefix, parseIp4(to));
      const result = datapath.openFlow({ protocol: 'udp', source, destination6, port: 53 });
      if (result === undefined || typeof result === 'string') throw new Error(result ?? 'no prefix');
      return result;
    };
    const [a, b] = [open('198.51.100.1'), open('198.51.100.2')];
    datapath.closeFlow(a);
    expect(datapath.sessions()).to.deep.equal([b]);
    expect(datapath.bindings().map((row) => row.sessions)).to.deep.equal([1]);
    datapath.closeFlow(b);
    expect([datapath.sessions(), datapath.bindings()]).to.deep.equal([[], []]);
    expect(datapath.blocks()[0]?.used.udp).to.equal(0);
  });
});
