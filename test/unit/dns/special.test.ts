// SPDX-License-Identifier: Apache-2.0
// ipv4only.arpa (RFC 8880, RFC 7050) and the reverse names of synthesized addresses (RFC 6147 §5.3.1).

import { expect } from 'chai';
import { WELL_KNOWN_PREFIX } from '../../../src/addr/rfc6052.ts';
import { Harness, P6 } from './harness.ts';
import { rr, T } from './scripted-server.ts';

/** V-9's reverse name of P6 with the last eight nibbles given in address order. */
const reverse = (last: string) => `${[...`20010db80064000000000000${last}`].toReversed().join('.')}.ip6.arpa`;
const HOST = reverse('c0000221');
const IN_ADDR = '33.2.0.192.in-addr.arpa';

describe('ipv4only.arpa', () => {
  let h: Harness;
  before(async () => {
    h = await Harness.start({ prefixes: [P6, WELL_KNOWN_PREFIX] });
  });
  after(() => h.stop());

  it('I8880-7.1-c: I8880-7.1-a: I8880-A-a: P7050-2.2-a: A is exactly the two well-known addresses, for a day', async () => {
    const seen = await h.ask({ name: 'ipv4only.arpa', type: T.A });
    expect(seen.answers).to.deep.equal(['ipv4only.arpa A 86400 192.0.0.170', 'ipv4only.arpa A 86400 192.0.0.171']);
  });

  it('P7050-5-a: K6877-6-b: I8880-7.1-d: I8880-7.1-f: AAAA is one per prefix and address, under 64:ff9b::/96 too', async () => {
    const seen = await h.ask({ name: 'IPv4Only.arpa' });
    expect(seen.answers.map((line) => line.split(' ')[3])).to.deep.equal([
      '2001:db8:64::c000:aa',
      '64:ff9b::c000:aa',
      '2001:db8:64::c000:ab',
      '64:ff9b::c000:ab',
    ]);
  });

  it('P7050-3-a: I8880-7.1-i: neither DO nor CD changes that, and AD is never set', async () => {
    const seen = await h.ask({ name: 'ipv4only.arpa', flags: 0x0130, opt: 1232, optTtl: 0x8000 });
    expect([seen.answers.length, seen.flags & 0x20]).to.deep.equal([4, 0]);
  });

  it('I8880-7.1-e: I8880-A-a: other types are NODATA with an SOA', async () => {
    for (const type of [T.MX, T.TXT, T.NS, T.SOA, 65]) {
      const seen = await h.ask({ name: 'ipv4only.arpa', type });
      expect([seen.rcode, seen.answers.length], String(type)).to.deep.equal([0, 0]);
      expect(seen.authorities[0]).to.match(/^ipv4only\.arpa SOA 60/);
    }
  });

  it('I8880-7.1-h: names below do not exist', async () => {
    const seen = await h.ask({ name: 'x.ipv4only.arpa' });
    expect([seen.rcode, seen.authorities.length]).to.deep.equal([3, 1]);
  });

  it('I8880-7.1-b: I8880-7.1-g: none of this has reached upstream; DS does; a longer last label is another name', async () => {
    expect(h.upstream.questions()).to.deep.equal([]);
    await h.ask({ name: 'ipv4only.arpa', type: T.DS });
    await h.ask({ name: 'xipv4only.arpa', type: T.A });
    expect(h.upstream.questions()).to.deep.equal(['ipv4only.arpa TYPE43', 'xipv4only.arpa A']);
  });

  it('I8880-7.2-a: 170.0.0.192.in-addr.arpa is resolved as any name (C-29)', async () => {
    await h.ask({ name: '170.0.0.192.in-addr.arpa', type: T.PTR });
    expect(h.upstream.questions()).to.include('170.0.0.192.in-addr.arpa PTR');
  });

  it('I8880-7.2.1-a: V-9, the PTR of a well-known address is answered at once, under every prefix', async () => {
    const before = h.upstream.asked.length;
    const wkp = `${[...`0064ff9b0000000000000000${'c00000ab'}`].toReversed().join('.')}.ip6.arpa`;
    for (const name of [reverse('c00000aa'), wkp]) {
      expect((await h.ask({ name, type: T.PTR })).answers).to.deep.equal([`${name} PTR 86400 ipv4only.arpa`]);
    }
    expect(h.upstream.asked.length).to.equal(before);
  });
});

