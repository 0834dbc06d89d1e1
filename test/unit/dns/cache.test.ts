// SPDX-License-Identifier: Apache-2.0
// The cache as a client sees it (TTLs, negative answers, errors, stale data, equal questions) and its bounds.

import { expect } from 'chai';
import { AnswerCache } from '../../../src/dns/cache.ts';
import type { Answer } from '../../../src/dns/answer.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { Harness } from './harness.ts';
import { rr, T } from './scripted-server.ts';

const SOA = rr.soa('example', 120);

describe('DNS cache', () => {
  let h: Harness;
  const seen = { hits: 0, misses: 0, synthesized: 0, passthrough: [] as string[] };
  before(async () => {
    h = await Harness.start({
      observer: {
        ...SILENT_OBSERVER,
        cacheHit: () => void seen.hits++,
        cacheMiss: () => void seen.misses++,
        synthesized: () => void seen.synthesized++,
        passthrough: (reason) => void seen.passthrough.push(reason),
      },
    });
  });
  after(() => h.stop());

  it('counts every TTL down as time passes, and asks again at zero', async () => {
    const name = 'count.example';
    h.upstream
      .on(name, T.AAAA, { authorities: [SOA] })
      .on(name, T.A, { answers: [rr.cname(name, 't.example', 200), rr.a('t.example', '192.0.2.1', 100)] });
    const ttls = async () => (await h.ask({ name })).answers.map((line) => Number(line.split(' ')[2]));
    expect(await ttls()).to.deep.equal([200, 100]);
    h.clock.offsetMs += 30_000;
    expect(await ttls()).to.deep.equal([170, 70]);
    expect(h.upstream.count(name, T.A)).to.equal(1);
    h.clock.offsetMs += 71_000;
    expect(await ttls()).to.deep.equal([200, 100]);
    expect(h.upstream.count(name, T.A)).to.equal(2);
    expect([seen.hits, seen.misses, seen.synthesized]).to.deep.equal([1, 2, 3]);
  });

  it('holds NODATA and NXDOMAIN for min(SOA TTL, MINIMUM) (RFC 2308 §5)', async () => {
    for (const [name, rcode] of [
      ['nodata.example', 0],
      ['nx.example', 3],
    ] as const) {
      h.upstream.on(name, T.MX, { rcode, authorities: [rr.soa('example', 120, 60)] });
      await h.ask({ name, type: T.MX });
      h.clock.offsetMs += 59_000;
      const later = await h.ask({ name, type: T.MX });
      expect([later.rcode, later.authorities[0]?.split(' ')[2]]).to.deep.equal([rcode, '61']);
      expect(h.upstream.count(name, T.MX)).to.equal(1);
      h.clock.offsetMs += 2000;
      await h.ask({ name, type: T.MX });
      expect(h.upstream.count(name, T.MX)).to.equal(2);
    }
  });

  it('holds what CoreDNS does not: REFUSED, and NXDOMAIN behind a CNAME without SOA, for seconds', async () => {
    h.upstream.on('refused.example', T.A, { rcode: 5 });
    h.upstream.on('chain.example', T.A, { rcode: 3, answers: [rr.cname('chain.example', 'gone.example')] });
    for (const name of ['refused.example', 'chain.example']) {
      for (let i = 0; i < 3; i++) await h.ask({ name, type: T.A });
      expect(h.upstream.count(name, T.A), name).to.equal(1);
      h.clock.offsetMs += 6000;
      await h.ask({ name, type: T.A });
      expect(h.upstream.count(name, T.A), name).to.equal(2);
    }
  });

  it('does not hold TTL 0', async () => {
    h.upstream.on('zero.example', T.A, { answers: [rr.a('zero.example', '192.0.2.1', 0)] });
    for (let i = 0; i < 2; i++) await h.ask({ name: 'zero.example', type: T.A });
    expect(h.upstream.count('zero.example', T.A)).to.equal(2);
  });

  it('keeps answers for DO, CD, AD and RD apart', async () => {
    h.upstream.on('bits.example', T.A, { answers: [rr.a('bits.example', '192.0.2.1')] });
    await h.ask({ name: 'bits.example', type: T.A });
    await h.ask({ name: 'bits.example', type: T.A, opt: 1232 });
    expect(h.upstream.count('bits.example', T.A)).to.equal(1);
    await h.ask({ name: 'bits.example', type: T.A, opt: 1232, optTtl: 0x8000 });
    for (const flags of [0x0110, 0x0120, 0]) await h.ask({ name: 'bits.example', type: T.A, flags });
    expect(h.upstream.count('bits.example', T.A)).to.equal(5);
  });

  it('equal questions in flight are asked once', async () => {
    const name = 'herd.example';
    h.upstream
      .on(name, T.AAAA, { authorities: [SOA], delayMs: 100 })
      .on(name, T.A, { answers: [rr.a(name, '192.0.2.1')], delayMs: 100 });
    const all = await Promise.all(Array.from({ length: 50 }, () => h.ask({ name })));
    expect(all.every((one) => one.answers.length === 1)).to.equal(true);
    expect([h.upstream.count(name, T.AAAA), h.upstream.count(name, T.A)]).to.deep.equal([1, 1]);
  });

  it('serves stale data with TTL 30 when upstream fails, at once the second time (RFC 8767)', async () => {
    const name = 'stale.example';
    h.upstream.on(name, T.AAAA, { authorities: [SOA] }).on(name, T.A, { answers: [rr.a(name, '192.0.2.1', 100)] });
    await h.ask({ name });
    h.clock.offsetMs += 101_000;
    h.upstream.on(name, '*', { mute: true }).on(name, T.AAAA, { rcode: 2 }).on(name, T.A, { rcode: 2 });
    const stale = await h.ask({ name });
    expect(stale.answers).to.deep.equal([`${name} AAAA 30 2001:db8:64::c000:201`]);
    const asked = h.upstream.asked.length;
    expect((await h.ask({ name })).answers).to.have.length(1);
    expect(h.upstream.asked.length).to.equal(asked);
    h.clock.offsetMs += 4000_000;
    expect((await h.ask({ name })).rcode, 'an hour later').to.equal(2);
  });

  it('keeps a name on its real AAAA while AAAA fails, whatever its A says', async () => {
    const name = 'dual.example';
    h.upstream.on(name, T.AAAA, { answers: [rr.aaaa(name, '2001:db8::7', 100)] });
    h.upstream.on(name, T.A, { answers: [rr.a(name, '192.0.2.1', 100)] });
    await h.ask({ name });
    h.clock.offsetMs += 101_000;
    h.upstream.on(name, T.AAAA, { rcode: 2 });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 30 2001:db8::7`]);
  });

  it('D6147-5.5-b: what is bogus now is not answered from what was good before', async () => {
    const name = 'bogus.example';
    h.upstream.on(name, T.AAAA, { answers: [rr.aaaa(name, '2001:db8::7', 100)] });
    await h.ask({ name });
    h.clock.offsetMs += 101_000;
    const raw = (sent: Buffer) => {
      const question = sent.subarray(0, 12 + name.length + 2 + 4);
      const bytes = Buffer.concat([question, Buffer.from('0000290400000000000006000f00020006', 'hex')]);
      bytes.writeUInt16BE(0x8182, 2);
      bytes[11] = 1;
      return [bytes];
    };
    h.upstream.on(name, T.AAAA, { raw });
    expect((await h.ask({ name })).rcode).to.equal(2);
  });

  it('says why an AAAA question was not synthesized', async () => {
    seen.passthrough.length = 0;
    h.upstream.on('real.example', T.AAAA, { answers: [rr.aaaa('real.example', '2001:db8::1')] });
    h.upstream.on('none.example', '*', { authorities: [SOA] });
    await h.ask({ name: 'real.example' });
    await h.ask({ name: 'none.example' });
    await h.ask({ name: 'none.example', flags: 0x0110 });
    await h.ask({ name: 'missing.example' });
    expect(seen.passthrough).to.deep.equal(['aaaaExists', 'noA', 'checkingDisabled', 'nxdomain']);
  });
});

const answer = (lifetimeSeconds: number, octets = 20): Answer => ({
  body: Buffer.alloc(octets),
  questionEnd: 17,
  ttlAt: [],
  options: Buffer.alloc(0),
  rcodeHigh: 0,
  optInside: false,
  lifetimeSeconds,
  outcome: undefined,
});

describe('AnswerCache', () => {
  it('never holds more than maxEntries; what was used last stays', () => {
    let now = 0;
    const cache = new AnswerCache({ maxEntries: 100, maxBytes: 2 ** 24 }, () => now);
    for (let i = 0; i < 1000; i++) {
      cache.put(`k${i}`, answer(600));
      now += 2;
      if (i % 50 === 0) now += 1001;
      expect(cache.get('k0'), `after ${i}`).to.not.equal(undefined);
      expect(cache.size).to.be.at.most(100);
    }
    expect(cache.get('k1')).to.equal(undefined);
    expect(cache.get('k999')).to.not.equal(undefined);
  });

  it('keeps what is asked for all the time while new answers fill it within a second', () => {
    let now = 0;
    const cache = new AnswerCache({ maxEntries: 20_000, maxBytes: 2 ** 25 }, () => now);
    cache.put('hot', answer(600));
    for (let ms = 0; ms < 2500; ms++) {
      now++;
      for (let i = 0; i < 25; i++) cache.put(`${ms} ${i}`, answer(60));
      if (ms % 10 === 0) expect(cache.get('hot'), `after ${ms} ms`).to.not.equal(undefined);
    }
    expect(cache.size).to.equal(20_000);
  });

  it('never takes more octets than maxBytes, whatever is put; what was used last stays', () => {
    let now = 0;
    let seed = 1;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    for (const maxBytes of [0, 300, 1000, 9000, 50_000]) {
      const bounds = { maxEntries: 200, maxBytes };
      let cache = new AnswerCache(bounds, () => now);
      const sizes = new Map<string, number>();
      for (let i = 0; i < 1000; i++) {
        const key = `${'k'.repeat(random(200))}${random(300)}`;
        const length = 17 + random(random(10) === 0 ? 9000 : 300);
        cache.put(key, { ...answer(1 + random(100), length), options: Buffer.alloc(random(50)), considered: [1, 2] });
        if (length <= 8192) sizes.set(key, key.length + length);
        now += random(2000);
        cache.get(`${random(300)}`);
        if (random(100) === 0) cache.getStale(key);
        if (random(200) === 0) cache = cache.successor(() => random(3) > 0);
        if (random(200) === 0) cache.resize({ ...bounds, maxEntries: 1 + random(200) });
        expect(cache.bytes, `${i} of ${maxBytes}`).to.be.within(0, maxBytes);
        const held = [...sizes].reduce(
          (sum, [held, octets]) => sum + (i % 100 === 0 && cache.get(held) ? octets : 0),
          0,
        );
        expect(held, 'counts what is there').to.be.at.most(cache.bytes);
      }
      cache.resize({ maxEntries: 200, maxBytes: 0 });
      expect([cache.size, cache.bytes]).to.deep.equal([0, 0]);
    }
    const cache = new AnswerCache({ maxEntries: 1000, maxBytes: 10_000 }, () => (now += 2000));
    for (let i = 0; i < 100; i++) {
      cache.put(`k${i}`, answer(600_000));
      expect(cache.get('k0'), `after ${i}`).to.not.equal(undefined);
    }
    expect(cache.size).to.be.within(5, 30);
    expect(cache.get('k1')).to.equal(undefined);
  });

  it('gives back every part of what was put', () => {
    const cache = new AnswerCache({ maxEntries: 10, maxBytes: 10_000 }, () => 0);
    const whole: Answer = {
      ...answer(600, 60),
      body: Buffer.from(Array.from({ length: 60 }, (_, i) => (i * 77) & 255)),
      ttlAt: [23, 300, 65_000],
      options: Buffer.from([0, 15, 0, 2, 255, 128]),
      rcodeHigh: 1,
      optInside: false,
      outcome: 'synthesized',
      isMakeshift: true,
      considered: [0, 0xffffffff],
      shown: { name: 'www.example', addresses: [0xc0000201, 1], ttlSeconds: 77 },
    };
    const plain = { ...answer(600, 60), isMakeshift: false, considered: undefined, shown: undefined };
    const none = { ...whole, considered: [], shown: undefined, ttlAt: [] };
    for (const each of [whole, plain, none]) {
      cache.put('k', each);
      expect(cache.get('k')?.answer).to.deep.equal(each);
    }
  });

  it('refuses messages too large for a bounded memory, and everything when it has no room', () => {
    const cache = new AnswerCache({ maxEntries: 10, maxBytes: 2 ** 24 }, () => 0);
    cache.put('large', answer(600, 9000));
    expect(cache.size).to.equal(0);
    const none = new AnswerCache({ maxEntries: 0, maxBytes: 2 ** 24 }, () => 0);
    none.put('k', answer(600));
    expect(none.size).to.equal(0);
  });
});
