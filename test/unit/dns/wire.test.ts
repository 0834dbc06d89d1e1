// SPDX-License-Identifier: Apache-2.0
// The walk over DNS octets: what it accepts, what it refuses, and that no octets make it do anything else.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { Gate64Error } from '../../../src/errors.ts';
import { readQuery } from '../../../src/dns/query.ts';
import { rewrite } from '../../../src/dns/rewrite.ts';
import { nameBytes, nameText, readMessage, skipName, type Message } from '../../../src/dns/wire.ts';
import { holds } from '../../helpers/property.ts';
import { query } from './harness.ts';
import { encode, rr, type Rr } from './scripted-server.ts';

function outcome(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    return error instanceof Gate64Error ? error.code : `not ours: ${String(error)}`;
  }
}

const message = (answers: Rr[], authorities: Rr[] = []) =>
  encode(query({ name: 'www.example.org', type: 1 }), { answers, authorities });

const keep = (octets: Buffer) => outcome(() => rewrite(readMessage(octets), () => 'keep'));

describe('DNS wire format', () => {
  it('reads what dns2 writes', () => {
    const read = readMessage(
      message([rr.cname('www.example.org', 'a.example.org'), rr.a('a.example.org', '192.0.2.1')]),
    );
    expect(read.records.map(({ type, section }) => [type, section])).to.deep.equal([
      [5, 'answer'],
      [1, 'answer'],
    ]);
    expect(nameText(read.bytes, read.records[1]?.at ?? 0)).to.equal('a.example.org');
  });

  const header = '000081800001000100000000';
  const question = '01610000010001';
  const cases: [string, string][] = [
    ['shorter than a header', '0000818000'],
    ['no question', '000081800000000000000000'],
    ['two questions', `000081800002000000000000${question}${question}`],
    ['a question cut off', '00008180000100000000000001610000'],
    ['a pointer in the question', '000081800001000000000000c00c00010001'],
    ['a pointer to itself', `${header}${question}c01300010001000000010004c0000201`],
    ['a pointer forward', `${header}${question}c01500010001000000010004c0000201`],
    ['a pointer into the header', `${header}${question}c00000010001000000010004c0000201`],
    ['a label type of 01', `${header}${question}4100010001000000010004c0000201`],
    ['RDATA beyond the end', `${header}${question}c00c00010001000000010005c0000201`],
    ['a record that is not there', `${header}${question}`],
    ['a count of 65535', `000081800001ffff00000000${question}c00c00010001000000010004c0000201`],
  ];
  for (const [what, hex] of cases) {
    it(`refuses ${what}`, () => {
      expect(outcome(() => readMessage(Buffer.from(hex, 'hex')))).to.equal('G64_DNS_MALFORMED');
    });
  }

  it('refuses names above 255 octets and long pointer chains', () => {
    const long = Buffer.concat([
      Buffer.alloc(12),
      ...Array.from({ length: 4 }, () => Buffer.from(`\x3f${'a'.repeat(63)}`)),
      Buffer.from([0]),
    ]);
    expect(outcome(() => skipName(long, 12))).to.equal('G64_DNS_MALFORMED');
    const chain = Buffer.alloc(13 + 2 * 200);
    for (let i = 0; i < 200; i++) chain.writeUInt16BE(0xc000 | (i === 0 ? 12 : 13 + 2 * (i - 1)), 13 + 2 * i);
    expect(outcome(() => skipName(chain, 13 + 2 * 199))).to.equal('G64_DNS_MALFORMED');
  });

  it('throws G64_DNS_MALFORMED and nothing else, quickly, whatever the octets', () => {
    const bytes = fc.uint8Array({ maxLength: 600 }).map((octets) => Buffer.from(octets));
    // One question and a count of records: most random octets would be refused in the header.
    const framed = bytes.map((tail) => Buffer.concat([Buffer.from(header, 'hex'), Buffer.from(question, 'hex'), tail]));
    holds(
      fc.property(fc.oneof(bytes, framed), (octets) => {
        expect(outcome(() => readMessage(octets))).to.be.oneOf(['ok', 'G64_DNS_MALFORMED']);
        expect(outcome(() => readQuery(octets))).to.equal('ok');
      }),
      { runs: 3000 },
    );
  });

  it('survives every octet of a real message being changed, and every cut', () => {
    const real = message(
      [rr.cname('www.example.org', 'a.example.org'), rr.a('a.example.org', '192.0.2.1')],
      [rr.soa('example.org', 60), rr.mx('example.org', 'mx.example.org')],
    );
    holds(
      fc.property(fc.nat(real.length - 1), fc.nat(255), fc.nat(real.length), (at, value, length) => {
        const changed = Buffer.from(real);
        changed[at] = value;
        expect(keep(changed)).to.be.oneOf(['ok', 'G64_DNS_MALFORMED']);
        expect(keep(real.subarray(0, length))).to.equal(length === real.length ? 'ok' : 'G64_DNS_MALFORMED');
      }),
      { runs: 2000 },
    );
  });

  it('spends milliseconds, not seconds, on the most expensive message', () => {
    // 5000 records whose owner names are chains of 60 pointers, laid out in the RDATA of the first record.
    const start = 12 + question.length / 2 + 12;
    const pointers = Buffer.alloc(2 * 60);
    for (let i = 0; i < 60; i++) pointers.writeUInt16BE(0xc000 | (i === 0 ? 12 : start + 2 * (i - 1)), 2 * i);
    const one = Buffer.from('c00000010001000000010000', 'hex');
    one.writeUInt16BE(0xc000 | (start + 2 * 59), 0);
    const count = 5000;
    const bytes = Buffer.concat([
      Buffer.from(`${header}${question}c00c00100001000000010078`, 'hex'),
      pointers,
      ...Array.from({ length: count }, () => one),
    ]);
    bytes.writeUInt16BE(count + 1, 6);
    const startedAt = performance.now();
    expect(outcome(() => readMessage(bytes))).to.equal('ok');
    expect(performance.now() - startedAt).to.be.below(200);
  });
});

