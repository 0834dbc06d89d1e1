// SPDX-License-Identifier: Apache-2.0
// Answers that the kernel gives (bpf/dns.bpf.c): octet for octet what user space would have said, or nothing.

import { expect } from 'chai';
import fc from 'fast-check';
import { render, toAnswer, type Answer } from '../../src/dns/answer.ts';
import { AnswerCache } from '../../src/dns/cache.ts';
import { HotAnswers } from '../../src/dns/hot.ts';
import { queryKey, readQuery, type Query } from '../../src/dns/query.ts';
import { readMessage } from '../../src/dns/wire.ts';
import { KernelAnswers } from '../../src/kernel-dns/kernel-answers.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth, pseudoSum, sum16, type Packet } from '../helpers/packet.ts';
import { holds, SEED } from '../helpers/property.ts';
import { query, type Ask } from '../unit/dns/harness.ts';

const PORT = 5364;
const LO = 1;
const REDIRECT = 7;
const PASS = 0xffff_ffff;
const MAX_OCTETS = 1232;
const CLIENT = { 4: '192.0.2.10', 6: '2001:db8::10' } as const;
const ASKED = { 4: '192.0.2.1', 6: '2001:db8::1' } as const;

type Family = 4 | 6;

interface Resource {
  readonly type: number;
  readonly ttl: number;
  readonly rdata: Buffer;
}

