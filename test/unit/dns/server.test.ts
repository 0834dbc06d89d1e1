// SPDX-License-Identifier: Apache-2.0
// gate64 as a server: errors, EDNS, truncation, TCP, and octets passed on as they came. dns64-and-coredns.md §2.1, §2.2.

import { connect } from 'node:net';
import { expect } from 'chai';
import { exchangeTcp, exchangeUdp, Harness, query, see, type Ask } from './harness.ts';
import { encode, rr, T } from './scripted-server.ts';

const SOA = rr.soa('example', 120);

const changed = (ask: Ask, change: (bytes: Buffer) => void) => {
  const bytes = query(ask);
  change(bytes);
  return bytes;
};

/** An upstream that answers with the query, its last two octets (of an EDNS option) changed. */
const echo = (sent: Buffer) => {
  const bytes = Buffer.from(sent);
  bytes.writeUInt16BE(0x8180, 2);
  bytes.writeUInt16BE(0x2b2b, bytes.length - 2);
  return [bytes];
};

describe('DNS server', () => {
  let h: Harness;
  let n = 0;
  const fresh = () => `s${++n}.example`;

  before(async () => {
    h = await Harness.start();
  });
  after(() => h.stop());

  const send = async (bytes: Buffer): Promise<Buffer> => {
    const [answer] = await exchangeUdp(h.port, bytes);
    if (answer === undefined) throw new Error('no answer');
    return answer;
  };
  it('answers FORMERR, NOTIMP, REFUSED and BADVERS with the question copied', async () => {
    const name = 'x.example';
    const cases: [string, Buffer, number, number][] = [
      ['opcode STATUS', changed({ name }, (b) => b.writeUInt16BE(0x1100, 2)), 4, 1],
      ['two questions', changed({ name }, (b) => b.writeUInt16BE(2, 4)), 1, 0],
      ['two answers', changed({ name }, (b) => b.writeUInt16BE(2, 6)), 1, 1],
      ['three additional records', changed({ name }, (b) => b.writeUInt16BE(3, 10)), 1, 1],
      ['a question cut off', query({ name }).subarray(0, 16), 1, 0],
      ['octets behind the end', Buffer.concat([query({ name }), Buffer.from([1])]), 1, 1],
      ['AXFR', query({ name, type: 252 }), 5, 1],
    ];
    for (const [what, bytes, rcode, questions] of cases) {
      const answer = await send(bytes);
      expect([(answer[3] ?? 0) & 15, answer.readUInt16BE(4)], what).to.deep.equal([rcode, questions]);
      expect(answer.readUInt16BE(0), what).to.equal(bytes.readUInt16BE(0));
      expect((answer[2] ?? 0) & 0x80, what).to.equal(0x80);
    }
    const badVersion = await send(query({ name, opt: 1232, optTtl: 0x00010000 }));
    expect(badVersion.subarray(-11).readUInt32BE(5) >>> 24, 'BADVERS, upper bits').to.equal(1);
    expect((badVersion[3] ?? 0) & 15, 'BADVERS, lower bits').to.equal(0);
  });

  it('says that it recurses, whoever answers it and whatever it says', async () => {
    const name = fresh();
    const authoritative = (sent: Buffer) => {
      const bytes = encode(sent, { answers: [rr.a(name, '192.0.2.1')] });
      bytes.writeUInt16BE(0x8500, 2);
      return [bytes];
    };
    h.upstream.on(name, T.A, { raw: authoritative });
    const first = await h.ask({ name, type: T.A });
    expect([first.answers.length, first.flags]).to.deep.equal([1, 0x8580]);
    expect((await h.ask({ name, type: T.A })).flags & 0x80, 'from the cache').to.equal(0x80);
    expect((await send(query({ name, type: 252 }))).readUInt16BE(2)).to.equal(0x8185);
    const unknown = await send(query({ name, type: T.A, opt: 1232, options: Buffer.from('fde900012a', 'hex') }));
    expect(unknown.readUInt16BE(2) & 0x80).to.equal(0x80);
  });

  it('is silent to answers and to fragments of a header', async () => {
    for (const bytes of [changed({ name: 'x.example' }, (b) => b.writeUInt16BE(0x8180, 2)), Buffer.alloc(5)]) {
      expect(await exchangeUdp(h.port, bytes, 150)).to.deep.equal([]);
    }
  });

  it('answers once', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { authorities: [SOA] }).on(name, T.A, { answers: [rr.a(name, '192.0.2.1')] });
    expect(await exchangeUdp(h.port, query({ name }), 300, true)).to.have.length(1);
  });

  it('passes on what it does not synthesize octet for octet', async () => {
    const name = fresh();
    const script = {
      answers: [
        rr.raw(name, 65, Buffer.from('0001000001000302683200040004c0000201', 'hex')),
        rr.raw(name, T.TXT, Buffer.from([3, 0xff, 0xfe, 0x80])),
        rr.raw(name, 65280, Buffer.from('c00c', 'hex')),
      ],
      authorities: [SOA],
    };
    h.upstream.on(name, 65, script);
    const sent = query({ name, type: 65 });
    expect((await send(sent)).equals(encode(sent, script))).to.equal(true);
  });

  it('D6147-5.3.3-a: an A answer stays one', async () => {
    const name = fresh();
    h.upstream.on(name, T.A, { answers: [rr.a(name, '192.0.2.1', 77)] });
    expect((await h.ask({ name, type: T.A })).answers).to.deep.equal([`${name} A 77 192.0.2.1`]);
  });

  it('hands unknown EDNS options to upstream and back, never out of the cache', async () => {
    const name = fresh();
    const option = Buffer.from('fde900042a2a2a2a', 'hex');
    h.upstream.on(name, T.MX, { raw: echo });
    for (let i = 0; i < 2; i++) {
      const sent = query({ name, type: T.MX, opt: 1400, options: option });
      const expected = Buffer.from(sent);
      expected.writeUInt16BE(0x8180, 2);
      expected.writeUInt16BE(0x2b2b, expected.length - 2);
      expect((await send(sent)).equals(expected)).to.equal(true);
    }
    expect(h.upstream.count(name, T.MX)).to.equal(2);
    expect(h.upstream.asked.at(-1)?.query.includes(option)).to.equal(true);
  });

  it('synthesizes for a client with unknown EDNS options, asking with them', async () => {
    const name = fresh();
    const option = Buffer.from('fde900012a', 'hex');
    h.upstream.on(name, T.AAAA, { authorities: [SOA] }).on(name, T.A, { answers: [rr.a(name, '192.0.2.1')] });
    const seen = await h.ask({ name, opt: 1232, options: option });
    expect(seen.answers).to.deep.equal([`${name} AAAA 120 2001:db8:64::c000:201`]);
    const asked = h.upstream.asked.filter((one) => one.name === name);
    expect(asked.every((one) => one.query.includes(option))).to.equal(true);
  });

  it('answers OPT with OPT, nothing with nothing, and says that it synthesized (RFC 8914)', async () => {
    const name = fresh();
    h.upstream.on(name, T.AAAA, { authorities: [SOA] }).on(name, T.A, { answers: [rr.a(name, '192.0.2.1')] });
    const withOpt = (await h.ask({ name, opt: 1232, optTtl: 0x8000 })).bytes;
    expect(withOpt.subarray(-17).toString('hex')).to.equal('00002904d0000080000006000f0002001d');
    const cookie = Buffer.from('000a00080102030405060708', 'hex');
    const withCookie = (await h.ask({ name, opt: 1232, options: cookie })).bytes;
    expect(withCookie.includes(cookie)).to.equal(false);
    expect((await h.ask({ name })).bytes.readUInt16BE(10)).to.equal(0);
  });

  it('D6147-5.4-b: forty A do not fit 512 octets: TC=1 and what fits, with OPT; over TCP all come', async () => {
    const name = fresh();
    const addresses = Array.from({ length: 40 }, (_, i) => `192.0.2.${i + 1}`);
    h.upstream.on(name, T.AAAA, { authorities: [SOA] });
    h.upstream.onTransport(name, T.A, 'udp', { tc: true });
    h.upstream.onTransport(name, T.A, 'tcp', { answers: addresses.map((one) => rr.a(name, one)) });
    const plain = query({ name });
    const small = await send(plain);
    expect(small.readUInt16BE(2) & 0x0200).to.equal(0x0200);
    // RFC 2181 §9; musl before 1.2.4 makes do with these.
    const first = addresses
      .slice(0, Math.floor((512 - plain.length) / 28))
      .map((_, i) => `2001:db8:64::c000:2${(i + 1).toString(16).padStart(2, '0')}`);
    expect(see(small).answers).to.deep.equal(first.map((one) => `${name} AAAA 120 ${one}`));
    expect([small.length <= 512, small.readUInt16BE(8), small.readUInt16BE(10)]).to.deep.equal([true, 0, 0]);
    // 40 records of 28 octets: 1120 and more, which 1232 takes.
    expect(see(await send(query({ name, opt: 1232 }))).answers).to.have.length(40);
    const sent = query({ name, opt: 1100 });
    h.clock.offsetMs += 20_000;
    const tooSmall = await send(sent);
    h.clock.offsetMs = 0;
    expect([tooSmall.readUInt16BE(2) & 0x0200, tooSmall.readUInt16BE(10)]).to.deep.equal([0x0200, 1]);
    expect(tooSmall.subarray(-11).toString('hex')).to.equal('00002904d0000000000000');
    const kept = see(tooSmall).answers;
    expect([kept.length, kept.every((line) => line.includes(' AAAA 100 '))]).to.deep.equal([
      Math.floor((1100 - sent.length) / 28),
      true,
    ]);
    const [overTcp] = await exchangeTcp(h.port, [query({ name })]);
    expect(see(overTcp as Buffer).answers).to.have.length(40);
    expect(h.upstream.asked.some((one) => one.name === name && one.transport === 'tcp')).to.equal(true);
  });

  it('answers over UDP with 1232 octets at most, or as the configuration says, kept answers too', async () => {
    const name = fresh();
    const addresses = Array.from({ length: 60 }, (_, i) => rr.a(name, `192.0.2.${i + 1}`));
    h.upstream.on(name, T.AAAA, { authorities: [SOA] }).on(name, T.A, { answers: addresses });
    const isTruncated = async () => ((await send(query({ name, opt: 4096 }))).readUInt16BE(2) & 0x0200) !== 0;
    const asked = async () => [await isTruncated(), h.upstream.count(name, T.A)];
    expect(await asked()).to.deep.equal([true, 1]);
    await h.reload({ maxUdpSize: 4096 });
    expect(await asked()).to.deep.equal([false, 1]);
    await h.reload();
    expect(await asked()).to.deep.equal([true, 1]);
  });

  it('an RRset of 64 KB is answered by TCP where it fits after synthesis, else refused, and that is remembered', async () => {
    const records = (count: number) => (sent: Buffer) => {
      const head = Buffer.from(sent.subarray(0, sent.indexOf(Buffer.from('0000010001', 'hex'), 12) + 5));
      head.writeUInt16BE(0x8180, 2);
      head.writeUInt16BE(count, 6);
      head.writeUInt16BE(0, 10);
      const record = Buffer.from('c00c00010001000001', 'hex');
      const all = Array.from({ length: count }, (_, i) =>
        Buffer.concat([record, Buffer.from([44, 0, 4, 198, 51, 100 + (i >> 8), i & 255])]),
      );
      return [Buffer.concat([head, ...all])];
    };
    const [fits, tooLarge] = [fresh(), fresh()];
    for (const [name, count] of [
      [fits, 2300],
      [tooLarge, 4000],
    ] as const) {
      h.upstream.on(name, T.AAAA, { authorities: [SOA] });
      h.upstream.onTransport(name, T.A, 'udp', { tc: true }).onTransport(name, T.A, 'tcp', { raw: records(count) });
    }
    const [whole] = await exchangeTcp(h.port, [query({ name: fits, opt: 1232 })]);
    expect([whole?.readUInt16BE(6), (whole?.length ?? 0) > 64_000]).to.deep.equal([2300, true]);
    for (let i = 0; i < 3; i++) {
      const [refused] = await exchangeTcp(h.port, [query({ name: tooLarge, opt: 1232 })]);
      expect((refused?.[3] ?? 0) & 15).to.equal(2);
      expect(refused?.includes('too large')).to.equal(true);
    }
    expect(h.upstream.asked.filter(({ name }) => name === tooLarge).map(({ transport }) => transport)).to.have.members([
      'udp',
      'udp',
      'tcp',
    ]);
  });

  it('answers pipelined queries on one TCP connection, in any order (RFC 7766)', async () => {
    const slow = fresh();
    const quick = fresh();
    h.upstream.on(slow, T.A, { answers: [rr.a(slow, '192.0.2.1')], delayMs: 150 });
    h.upstream.on(quick, T.A, { answers: [rr.a(quick, '192.0.2.2')] });
    const got = await exchangeTcp(h.port, [query({ name: slow, type: T.A }), query({ name: quick, type: T.A })]);
    expect(got.map((bytes) => see(bytes).answers[0]?.split(' ')[0])).to.deep.equal([quick, slow]);
  });

  it('answers a client that sends octet by octet and closes its half (RFC 7766 §6.2.3)', async () => {
    const name = fresh();
    h.upstream.on(name, T.A, { answers: [rr.a(name, '192.0.2.1')], delayMs: 50 });
    const bytes = query({ name, type: T.A });
    const got = await new Promise<Buffer>((resolve, reject) => {
      const socket = connect(h.port, '127.0.0.1', () => void write().catch(reject));
      const write = async () => {
        socket.setNoDelay(true);
        for (const octet of [0, bytes.length, ...bytes]) {
          socket.write(Buffer.from([octet]));
          await new Promise((done) => setImmediate(done));
        }
        socket.end();
      };
      const chunks: Buffer[] = [];
      socket.on('data', (chunk: Buffer) => chunks.push(chunk));
      socket.on('error', reject);
      socket.on('end', () => resolve(Buffer.concat(chunks)));
    });
    expect(got.readUInt16BE(0)).to.equal(got.length - 2);
    expect(see(got.subarray(2)).answers).to.have.length(1);
  });

  it('serves many clients at once', async () => {
    const names = Array.from({ length: 200 }, () => fresh());
    for (const name of names) h.upstream.on(name, T.AAAA, {}).on(name, T.A, { answers: [rr.a(name, '192.0.2.9')] });
    const seen = await Promise.all(names.map((name) => h.ask({ name })));
    expect(seen.every((one) => one.answers.length === 1)).to.equal(true);
  });
});

describe('DNS server on IPv6', () => {
  it('D6147-6.3-a: serves both transports alike (C-30 as overturned in architecture.md)', async () => {
    const h = await Harness.start({
      listen: [
        { family: 4, host: '127.0.0.1', port: 0 },
        { family: 6, host: '::1', port: 0 },
      ],
    });
    try {
      h.upstream.on('v.example', T.AAAA, {}).on('v.example', T.A, { answers: [rr.a('v.example', '192.0.2.9')] });
      for (const { protocol, address, port } of h.dns.listeners) {
        if (protocol === 'tcp') continue;
        const [answer] = await exchangeUdp(port, query({ name: 'v.example' }), 2000, false, address);
        expect(see(answer as Buffer).answers, address).to.deep.equal(['v.example AAAA 300 2001:db8:64::c000:209']);
      }
    } finally {
      await h.stop();
    }
  });
});
