// SPDX-License-Identifier: Apache-2.0
// RFC 6147 §5.1 as a client sees it: gate64 on loopback between it and a scripted upstream.

import { expect } from 'chai';
import { parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { PREFIX_LENGTHS, WELL_KNOWN_PREFIX, embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { formatIp6, parseIp4 } from '../../../src/addr/ip.ts';
import { Harness, P6, destinations, exchangeUdp, query, see } from './harness.ts';
import { rr, T } from './scripted-server.ts';

const V4 = '192.0.2.33';
const V6 = '2001:db8:64::c000:221';
const SOA = rr.soa('example', 120);
const CHASED = { authorities: [SOA] };

/** RDATA of an RRSIG over `covered`, signed by "example". */
function signature(covered: number): Buffer {
  const rdata = Buffer.alloc(18 + 9 + 8);
  rdata.writeUInt16BE(covered, 0);
  Buffer.from('\x07example\x00', 'latin1').copy(rdata, 18);
  return rdata;
}

async function withHarness(options: Parameters<typeof Harness.start>[0], run: (h: Harness) => Promise<void>) {
  const h = await Harness.start(options);
  try {
    await run(h);
  } finally {
    await h.stop();
  }
}

describe('DNS64', () => {
  let h: Harness;
  let n = 0;
  /** A name of its own per test, so that no answer comes from another test's cache. */
  const fresh = () => `host${++n}.example`;

  before(async () => {
    h = await Harness.start();
  });
  after(() => h.stop());

  it('D6147-5.1.7-b: V-9, an A of TTL 300 behind NODATA with SOA 120 becomes an AAAA of TTL 120', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { answers: [rr.a(name, V4, 300)] });
    const seen = await h.ask({ name });
    expect(seen.answers).to.deep.equal([`${name} AAAA 120 ${V6}`]);
    const other = fresh();
    h.upstream
      .on(other, T.AAAA, { authorities: [rr.soa('example', 900)] })
      .on(other, T.A, { answers: [rr.a(other, V4, 60)] });
    expect((await h.ask({ name: other })).answers).to.deep.equal([`${other} AAAA 60 ${V6}`]);
  });

  it('D6147-5.1.7-b: the SOA counts with min(TTL, MINIMUM) (C-28)', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { authorities: [rr.soa('example', 900, 45)] })
      .on(name, T.A, { answers: [rr.a(name, V4, 300)] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 45 ${V6}`]);
  });

  it('D6147-5.1.7-c: without SOA the TTL is at most 600', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, {}).on(name, T.A, { answers: [rr.a(name, V4, 3600)] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 600 ${V6}`]);
  });

  it('D6147-5.1.7-a: several A give as many AAAA with one TTL (RFC 2181 §5.2)', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, CHASED)
      .on(name, T.A, { answers: [rr.a(name, V4, 70), rr.a(name, '198.51.100.7', 60)] });
    expect((await h.ask({ name })).answers).to.deep.equal([
      `${name} AAAA 60 ${V6}`,
      `${name} AAAA 60 2001:db8:64::c633:6407`,
    ]);
  });

  it('D6147-5.1.1-a: a real AAAA wins', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { answers: [rr.aaaa(name, '2001:db8::7')] })
      .on(name, T.A, { answers: [rr.a(name, V4)] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 300 2001:db8::7`]);
  });

  it('D6147-5.1.8-a: a slow AAAA that has data is waited for', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { answers: [rr.aaaa(name, '2001:db8::7')], delayMs: 600 })
      .on(name, T.A, { answers: [rr.a(name, V4)] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 300 2001:db8::7`]);
  });

  it('D6147-5.1.8-a: AAAA and A are asked at the same time', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { ...CHASED, delayMs: 200 }).on(name, T.A, { answers: [rr.a(name, V4)], delayMs: 200 });
    expect((await h.ask({ name })).elapsedMs).to.be.within(190, 330);
  });

  it('D6147-5.1.2-a: NXDOMAIN is final, even where an A exists', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { rcode: 3, authorities: [SOA] }).on(name, T.A, { answers: [rr.a(name, V4)] });
    const seen = await h.ask({ name });
    expect([seen.rcode, seen.answers.length, seen.authorities.length]).to.deep.equal([3, 0, 1]);
  });

  it('D6147-5.1.2-a: NXDOMAIN behind a CNAME is final', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { rcode: 3, answers: [rr.cname(name, 'gone.example')], authorities: [SOA] })
      .on(name, T.A, { answers: [rr.a(name, V4)] });
    const seen = await h.ask({ name });
    expect([seen.rcode, seen.answers]).to.deep.equal([3, [`${name} CNAME 300 gone.example`]]);
  });

  for (const [rcode, label] of [
    [1, 'FORMERR'],
    [2, 'SERVFAIL'],
    [4, 'NOTIMP'],
    [5, 'REFUSED'],
  ] as const) {
    it(`D6147-5.1.2-b: AAAA ${label} counts as empty, and the answer is short-lived`, async () => {
      const name = fresh();
      h.upstream.on(name, T.AAAA, { rcode }).on(name, T.A, { answers: [rr.a(name, V4, 3600)] });
      const seen = await h.ask({ name });
      expect([seen.rcode, seen.answers]).to.deep.equal([0, [`${name} AAAA 30 ${V6}`]]);
    });
  }

  it('D6147-5.1.3-a: mute on AAAA, the A still becomes an answer within two seconds', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { mute: true }).on(name, T.A, { answers: [rr.a(name, V4)] });
    const seen = await h.ask({ name });
    expect(seen.answers).to.deep.equal([`${name} AAAA 30 ${V6}`]);
    expect(seen.elapsedMs).to.be.below(2000);
  });

  it('D6147-5.1.4-a: D6147-5.1.4-b: an excluded AAAA counts as none', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { answers: [rr.aaaa(name, '::ffff:c000:221')] })
      .on(name, T.A, { answers: [rr.a(name, V4)] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 300 ${V6}`]);
  });

  it('D6147-5.1.4-c: among several AAAA the excluded ones are left out', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, {
        answers: [rr.cname(name, `t.${name}`), rr.aaaa(`t.${name}`, '::ffff:1:2'), rr.aaaa(`t.${name}`, '2001:db8::7')],
        authorities: [rr.ns('example', `ns.t.${name}`)],
      })
      .on(name, T.A, { answers: [rr.a(name, V4)] });
    const seen = await h.ask({ name });
    expect(seen.answers).to.deep.equal([`${name} CNAME 300 t.${name}`, `t.${name} AAAA 300 2001:db8::7`]);
    expect(seen.authorities).to.deep.equal([`example NS 300 ns.t.${name}`]);
  });

  it('D6147-5.1.4-d: nothing but excluded AAAA and no A is NODATA (C-26)', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { answers: [rr.aaaa(name, '::ffff:c000:221')] }).on(name, T.A, CHASED);
    const seen = await h.ask({ name });
    expect([seen.rcode, seen.answers]).to.deep.equal([0, []]);
  });

  it('D6147-5.1.5-a: D6147-5.1.5-b: a CNAME chain stands in front of the AAAA of its last name', async () => {
    const name = fresh();
    const chain = [rr.cname(name, `cdn.${name}`, 400), rr.cname(`cdn.${name}`, 'edge.example', 500)];
    h.upstream
      .on(name, T.AAAA, { answers: chain, authorities: [SOA] })
      .on(name, T.A, { answers: [...chain, rr.a('edge.example', V4), rr.a('edge.example', '198.51.100.7')] });
    expect((await h.ask({ name })).answers).to.deep.equal([
      `${name} CNAME 400 cdn.${name}`,
      `cdn.${name} CNAME 500 edge.example`,
      `edge.example AAAA 120 ${V6}`,
      `edge.example AAAA 120 2001:db8:64::c633:6407`,
    ]);
  });

  it('D6147-5.1.5-b: a DNAME and its CNAME stay', async () => {
    const dname = rr.raw('old.example', T.DNAME, Buffer.from('\x03new\x07example\x00', 'latin1'));
    const answers = [dname, rr.cname('x.old.example', 'x.new.example'), rr.a('x.new.example', V4)];
    h.upstream.on('x.old.example', T.AAAA, CHASED).on('x.old.example', T.A, { answers });
    const seen = await h.ask({ name: 'x.old.example' });
    expect(seen.answers.map((line) => line.split(' ')[1])).to.deep.equal(['TYPE39', 'CNAME', 'AAAA']);
    expect(seen.answers[2]).to.equal(`x.new.example AAAA 120 ${V6}`);
  });

  it('D6147-5.1.6-a: no A and no signature of an A is left', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, {
      answers: [
        rr.cname(name, 'c.example'),
        rr.raw(name, T.RRSIG, signature(T.CNAME)),
        rr.a('c.example', V4),
        rr.raw('c.example', T.RRSIG, signature(T.A)),
      ],
      ad: true,
    });
    const seen = await h.ask({ name, opt: 1232, optTtl: 0x8000 });
    expect(seen.answers.map((line) => line.split(' ').slice(0, 2).join(' '))).to.deep.equal([
      `${name} CNAME`,
      `${name} RRSIG`,
      'c.example AAAA',
    ]);
    expect(seen.flags & 0x20, 'AD (D6147-3-a)').to.equal(0);
  });

  it('D6147-5.1.6-b: A empty gives the AAAA response with its own SOA', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, { authorities: [rr.soa('aaaa.example', 77)] })
      .on(name, T.A, { authorities: [rr.soa('a.example', 88)] });
    const seen = await h.ask({ name });
    expect([seen.rcode, seen.answers.length]).to.deep.equal([0, 0]);
    expect(seen.authorities).to.deep.equal(['aaaa.example SOA 77 ns.aaaa.example']);
  });

  it('D6147-5.1.6-b: the RCODE of a failing A query is the answer (C-23)', async () => {
    for (const rcode of [2, 5]) {
      const name = fresh();
      h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { rcode });
      const seen = await h.ask({ name });
      expect([seen.rcode, seen.answers.length]).to.deep.equal([rcode, 0]);
      expect(seen.bytes.readUInt16BE(12 + name.length + 2), 'question type').to.equal(T.AAAA);
    }
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { rcode: 3 });
    expect((await h.ask({ name })).rcode, 'A NXDOMAIN after AAAA NOERROR').to.equal(0);
  });

  it('D6147-5.1.6-b: A mute is SERVFAIL within two seconds', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { mute: true });
    const seen = await h.ask({ name });
    expect(seen.rcode).to.equal(2);
    expect(seen.elapsedMs).to.be.below(2000);
  });

  it('D6147-5.1-a: other classes are passed on', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, {}).on(name, T.A, { answers: [rr.a(name, V4)] });
    const seen = await h.ask({ name, klass: 3 });
    expect([seen.rcode, seen.answers.length, h.upstream.count(name, T.A)]).to.deep.equal([0, 0, 0]);
  });

  it('D6147-5.1-b: ANY is untouched', async () => {
    const name = fresh();
    h.upstream.on(name, 255, { answers: [rr.a(name, V4)] });
    expect((await h.ask({ name, type: 255 })).answers).to.deep.equal([`${name} A 300 ${V4}`]);
  });

  it('D6147-5.3.2-a: D6147-5.3.2-b: authority and additional come from the A response as they are', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, {
      answers: [rr.a(name, V4), rr.a(name, '198.51.100.7')],
      authorities: [rr.ns('example', 'ns1.example', 1000), rr.mx('example', 'ns2.example', 1000)],
      additionals: [rr.a('ns1.example', '192.0.2.53', 900), rr.aaaa('ns1.example', '2001:db8::53', 900)],
    });
    const seen = await h.ask({ name });
    expect(seen.answers).to.have.length(2);
    expect(seen.authorities).to.deep.equal(['example NS 1000 ns1.example', 'example MX 1000 ns2.example']);
    expect(seen.additionals).to.deep.equal(['ns1.example A 900 192.0.2.53', 'ns1.example AAAA 900 2001:db8::53']);
  });

  it('D6147-5.4-a: the question comes back octet for octet, 0x20 case kept, cached or not', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { answers: [rr.a(name, V4)] });
    for (const spelled of [name.toUpperCase(), name.replace('example', 'ExAmPlE')]) {
      const bytes = query({ name: spelled });
      const [answer] = await exchangeUdp(h.port, bytes);
      expect(answer?.subarray(12, bytes.length).equals(bytes.subarray(12))).to.equal(true);
      expect(answer?.readUInt16BE(0)).to.equal(bytes.readUInt16BE(0));
      expect(see(answer as Buffer).answers[0]).to.equal(`${spelled} AAAA 120 ${V6}`);
    }
  });

  it('D6147-5.4-a: QR and RA are set, RD copied, AA and AD clear', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { answers: [rr.a(name, V4)], ad: true });
    expect((await h.ask({ name, flags: 0x0120 })).flags).to.equal(0x8180);
    expect((await h.ask({ name, flags: 0x0000 })).flags).to.equal(0x8080);
  });

  it('with dns.ignoreChecking CD=1 is synthesized too, out of what upstream has validated, from now on', async () => {
    const name = 'checked.example';
    const own = await Harness.start();
    try {
      own.upstream.on(name, T.AAAA, { authorities: [rr.soa('example', 120)] });
      own.upstream.on(name, T.A, { answers: [rr.a(name, '192.0.2.1')] });
      const option = Buffer.from('fde900012a', 'hex');
      const ask = (options = Buffer.alloc(0)) => own.ask({ name, flags: 0x0110, opt: 1232, options });
      expect((await ask()).answers).to.deep.equal([]);
      await own.reload({ ignoreChecking: true });
      const asked = own.upstream.asked.length;
      for (const options of [undefined, undefined, option]) {
        const seen = await ask(options);
        expect(seen.answers).to.deep.equal([`${name} AAAA 120 2001:db8:64::c000:201`]);
        expect(seen.flags & 0x10, 'CD is copied').to.equal(0x10);
      }
      const since = own.upstream.asked.slice(asked);
      expect(since.map(({ query }) => (query[3] as number) & 0x10)).to.deep.equal([0, 0, 0, 0]);
      // Any other type is asked as it came.
      await own.ask({ name, type: T.TXT, flags: 0x0110 });
      expect((own.upstream.asked.at(-1)?.query[3] as number) & 0x10).to.equal(0x10);
      await own.reload();
      expect((await ask()).answers).to.deep.equal([]);
    } finally {
      await own.stop();
    }
  });

  it('D6147-5.5-c: D6147-3-a: CD=1 gets what upstream says, DO=1 alone is synthesized', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { answers: [rr.a(name, V4)] });
    for (const optTtl of [0, 0x8000]) {
      const seen = await h.ask({ name, flags: 0x0110, opt: 1232, optTtl });
      expect([seen.rcode, seen.answers.length]).to.deep.equal([0, 0]);
    }
    expect(h.upstream.count(name, T.A)).to.equal(0);
    expect((await h.ask({ name, opt: 1232, optTtl: 0x8000 })).answers).to.deep.equal([`${name} AAAA 120 ${V6}`]);
  });

  it('D6147-5.5-b: a SERVFAIL that says "bogus" stays SERVFAIL', async () => {
    const name = fresh();
    const raw = (sent: Buffer) => {
      const ede = Buffer.from('0000290400000000000006000f00020006', 'hex');
      const end = 12 + name.length + 2 + 4;
      const bytes = Buffer.concat([sent.subarray(0, end), ede]);
      bytes.writeUInt16BE(0x8182, 2);
      bytes[11] = 1;
      return [bytes];
    };
    h.upstream.on(name, T.AAAA, { raw }).on(name, T.A, { answers: [rr.a(name, V4)] });
    expect((await h.ask({ name })).rcode).to.equal(2);
  });

  it('A6052-3.1-a: under an own prefix private addresses are shown, what never is a destination is not', async () => {
    const name = fresh();
    h.upstream
      .on(name, T.AAAA, CHASED)
      .on(name, T.A, { answers: [rr.a(name, '10.0.0.1'), rr.a(name, '127.0.0.1'), rr.a(name, '169.254.169.254')] });
    expect((await h.ask({ name })).answers).to.deep.equal([`${name} AAAA 120 2001:db8:64::a00:1`]);
  });
});

describe('DNS64 with other settings', () => {
  it('A6052-3.1-a: D6147-5.1.7-d: non-global IPv4 does not appear under 64:ff9b::/96, unless allowed (C-01)', () =>
    withHarness(
      {
        prefixes: [WELL_KNOWN_PREFIX],
        destinations: destinations({ allowNonGlobalIpv4: [parseIp4Net('10.1.0.0/16')] }),
      },
      async (h) => {
        const only = (name: string, ...addresses: string[]) =>
          h.upstream.on(name, T.AAAA, CHASED).on(name, T.A, { answers: addresses.map((one) => rr.a(name, one)) });
        only('private.example', '10.0.0.1');
        only('mixed.example', '10.0.0.1', '8.8.8.8');
        only('allowed.example', '10.1.0.1');
        const nodata = await h.ask({ name: 'private.example' });
        expect([nodata.rcode, nodata.answers.length, nodata.authorities.length]).to.deep.equal([0, 0, 1]);
        expect((await h.ask({ name: 'mixed.example' })).answers).to.deep.equal([
          'mixed.example AAAA 120 64:ff9b::808:808',
        ]);
        expect((await h.ask({ name: 'allowed.example' })).answers).to.deep.equal([
          'allowed.example AAAA 120 64:ff9b::a01:1',
        ]);
      },
    ));

  it('D6147-5.2-d: all six prefix lengths, and one AAAA per prefix', () => {
    const texts = ['2001:db8::', '2001:db8:100::', '2001:db8:122::', '2001:db8:122:300::', '2001:db8:122:344::'];
    const prefixes = [...texts, '2001:db8:122:344::'].map((text, i) => parsePrefix64(`${text}/${PREFIX_LENGTHS[i]}`));
    return withHarness({ prefixes }, async (h) => {
      h.upstream.on('six.example', T.AAAA, CHASED).on('six.example', T.A, { answers: [rr.a('six.example', V4)] });
      const seen = await h.ask({ name: 'six.example', opt: 1232 });
      expect(seen.answers).to.deep.equal(
        prefixes.map((prefix) => `six.example AAAA 120 ${formatIp6(embedIp4(prefix, parseIp4(V4)))}`),
      );
    });
  });

  it('D6147-5.1.1-b: translateAll shows the IPv4 side, and the real AAAA where there is none', () =>
    withHarness({ translateAll: true }, async (h) => {
      h.upstream
        .on('both.example', T.AAAA, { answers: [rr.aaaa('both.example', '2001:db8::7')] })
        .on('both.example', T.A, { answers: [rr.a('both.example', V4)] })
        .on('six.example', T.AAAA, { answers: [rr.aaaa('six.example', '2001:db8::6')] })
        .on('six.example', T.A, CHASED);
      expect((await h.ask({ name: 'both.example' })).answers).to.deep.equal([`both.example AAAA 300 ${V6}`]);
      expect((await h.ask({ name: 'six.example' })).answers).to.deep.equal(['six.example AAAA 300 2001:db8::6']);
    }));

  it('D6147-5.1.4-a: the exclusion list is configurable', () =>
    withHarness({ excludeAaaa: [parseIp6Net('2001:db8:bad::/48')] }, async (h) => {
      h.upstream
        .on('x.example', T.AAAA, { answers: [rr.aaaa('x.example', '2001:db8:bad::1')] })
        .on('x.example', T.A, { answers: [rr.a('x.example', V4)] });
      expect((await h.ask({ name: 'x.example' })).answers).to.deep.equal([`x.example AAAA 300 ${V6}`]);
    }));

  it('tells which name led whom to which address, from the cache too', async () => {
    const told: string[] = [];
    await withHarness(
      {
        onSynthesized: (name, v4, ttl, client) => told.push(`${name} ${v4.toString(16)} ${ttl} ${client}`),
        prefixes: [P6, WELL_KNOWN_PREFIX],
      },
      async (h) => {
        h.upstream.on('n.example', T.AAAA, CHASED).on('n.example', T.A, { answers: [rr.a('n.example', V4)] });
        await h.ask({ name: 'N.example' });
        await h.ask({ name: 'n.example' });
      },
    );
    expect(told).to.deep.equal(['n.example c0000221 120 127.0.0.1', 'n.example c0000221 120 127.0.0.1']);
  });
});
