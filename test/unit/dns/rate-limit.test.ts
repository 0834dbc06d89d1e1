// SPDX-License-Identifier: Apache-2.0
// How often a network is answered by UDP.

import { expect } from 'chai';
import { parseIp4Net } from '../../../src/addr/ip.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { RateLimit } from '../../../src/dns/rate-limit.ts';
import { exchangeTcp, exchangeUdp, Harness, query } from './harness.ts';
import { rr, T } from './scripted-server.ts';

describe('dns/rate-limit', () => {
  const times = (limit: RateLimit, count: number, address: string) =>
    Array.from({ length: count }, () => limit.judge(address));

  it('answers up to the rate, truncates every second one beyond, and fills up with time', () => {
    let now = 0;
    const limit = new RateLimit(4, () => now);
    const beyond = ['truncate', 'drop', 'truncate', 'drop'];
    expect(times(limit, 8, '198.51.100.1')).to.deep.equal(['answer', 'answer', 'answer', 'answer', ...beyond]);
    now = 500;
    expect(times(limit, 3, '198.51.100.1')).to.deep.equal(['answer', 'answer', 'truncate']);
    now = 60_000;
    expect(times(limit, 5, '198.51.100.1').filter((one) => one === 'answer')).to.have.length(4);
  });

  it('counts an IPv4 /24 and an IPv6 /56 as one', () => {
    const limit = new RateLimit(1, () => 0);
    const isAnswered = (address: string) => limit.judge(address) === 'answer';
    expect(['198.51.100.1', '198.51.100.254', '198.51.101.1'].map(isAnswered)).to.deep.equal([true, false, true]);
    const v6 = ['2001:db8:1:1ff::1', '2001:db8:1:100::9', '2001:db8:1:200::1', '2001:db8:1:2ff::1%eth0'];
    expect(v6.map(isAnswered)).to.deep.equal([true, false, true, false]);
  });

  it('remembers a bounded number of networks, those that ask', () => {
    const limit = new RateLimit(1, () => 0);
    for (let i = 0; i < 20_000; i++) {
      limit.judge(`10.${i >> 8}.${i & 255}.1`);
      expect(limit.judge('198.51.100.1') === 'answer').to.equal(i === 0);
    }
    expect(limit.size).to.equal(10_000);
  });

  it('0 is no limit', () => {
    expect(new Set(times(new RateLimit(0), 1000, '198.51.100.1'))).to.deep.equal(new Set(['answer']));
  });
});

describe('dns.maxRate', () => {
  const ask = (h: Harness) => exchangeUdp(h.port, query({ name: 'x.example', type: T.A, opt: 1232 }), 500);
  const script = (h: Harness) => h.upstream.on('x.example', T.A, { answers: [rr.a('x.example', '192.0.2.1')] });
  const named = { allowClients: [parseIp4Net('127.0.0.0/8')] };

  it('named clients over it get every second answer empty and truncated, the others none; TCP is not limited', async () => {
    const counted: string[] = [];
    const observer = { ...SILENT_OBSERVER, rateLimited: (action: string) => void counted.push(action) };
    const unlimited = [parseIp4Net('192.0.2.0/24')];
    const h = await Harness.start({ ...named, unlimitedClients: unlimited, maxRate: 3, observer });
    try {
      script(h);
      const all = (await Promise.all(Array.from({ length: 13 }, () => ask(h)))).map(([one]) => one);
      const isTruncated = (one: Buffer) => ((one[2] ?? 0) & 2) !== 0;
      const answers = all.flatMap((one) => one ?? []);
      const full = answers.filter((one) => !isTruncated(one));
      const cut = answers.filter(isTruncated);
      // The bucket fills while they are sent.
      expect(full.length).to.be.within(3, 5);
      expect(full.every((one) => one.readUInt16BE(6) === 1)).to.equal(true);
      expect(cut.every((one) => one.readUInt16BE(6) === 0 && ((one[3] ?? 0) & 15) === 0 && one[5] === 1)).to.equal(
        true,
      );
      expect(counted.filter((one) => one === 'truncated')).to.have.length(cut.length);
      expect(counted.filter((one) => one === 'dropped')).to.have.length(13 - answers.length);
      expect(cut.length - (13 - answers.length)).to.be.within(0, 1);
      const messages = Array.from({ length: 10 }, () => query({ name: 'x.example', type: T.A }));
      const overTcp = await exchangeTcp(h.port, messages);
      expect(overTcp.every((one) => one.readUInt16BE(6) === 1)).to.equal(true);
      await h.reload({ maxRate: 0 });
      const free = await Promise.all(Array.from({ length: 10 }, () => ask(h)));
      expect(free.flat().filter((one) => !isTruncated(one))).to.have.length(10);
    } finally {
      await h.stop();
    }
  });

  it('local clients are not limited, however they came to be allowed', async () => {
    const h = await Harness.start({ ...named, maxRate: 1 });
    try {
      script(h);
      const all = (await Promise.all(Array.from({ length: 20 }, () => ask(h)))).flat();
      expect(all.filter((one) => one.readUInt16BE(6) === 1)).to.have.length(20);
    } finally {
      await h.stop();
    }
  });
});