/** An upstream's message with records that all belong to the name asked for. */
function response(
  asked: Buffer,
  flags: number,
  answers: readonly Resource[],
  authorities: readonly Resource[],
): Buffer {
  const { questionEnd } = readQuery(asked) as Query;
  const head = Buffer.from(asked.subarray(0, questionEnd));
  head.writeUInt16BE(flags, 2);
  head.writeUInt16BE(answers.length, 6);
  head.writeUInt16BE(authorities.length, 8);
  head.writeUInt16BE(0, 10);
  const records = [...answers, ...authorities].map(({ type, ttl, rdata }) => {
    const record = Buffer.alloc(12);
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(type, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(ttl, 6);
    record.writeUInt16BE(rdata.length, 10);
    return Buffer.concat([record, rdata]);
  });
  return Buffer.concat([head, ...records]);
}

const aaaa = (ttl: number, last = 1): Resource => ({
  type: 28,
  ttl,
  rdata: Buffer.from(`20010db80000000000000000000000${last.toString(16).padStart(2, '0')}`, 'hex'),
});

/** A resolver's user-space half, as far as the kernel's half hangs on it. */
class Rig implements Disposable {
  readonly kernel = KernelAnswers.open();
  readonly cache: AnswerCache;
  readonly hot: HotAnswers;
  readonly problems: unknown[] = [];
  readonly used = new Set<string>();

  constructor(now: () => number = () => performance.now()) {
    this.cache = new AnswerCache({ maxEntries: 10_000, maxBytes: 64 << 20 }, now);
    this.hot = new HotAnswers(this.kernel, {
      onUse: (key) => this.used.add(key),
      onProblem: (error) => this.problems.push(error),
    });
    this.hot.configure([53, PORT], MAX_OCTETS);
  }

  store(asked: Buffer, answers: readonly Resource[], more: { flags?: number; authorities?: Resource[] } = {}): Answer {
    const answer = toAnswer(readMessage(response(asked, more.flags ?? 0x8180, answers, more.authorities ?? [])), false);
    const q = readQuery(asked) as Query;
    this.cache.put(queryKey(q, q.type), answer);
    return answer;
  }

  /** Given from the cache, so often that it is hot. */
  serve(asked: Buffer, family: Family = 6, client: string = CLIENT[family], times = 4): void {
    const q = readQuery(asked) as Query;
    const local = { address: ASKED[family], port: PORT, ifindex: LO };
    for (let i = 0; i < times; i++) {
      const served = this.cache.get(queryKey(q, q.type));
      const from = { address: client, port: 4000, local };
      if (served) this.hot.served(served, q, from, Math.min(q.udpSize, MAX_OCTETS), performance.now());
    }
  }

  /** What user space says to it now; undefined: not from the cache. */
  expected(asked: Buffer): Buffer | undefined {
    const q = readQuery(asked);
    if (q === undefined || 'rcode' in q || q.isRaw) return undefined;
    const served = this.cache.get(queryKey(q, q.type));
    return served && render(served, q, Math.min(q.udpSize, MAX_OCTETS));
  }

  run(packet: Packet | Uint8Array): { verdict: number; frame: Uint8Array } {
    const bytes = packet instanceof Uint8Array ? packet : packet.build();
    // struct __sk_buff: ifindex stands at octet 40.
    const ctx = Buffer.alloc(192);
    ctx.writeUInt32LE(LO, 40);
    const { retval, data } = this.kernel.program.testRun(bytes, { ctxIn: ctx, ctxOut: false, dataOutSize: 2048 });
    return { verdict: retval, frame: data };
  }

  /** The kernel's answer, its frame checked; undefined when it passes the question on untouched. */
  ask(asked: Buffer, family: Family = 6, client: string = CLIENT[family]): Buffer | undefined {
    const packet = datagram(asked, family, client).build();
    // To the loopback interface's own, by which it runs.
    packet.set([2, 0, 0, 0, 0, 10], 6);
    const { verdict, frame } = this.run(packet);
    if (verdict === PASS) {
      expect(Buffer.from(frame).equals(packet), 'untouched').to.equal(true);
      return undefined;
    }
    expect(verdict).to.equal(REDIRECT);
    return readReply(packet, frame, family);
  }

  [Symbol.dispose](): void {
    this.hot.close();
    expect(this.problems).to.deep.equal([]);
  }
}

function datagram(asked: Uint8Array, family: Family, client: string = CLIENT[family]): Packet {
  const ip = eth();
  const to = { src: client, dst: ASKED[family] };
  return (family === 6 ? ip.ip6({ ...to, flowLabel: 0x12345 }) : ip.ip4({ ...to, tos: 4, ttl: 7, id: 9 }))
    .udp({ sport: 4000, dport: PORT })
    .payload(asked);
}

function readReply(question: Uint8Array, frame: Uint8Array, family: Family): Buffer {
  expect([...frame.subarray(0, 6)], 'to who asked').to.deep.equal([...question.subarray(6, 12)]);
  expect([...frame.subarray(6, 12)]).to.deep.equal([...question.subarray(0, 6)]);
  const l3 = frame.subarray(14);
  const before = parseIp(question.subarray(14));
  const ip = parseIp(l3);
  expect(ip.length, 'no octet more').to.equal(l3.length);
  expect([[...ip.src], [...ip.dst]]).to.deep.equal([[...before.dst], [...before.src]]);
  expect([ip.ttl, ip.tos, ip.protocol]).to.deep.equal([64, 0, 17]);
  if (family === 4) {
    expect(sum16(l3.subarray(0, 20)), 'IPv4 header checksum').to.equal(0xffff);
    expect([ip.id, ip.df]).to.deep.equal([0, true]);
  }
  const udp = Buffer.from(ip.l4);
  expect([udp.readUInt16BE(0), udp.readUInt16BE(2), udp.readUInt16BE(4)]).to.deep.equal([PORT, 4000, udp.length]);
  expect(sum16(udp, pseudoSum(ip, 17, udp.length)) % 0xffff, 'UDP checksum').to.equal(0);
  return udp.subarray(8);
}

describe('DNS answers by the kernel', () => {
  const ask: Ask = { name: 'www.example.com', opt: 1232 };

  for (const family of [4, 6] as const) {
    it(`answers over IPv${family} what user space answers, ID, case and EDNS as asked`, () => {
      using rig = new Rig();
      const names = ['www.example.com', 'WWW.eXample.Com', 'a.b', 'odd.example'];
      for (const opt of [undefined, 512, 1232, 4096]) {
        for (const flags of [0, 0x0100, 0x0110, 0x0120]) {
          for (const name of names) {
            const asked = query({ name, flags, ...(opt === undefined ? {} : { opt, optTtl: 0x8000 }) });
            if (!rig.expected(asked)) rig.store(asked, [aaaa(300), aaaa(60, 2)]);
            expect(rig.ask(asked, family), 'before user space has told it').to.equal(undefined);
            rig.serve(asked, family);
            const again = query({ name, flags, ...(opt === undefined ? {} : { opt, optTtl: 0x8000 }) });
            expect(rig.ask(again, family)?.toString('hex')).to.equal(rig.expected(again)?.toString('hex'));
            rig.hot.flush();
          }
        }
      }
    });
  }

  it('counts TTLs down, drops AA with the first second, and ends with the answer’s time', () => {
    let beforeMs = 0;
    using rig = new Rig(() => performance.now() - beforeMs);
    const stored = (secondsAgo: number) => {
      const asked = query({ ...ask, name: `s${secondsAgo}.example` });
      beforeMs = secondsAgo * 1000;
      rig.store(asked, [aaaa(30), aaaa(20, 2), aaaa(1000, 3)], { flags: 0x8580 });
      beforeMs = 0;
      return asked;
    };
    for (const seconds of [0, 1, 7, 18]) {
      const asked = stored(seconds);
      rig.serve(asked, 6, CLIENT[6], 20);
      const answer = rig.ask(asked);
      expect(answer?.toString('hex')).to.equal(rig.expected(asked)?.toString('hex'));
      expect((answer as Buffer).readUInt16BE(2) & 0x0400).to.equal(seconds === 0 ? 0x0400 : 0);
    }
    const over = stored(19.5);
    rig.serve(over, 6, CLIENT[6], 20);
    expect(rig.ask(over), 'less than a second is left').to.equal(undefined);
  });

  it('passes on when its time is over, though the entry stands', async () => {
    using rig = new Rig();
    const asked = query(ask);
    rig.store(asked, [aaaa(2)]);
    rig.serve(asked);
    expect(rig.ask(asked)).to.not.equal(undefined);
    await new Promise((resolve) => setTimeout(resolve, 2100));
    expect(rig.ask(asked)).to.equal(undefined);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    expect(rig.kernel.size, 'and it is taken out').to.equal(0);
  });

  it('gives an answer to those alone who have had it from user space, at the address that they asked', () => {
    using rig = new Rig();
    const asked = query(ask);
    rig.store(asked, [aaaa(300)]);
    rig.serve(asked, 6, '2001:db8::10');
    expect(rig.ask(asked, 6, '2001:db8::10')).to.not.equal(undefined);
    expect(rig.ask(asked, 6, '2001:db8::11'), 'another client').to.equal(undefined);
    expect(rig.ask(asked, 4, '192.0.2.10'), 'another address').to.equal(undefined);
    expect(rig.kernel.counts()).to.deep.equal({ answered: 1, passed: 2 });
  });

  it('says nothing that is no longer so: after a flush, and after a change of ports', () => {
    using rig = new Rig();
    const asked = query(ask);
    rig.store(asked, [aaaa(300)]);
    rig.serve(asked);
    expect(rig.ask(asked)).to.not.equal(undefined);
    rig.hot.flush();
    expect(rig.ask(asked)).to.equal(undefined);
    rig.serve(asked);
    expect(rig.ask(asked), 'told anew').to.not.equal(undefined);
    rig.hot.configure([53], MAX_OCTETS);
    rig.serve(asked);
    expect(rig.ask(asked), 'another port').to.equal(undefined);
  });

  it('D6147-5.5-b: what is longer than the client takes, or than it may be, is user space’s to truncate', () => {
    using rig = new Rig();
    const large = { name: 'large.example' };
    const asked = query({ ...large, opt: 1232 });
    rig.store(
      asked,
      Array.from({ length: 16 }, (_, i) => aaaa(300, i)),
    );
    rig.serve(asked);
    expect(rig.ask(asked)?.length).to.equal(rig.expected(asked)?.length);
    const small = query({ ...large, opt: 512 });
    const without = query(large);
    rig.serve(small);
    rig.serve(without);
    for (const one of [small, without]) {
      const fits =
        (rig.expected(one) as Buffer).length <= 512 && !((rig.expected(one) as Buffer).readUInt16BE(2) & 0x0200);
      expect(rig.ask(one) !== undefined).to.equal(fits);
    }
    rig.hot.configure([PORT], 512);
    rig.serve(asked);
    expect(rig.ask(asked) === undefined || (rig.ask(asked) as Buffer).length <= 512).to.equal(true);
  });

  it('leaves alone what it is not sure of', () => {
    using rig = new Rig();
    const asked = query(ask);
    rig.store(asked, [aaaa(300)]);
    rig.serve(asked, 6);
    rig.serve(asked, 4);
    const plain = query({ name: 'www.example.com' });
    rig.serve(plain, 6);
    expect(rig.ask(asked, 6)).to.not.equal(undefined);
    const changed = (at: number, octet: number, from = asked) => {
      const bytes = Buffer.from(from);
      bytes[at] = octet;
      return bytes;
    };
    const others: Record<string, Buffer> = {
      'an answer': changed(2, 0x81),
      'another opcode': changed(2, 0x29),
      'TC set': changed(2, 0x03),
      'Z set': changed(3, 0x40),
      'two questions': changed(5, 2),
      'an answer record announced': changed(7, 1),
      'two additional records': changed(11, 2),
      'no additional record announced': changed(11, 0),
      'class CH': changed(asked.length - 12, 3),
      'another type': changed(asked.length - 14, 1),
      'EDNS version 1': changed(asked.length - 5, 1),
      'an EDNS option': query({ ...ask, options: Buffer.from('000a0008aaaaaaaaaaaaaaaa', 'hex') }),
      'an octet more': Buffer.concat([asked, Buffer.alloc(1)]),
      'an octet less': asked.subarray(0, asked.length - 1),
      'a name of another structure': changed(15, 0x03),
      'RD not set': changed(2, 0),
      nothing: Buffer.alloc(0),
      'a header alone': asked.subarray(0, 12),
    };
    for (const [what, bytes] of Object.entries(others)) expect(rig.ask(bytes, 6), what).to.equal(undefined);
    const frames: Record<string, Packet> = {
      'no UDP checksum': eth()
        .ip4({ src: CLIENT[4], dst: ASKED[4] })
        .udp({ sport: 4000, dport: PORT, checksum: 0 })
        .payload(asked),
      'a fragment': eth()
        .ip4({ src: CLIENT[4], dst: ASKED[4], mf: true })
        .udp({ sport: 4000, dport: PORT })
        .payload(asked),
      'IPv4 options': eth()
        .ip4({ src: CLIENT[4], dst: ASKED[4], options: new Uint8Array(4).fill(1) })
        .udp({ sport: 4000, dport: PORT })
        .payload(asked),
      'an extension header': eth()
        .ip6({ src: CLIENT[6], dst: ASKED[6] })
        .destinationOptions(new Uint8Array(6))
        .udp({ sport: 4000, dport: PORT })
        .payload(asked),
      'a length that is not its own': eth()
        .ip6({ src: CLIENT[6], dst: ASKED[6] })
        .udp({ sport: 4000, dport: PORT, length: 20 })
        .payload(asked),
      'another port': eth().ip6({ src: CLIENT[6], dst: ASKED[6] }).udp({ sport: 4000, dport: 5353 }).payload(asked),
      'source port 0': eth().ip6({ src: CLIENT[6], dst: ASKED[6] }).udp({ sport: 0, dport: PORT }).payload(asked),
      TCP: eth().ip6({ src: CLIENT[6], dst: ASKED[6] }).tcp({ sport: 4000, dport: PORT }).payload(asked),
    };
    for (const [what, packet] of Object.entries(frames)) {
      const before = packet.build();
      const { verdict, frame } = rig.run(before);
      expect(verdict, what).to.equal(PASS);
      expect(Buffer.from(frame).equals(before), what).to.equal(true);
    }
  });

  it('a full map refuses what is more, and takes it again when there is room', () => {
    using rig = new Rig();
    for (let i = 0; i < 4200; i++) {
      const asked = query({ name: `n${i}.example` });
      rig.store(asked, [aaaa(300)]);
      rig.serve(asked);
    }
    expect(rig.kernel.size).to.equal(4096);
    const first = query({ name: 'n0.example' });
    expect(rig.ask(first)?.toString('hex')).to.equal(rig.expected(first)?.toString('hex'));
    expect(rig.ask(query({ name: 'n4199.example' }))).to.equal(undefined);
  });

  it('any question, whole or damaged, gets the answer of user space, or goes up untouched', function () {
    const runs = Number(process.env['GATE64_DNS_FUZZ'] ?? 20_000);
    this.timeout(30_000 + runs / 2);
    using rig = new Rig();
    const names = [
      'example',
      'www.example.com',
      'x.y.z.example.net',
      `${'l'.repeat(63)}.${'m'.repeat(50)}.example`,
      'v4only.example',
    ];
    const forms = [0, 0x0100, 0x0110, 0x0120, 0x0130].flatMap((flags) =>
      [undefined, 512, 1232].flatMap((opt) => [0, 0x8000].map((optTtl) => ({ flags, opt, optTtl }))),
    );
    const questions: Buffer[] = [];
    for (const name of names) {
      for (const type of [1, 28, 16]) {
        for (const { flags, opt, optTtl } of forms) {
          const asked = query({ name, type, flags, ...(opt === undefined ? {} : { opt, optTtl }) });
          if (!rig.expected(asked)) {
            const soa = {
              type: 6,
              ttl: 900,
              rdata: Buffer.concat([Buffer.from([0, 0]), Buffer.alloc(16), Buffer.from([0, 0, 1, 44])]),
            };
            if (type === 16) rig.store(asked, [], { flags: 0x8183, authorities: [soa] });
            else rig.store(asked, [aaaa(300, questions.length & 255), aaaa(200)]);
          }
          rig.serve(asked, questions.length & 1 ? 4 : 6);
          questions.push(asked);
        }
      }
    }
    let given = 0;
    const damage = fc.record({
      at: fc.nat(questions.length - 1),
      id: fc.integer({ min: 0, max: 0xffff }),
      upper: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      flips: fc.oneof(
        { weight: 2, arbitrary: fc.constant([]) },
        { weight: 1, arbitrary: fc.array(fc.tuple(fc.nat(160), fc.integer({ min: 1, max: 255 })), { maxLength: 3 }) },
      ),
      cut: fc.oneof(
        { weight: 5, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -12, max: 30 }) },
      ),
    });
    holds(
      fc.property(damage, ({ at, id, upper, flips, cut }) => {
        const family = at & 1 ? 4 : 6;
        let asked = Buffer.from(questions[at] as Buffer);
        asked.writeUInt16BE(id, 0);
        // 0x20: any letters of the name in upper case.
        const nameEnd = (readQuery(questions[at] as Buffer) as Query).nameEnd;
        for (let i = 12; i < nameEnd; i++) {
          const octet = asked[i] as number;
          if (octet >= 0x61 && octet <= 0x7a && (upper >> BigInt(i & 63)) & 1n) asked[i] = octet & ~0x20;
        }
        for (const [place, bits] of flips) if (place < asked.length) asked[place] = (asked[place] as number) ^ bits;
        if (cut > 0) asked = Buffer.concat([asked, Buffer.alloc(cut, id)]);
        if (cut < 0) asked = asked.subarray(0, asked.length + cut);
        // A second may end in between.
        const before = rig.expected(asked)?.toString('hex');
        const got = rig.ask(asked, family);
        if (got === undefined) return;
        given++;
        expect(got.toString('hex')).to.be.oneOf([before, rig.expected(asked)?.toString('hex')]);
      }),
      { runs, seconds: Math.max(25, runs / 1000) },
    );
    expect(given, `of ${runs} (seed ${SEED})`).to.be.greaterThan(runs / 4);
  });
});