describe('resolver.arpa', () => {
  it('is NODATA with an SOA at every name and type, and never reaches upstream, with a prefix or without (RFC 9462 §6.1)', async () => {
    for (const prefixes of [[P6], []]) {
      const h = await Harness.start({ prefixes });
      try {
        for (const name of ['_dns.resolver.arpa', 'resolver.arpa', 'a.b.Resolver.ARPA']) {
          for (const type of [64, T.A, T.AAAA, T.TXT, T.DS]) {
            const seen = await h.ask({ name, type, opt: 1232, options: Buffer.from('fde900012a', 'hex') });
            expect([seen.rcode, seen.answers.length, seen.flags & 0x80], name).to.deep.equal([0, 0, 0x80]);
            expect(seen.authorities[0]?.toLowerCase()).to.match(/^resolver\.arpa soa 60/);
          }
        }
        await h.ask({ name: 'xresolver.arpa', type: T.A });
        expect(h.upstream.questions()).to.deep.equal(['xresolver.arpa A']);
      } finally {
        await h.stop();
      }
    }
  });
});

describe('without a prefix', () => {
  it('I8880-7.1-j: ipv4only.arpa and reverse names are passed through', async () => {
    const h = await Harness.start({ prefixes: [] });
    try {
      const wkp = `${[...'0064ff9b0000000000000000c00000aa'].toReversed().join('.')}.ip6.arpa`;
      await h.ask({ name: 'ipv4only.arpa', type: T.A });
      await h.ask({ name: wkp, type: T.PTR });
      expect(h.upstream.questions()).to.deep.equal(['ipv4only.arpa A', `${wkp} PTR`]);
    } finally {
      await h.stop();
    }
  });
});

describe('reverse names of synthesized addresses', () => {
  let h: Harness;
  beforeEach(async () => {
    h = await Harness.start();
  });
  afterEach(() => h.stop());

  it('D6147-5.3.1-a: D6147-5.3.1-b: I8880-7.2.1-b: V-9, a CNAME into in-addr.arpa with its PTR behind it (C-24)', async () => {
    h.upstream.on(IN_ADDR, T.PTR, { answers: [rr.ptr(IN_ADDR, 'www.example', 7200)] });
    const seen = await h.ask({ name: HOST, type: T.PTR });
    expect(seen.answers).to.deep.equal([`${HOST} CNAME 600 ${IN_ADDR}`, `${IN_ADDR} PTR 7200 www.example`]);
    await h.ask({ name: HOST, type: T.PTR });
    expect(h.upstream.questions()).to.deep.equal([`${IN_ADDR} PTR`]);
  });

  it('D6147-5.3.1-a: the well-known prefix counts although it is not configured', async () => {
    h.upstream.on(IN_ADDR, T.PTR, { answers: [rr.ptr(IN_ADDR, 'www.example', 60)] });
    const name = `${[...'0064ff9b0000000000000000c0000221'].toReversed().join('.')}.ip6.arpa`;
    expect((await h.ask({ name, type: T.PTR })).answers[0]).to.equal(`${name} CNAME 60 ${IN_ADDR}`);
  });

  it('D6147-5.3.1-c: no CNAME to a name that does not exist, or has no PTR', async () => {
    h.upstream.on(IN_ADDR, T.PTR, { rcode: 3, authorities: [rr.soa('in-addr.arpa', 100)] });
    const seen = await h.ask({ name: HOST, type: T.PTR });
    expect([seen.rcode, seen.answers.length, seen.authorities.length]).to.deep.equal([3, 0, 1]);
    expect(seen.authorities[0]).to.match(/4\.6\.0\.0\.8\.b\.d\.0\.1\.0\.0\.2\.ip6\.arpa SOA 100/);
  });

  it('D6147-5.3.1-c: a CNAME at the in-addr.arpa name (RFC 2317) means plain resolution', async () => {
    h.upstream.on(IN_ADDR, T.PTR, { answers: [rr.cname(IN_ADDR, 'x.example'), rr.ptr('x.example', 'www.example')] });
    h.upstream.on(HOST, T.PTR, { answers: [rr.ptr(HOST, 'own.example')] });
    expect((await h.ask({ name: HOST, type: T.PTR })).answers).to.deep.equal([`${HOST} PTR 300 own.example`]);
  });

  it('D6147-5.3.1-d: other addresses and partial names resolve as any', async () => {
    for (const name of [reverse('c0000221').slice(2), HOST.replace('8.b.d', '9.b.d'), HOST.replace('1.2.2', 'g.2.2')]) {
      h.upstream.on(name, T.PTR, { answers: [rr.ptr(name, 'plain.example')] });
      expect((await h.ask({ name, type: T.PTR })).answers).to.deep.equal([`${name} PTR 300 plain.example`]);
    }
  });
});