describe('names', () => {
  it('turns text into octets and back', () => {
    const label = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);
    holds(
      fc.property(fc.array(label, { minLength: 1, maxLength: 8 }), (labels) => {
        const text = labels.join('.');
        expect(nameText(nameBytes(text), 0)).to.equal(text);
      }),
    );
  });
  it('writes odd octets as \\DDD and the root as "."', () => {
    expect(nameText(Buffer.from('\x04A. \xff\x00', 'latin1'), 0)).to.equal('a\\.\\032\\255');
    expect(nameText(Buffer.from([0]), 0)).to.equal('.');
  });
  it('refuses empty, long and too many labels', () => {
    for (const text of ['a..b', 'x'.repeat(64), 'abc.'.repeat(64)]) {
      expect(outcome(() => nameBytes(text))).to.equal('G64_DNS_MALFORMED');
    }
  });
});

/** All names and data of a message, spelled out: equal for two messages that say the same. */
function meaning(read: Message): string[] {
  const named = new Map<number, number>([
    [2, 0],
    [5, 0],
    [12, 0],
    [6, 0],
    [15, 2],
    [33, 6],
  ]);
  return read.records.map((record) => {
    const before = named.get(record.type);
    const parts = [record.section, nameText(read.bytes, record.at), record.type, record.ttlSeconds];
    if (before === undefined) return [...parts, read.bytes.toString('hex', record.rdataAt, record.end)].join(' ');
    let at = record.rdataAt + before;
    parts.push(read.bytes.toString('hex', record.rdataAt, at), nameText(read.bytes, at));
    at = skipName(read.bytes, at);
    if (record.type === 6) {
      parts.push(nameText(read.bytes, at));
      at = skipName(read.bytes, at);
    }
    return [...parts, read.bytes.toString('hex', at, record.end)].join(' ');
  });
}

describe('rewriting a message', () => {
  const label = fc.constantFrom('a', 'bb', 'ccc', 'www', 'mail');
  const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => [...labels, 'example.org'].join('.'));
  const record = fc.oneof(
    name.map((owner) => rr.a(owner, '192.0.2.1')),
    fc.tuple(name, name).map(([owner, target]) => rr.cname(owner, target)),
    fc.tuple(name, name).map(([owner, target]) => rr.ns(owner, target)),
    fc.tuple(name, name).map(([owner, target]) => rr.mx(owner, target)),
    name.map((owner) => rr.soa(owner, 60)),
    fc.tuple(name, fc.uint8Array({ maxLength: 40 })).map(([owner, data]) => rr.raw(owner, 65280, Buffer.from(data))),
  );
  const sections = fc.record({
    answers: fc.array(record, { maxLength: 6 }),
    authorities: fc.array(record, { maxLength: 4 }),
    additionals: fc.array(record, { maxLength: 4 }),
  });

  it('keeping everything keeps every octet, compression included', () => {
    holds(
      fc.property(sections, (script) => {
        const bytes = encode(query({ name: 'www.example.org', type: 1 }), script);
        expect(rewrite(readMessage(bytes), () => 'keep').bytes.equals(bytes)).to.equal(true);
      }),
    );
  });

  it('dropping and replacing some leaves the meaning of all others', () => {
    holds(
      fc.property(
        sections,
        fc.array(fc.constantFrom('keep', 'drop', 'grow'), { minLength: 14, maxLength: 14 }),
        (script, plan) => {
          const read = readMessage(encode(query({ name: 'www.example.org', type: 1 }), script));
          let i = 0;
          const after = rewrite(read, () => {
            const what = plan[i++];
            if (what !== 'grow') return what === 'drop' ? 'drop' : 'keep';
            const rdata = Buffer.alloc(16, 7);
            return [
              { type: 28, ttlSeconds: 9, rdata },
              { type: 28, ttlSeconds: 9, rdata },
            ];
          });
          expect(after, 'what it says of its records').to.deep.equal(readMessage(after.bytes));
          const expected = meaning(read).flatMap((line, at) => {
            if (plan[at] === 'keep') return [line];
            const grown = line.split(' ').slice(0, 2).concat('28', '9', '07'.repeat(16)).join(' ');
            return plan[at] === 'drop' ? [] : [grown, grown];
          });
          expect(meaning(after)).to.deep.equal(expected);
        },
      ),
      { runs: 500 },
    );
  });

  it('spells out a name that pointed into RDATA of an unknown type', () => {
    // TYPE65280's RDATA holds "\x03new\x00" at 31; the A behind it is owned by a pointer there.
    const hex = `00008180000100030000000001610000010001${'c00c00010001000000010004c0000201'}`;
    const unknown = 'c00cff000001000000010005036e657700';
    const start = Buffer.from(hex, 'hex').length + 12;
    const pointing = `${(0xc000 | start).toString(16)}00010001000000010004c0000202`;
    const read = readMessage(Buffer.from(hex + unknown + pointing, 'hex'));
    expect(nameText(read.bytes, read.records[2]?.at ?? 0)).to.equal('new');
    const grown = rewrite(read, (one) =>
      one === read.records[0] ? [{ type: 28, ttlSeconds: 1, rdata: Buffer.alloc(16) }] : 'keep',
    );
    expect(meaning(readMessage(grown.bytes)).slice(1)).to.deep.equal(meaning(read).slice(1));
  });
});
