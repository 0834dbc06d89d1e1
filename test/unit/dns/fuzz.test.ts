// SPDX-License-Identifier: Apache-2.0
// The whole of the DNS half against octets that nobody would send on purpose: every query gets at most one answer, none
// is waited for, nothing falls over; and synthesis against dns2's reading of the same messages.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { Packet } from 'dns2';
import { embedIp4 } from '../../../src/addr/rfc6052.ts';
import { formatIp6, parseIp4 } from '../../../src/addr/ip.ts';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { synthesize } from '../../../src/dns/synth.ts';
import { readMessage } from '../../../src/dns/wire.ts';
import { drawn, holds } from '../../helpers/property.ts';
import { destinations, exchangeUdp, Harness, P6, query, see } from './harness.ts';
import { encode, rr, T } from './scripted-server.ts';

describe('DNS under random octets', () => {
  let h: Harness;
  before(async () => {
    h = await Harness.start();
  });
  after(() => h.stop());

  it('broken answers of upstream become answers in time, and the service lives on', async () => {
    const random = drawn(
      fc.record({ seed: fc.nat(), at: fc.nat(400), value: fc.nat(255), cut: fc.nat(40), counts: fc.nat(5) }),
      400,
    );
    let i = 0;
    for (let batch = 0; batch < 8; batch++) {
      const asks = random.slice(batch * 50, batch * 50 + 50).map(async ({ at, value, cut, counts }) => {
        const name = `f${++i}.example`;
        const mutate = (sent: Buffer) => {
          const questionEnd = 12 + name.length + 2 + 4;
          const bytes = encode(sent, {
            answers: [rr.cname(name, `t.${name}`), rr.a(`t.${name}`, '192.0.2.1'), rr.mx(name, `m.${name}`)],
            authorities: [rr.soa('example', 60), rr.ns('example', 'ns.example')],
          });
          // ID, flags and question stay, or it would be no answer to anybody.
          bytes[questionEnd + (at % (bytes.length - questionEnd))] = value;
          if (counts === 0) bytes[6 + (at % 6)] = value;
          return [bytes.subarray(0, Math.max(questionEnd, bytes.length - (cut > 20 ? cut : 0)))];
        };
        const real = encode(query({ name }), { authorities: [rr.soa('example', 60)] });
        h.upstream.on(name, T.A, { raw: mutate });
        h.upstream.on(name, T.AAAA, at % 2 ? { raw: mutate } : { raw: (sent) => [withId(real, sent)] });
        const startedAt = performance.now();
        const [answer] = await exchangeUdp(h.port, query({ name, opt: 1232 }));
        expect(answer, name).to.not.equal(undefined);
        // A changed octet may also claim EDNS, or TC; that is asked again. Two seconds hold all the same.
        expect(performance.now() - startedAt, name).to.be.below(2000);
      });
      await Promise.all(asks);
    }
    h.upstream
      .on('alive.example', T.AAAA, {})
      .on('alive.example', T.A, { answers: [rr.a('alive.example', '192.0.2.1')] });
    expect((await h.ask({ name: 'alive.example' })).answers).to.have.length(1);
  });

  it('broken queries get one answer or none', async () => {
    const real = query({ name: 'www.example', opt: 1232, options: Buffer.from('fde900012a', 'hex') });
    const broken = drawn(
      fc.tuple(fc.nat(real.length - 1), fc.nat(255), fc.nat(real.length)).map(([at, value, length]) => {
        const bytes = Buffer.from(real.subarray(0, Math.max(1, length)));
        if (at < bytes.length) bytes[at] = value;
        return bytes;
      }),
      300,
    );
    h.upstream.fallback = { rcode: 3 };
    const answers = await Promise.all(broken.map((bytes) => exchangeUdp(h.port, bytes, 600, true)));
    for (const [i, got] of answers.entries()) {
      expect(got.length, broken[i]?.toString('hex')).to.be.at.most(1);
      const bytes = broken[i] as Buffer;
      const isQuery = bytes.length >= 12 && ((bytes[2] as number) & 0x80) === 0;
      expect(got.length, bytes.toString('hex')).to.equal(isQuery ? 1 : 0);
    }
    expect((await h.ask({ name: 'alive.example' })).answers).to.have.length(1);
  });
});

describe('synthesis, read by dns2', () => {
  const host = fc.constantFrom('www.example.org', 'a.example.org', 'b.c.example.org', 'example.org', 'other.example');
  const address = fc.nat(255).map((last) => `198.51.100.${last}`);
  const answer = fc.oneof(
    { weight: 3, arbitrary: fc.tuple(host, address, fc.nat(1000)).map(([name, v4, ttl]) => rr.a(name, v4, ttl)) },
    fc.tuple(host, host).map(([name, target]) => rr.cname(name, target)),
  );
  const other = fc.oneof(
    fc.tuple(host, host).map(([name, target]) => rr.ns(name, target)),
    host.map((name) => rr.soa(name, 60)),
    fc.tuple(host, address).map(([name, v4]) => rr.a(name, v4)),
    fc.tuple(host, host).map(([name, target]) => rr.mx(name, target)),
  );

  it('D6147-5.1.7-a: D6147-5.3.2-a: each A of the answer and nothing else has changed', () => {
    const script = fc.record({
      answers: fc.array(answer, { minLength: 1, maxLength: 12 }),
      authorities: fc.array(other, { maxLength: 4 }),
      additionals: fc.array(other, { maxLength: 4 }),
    });
    holds(
      fc.property(script, (records) => {
        const bytes = encode(query({ name: 'www.example.org', type: 1 }), records);
        const policy = { prefixes: [P6], translateAll: false, excludeAaaa: [], destinations: destinations() };
        const { message } = synthesize(readMessage(bytes), policy, 500);
        expect(message, 'what it says of its octets').to.deep.equal(readMessage(message.bytes));
        const ttl = Math.min(500, ...records.answers.filter(({ type }) => type === T.A).map((one) => one.ttl));
        const before = see(bytes);
        const after = see(message.bytes);
        const expected = before.answers.map((line) => {
          const [name, type, , data] = line.split(' ');
          if (type !== 'A') return line;
          return `${name} AAAA ${ttl} ${formatIp6(embedIp4(P6, parseIp4(data ?? '')))}`;
        });
        expect(after.answers).to.deep.equal(expected);
        expect(after.authorities).to.deep.equal(before.authorities);
        expect(after.additionals).to.deep.equal(before.additionals);
        expect(Packet.parse(message.bytes).questions[0]?.type).to.equal(T.AAAA);
      }),
      { runs: 500 },
    );
  });
});

describe('messages in a stream', () => {
  it('come out whole, however the stream is cut', () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 });
    holds(
      fc.property(messages, fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (sent, cuts) => {
        const stream = Buffer.concat(sent.map((message) => frame(Buffer.from(message))));
        const got: Buffer[] = [];
        const reader = new FrameReader();
        for (let at = 0, i = 0; at < stream.length; i++) {
          const size = cuts[i % cuts.length] as number;
          reader.push(stream.subarray(at, at + size), (message) => got.push(Buffer.from(message)));
          at += size;
        }
        expect(got.map((one) => one.toString('hex'))).to.deep.equal(
          sent.map((one) => Buffer.from(one).toString('hex')),
        );
        expect(reader.hasPartial).to.equal(false);
      }),
    );
  });
});

function withId(bytes: Buffer, sent: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  sent.copy(copy, 0, 0, 2);
  return copy;
}
