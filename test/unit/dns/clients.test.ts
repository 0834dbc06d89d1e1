// SPDX-License-Identifier: Apache-2.0
// Who may ask and who is refused.

import { expect } from 'chai';
import { parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { Clients } from '../../../src/dns/clients.ts';
import { localNetworks, routes4, routes6 } from '../../../src/dns/local-networks.ts';
import { exchangeTcp, exchangeUdp, Harness, query } from './harness.ts';
import { rr, T } from './scripted-server.ts';

describe('clients', () => {
  it('by default are those that are not of the internet, and those of the host’s networks, as these change', async () => {
    let cidrs = ['203.0.113.7/24', '2001:db8:5::1/64'];
    const clients = new Clients(['local'], () => cidrs);
    const isAllowed = (all: string[]) => all.filter((address) => clients.allows(address));
    const local = ['127.0.0.9', '10.1.2.3', '172.31.0.1', '192.168.1.1', '100.64.0.1', '169.254.1.1', '::1', 'fd00::5'];
    const zoned = ['fe80::1%eth0', '203.0.113.99', '2001:db8:5::abcd'];
    expect(isAllowed([...local, ...zoned])).to.deep.equal([...local, ...zoned]);
    const others = ['203.0.112.1', '172.32.0.1', '2001:db8:5:1::1', '2001:db8:6::1', '198.51.100.1'];
    expect(isAllowed(others)).to.deep.equal([]);
    cidrs = ['2001:db8:6::1/64'];
    await new Promise((done) => setTimeout(done, 1100));
    expect(isAllowed(['2001:db8:6::1', '203.0.113.99', '10.1.2.3'])).to.deep.equal(['2001:db8:6::1', '10.1.2.3']);
  });

  it('are those that the host has routes to, but not by the default route, and none of half the internet', () => {
    const none = '0'.repeat(32);
    const route6 = (to: string, length: string, flags: string, device: string) =>
      `${to} ${length} ${none} 00 fe800000000000000000000000000001 00000400 00000001 00000000 ${flags} ${device.padStart(8)}`;
    const table = [
      route6(none, '00', '00000003', 'eth0'),
      route6('20010db8000300000000000000000000', '40', '00000001', 'cilium_host'),
      route6('20010db8000100000000000000000007', '80', '00000005', 'cali123'),
      route6('20000000000000000000000000000000', '03', '00000003', 'eth0'),
      route6('20010db8006400000000000000000000', '60', '00200200', 'eth0'),
      route6('20010db8000500000000000000000001', '80', '80200001', 'lo'),
      '',
    ].join('\n');
    expect(routes6(table)).to.deep.equal([
      '2001:0db8:0003:0000:0000:0000:0000:0000/64',
      '2001:0db8:0001:0000:0000:0000:0000:0007/128',
    ]);
    const table4 = `Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
veth1\t057100CB\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
eth0\t000000CB\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
`;
    expect(routes4(table4)).to.deep.equal(['203.0.113.5/32']);
    expect(localNetworks()).to.include('127.0.0.1/8');
  });

  it('are anyone where the configuration says so, and nobody but those that it names', () => {
    const anyone = new Clients([parseIp4Net('0.0.0.0/0'), parseIp6Net('::/0')]);
    expect(['198.51.100.1', '2001:db8::1'].every((address) => anyone.allows(address))).to.equal(true);
    const named = new Clients([parseIp4Net('198.51.100.0/24')]);
    expect(['198.51.100.1', '127.0.0.1', '::1'].map((address) => named.allows(address))).to.deep.equal([
      true,
      false,
      false,
    ]);
  });

  it('others are told so by TCP, and by UDP a few times a second; a reload changes it', async () => {
    const h = await Harness.start({ allowClients: [parseIp4Net('192.0.2.0/24')] });
    try {
      const ask = query({ name: 'x.example', type: T.A, opt: 1232 });
      const [overTcp] = await exchangeTcp(h.port, [ask]);
      expect((overTcp?.[3] ?? 0) & 15).to.equal(5);
      const many = await Promise.all(Array.from({ length: 40 }, () => exchangeUdp(h.port, ask, 300)));
      const answers = many.flat();
      expect(answers.length).to.be.within(1, 20);
      expect(answers.every((one) => ((one[3] ?? 0) & 15) === 5 && one.length === ask.length)).to.equal(true);
      expect(h.upstream.questions()).to.deep.equal([]);
      h.upstream.on('x.example', T.A, { answers: [rr.a('x.example', '192.0.2.1')] });
      await h.reload({ allowClients: ['local'] });
      expect((await h.ask({ name: 'x.example', type: T.A })).answers).to.have.length(1);
    } finally {
      await h.stop();
    }
  });
});
