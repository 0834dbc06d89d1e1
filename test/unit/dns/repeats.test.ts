// SPDX-License-Identifier: Apache-2.0
// Questions repeated octet for octet get what they would get anyhow, and count as any other.

import { expect } from 'chai';
import { readQuery, type Query } from '../../../src/dns/query.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { Repeats } from '../../../src/dns/repeats.ts';
import { Harness, exchangeUdp, query, see, type Ask } from './harness.ts';
import { rr, T } from './scripted-server.ts';

const NAME = 'repeat.example';

describe('repeated questions', () => {
  const told: string[] = [];
  const counts: string[] = [];
  let h: Harness;
  before(async () => {
    h = await Harness.start({
      observer: {
        ...SILENT_OBSERVER,
        request: (transport, type) => void counts.push(`${transport} ${type}`),
        response: (rcode) => void counts.push(rcode),
        cacheHit: () => void counts.push('hit'),
        cacheMiss: () => void counts.push('miss'),
        synthesized: () => void counts.push('synthesized'),
        passthrough: (reason) => void counts.push(reason),
      },
      onSynthesized: (name, _v4, ttlSeconds, client) => void told.push(`${name} ${ttlSeconds} ${client}`),
      // What user space counts is looked at.
      kernelAfter: Infinity,
    });
    h.upstream.on(NAME, T.A, { answers: [rr.a(NAME, '192.0.2.7', 300)] });
    h.upstream.on(NAME, T.AAAA, { authorities: [rr.soa('example', 300)] });
    h.upstream.on(NAME, T.MX, { rcode: 3, authorities: [rr.soa('example', 300)] });
  });
  after(() => h.stop());

  const asked = async (ask: Ask): Promise<Buffer> => {
    const question = query(ask);
    const [answer] = await exchangeUdp(h.port, question);
    if (answer === undefined) throw new Error('no answer');
    expect(answer.readUInt16BE(0), 'its own ID').to.equal(question.readUInt16BE(0));
    return answer.subarray(2);
  };

  const forms: [string, Omit<Ask, 'name'>][] = [
    ['AAAA', {}],
    ['AAAA with OPT', { opt: 4096 }],
    ['AAAA with DO', { opt: 4096, optTtl: 0x8000 }],
    ['AAAA with CD', { flags: 0x0110 }],
    ['A', { type: 1 }],
    ['NXDOMAIN', { type: 15 }],
  ];
  for (const [title, form] of forms) {
    it(`${title}: the third and the fourth are as the second`, async () => {
      await asked({ name: NAME, ...form });
      counts.length = 0;
      const second = await asked({ name: NAME, ...form });
      const counted = counts.splice(0);
      for (const time of ['third', 'fourth']) {
        expect((await asked({ name: NAME, ...form })).toString('hex'), time).to.equal(second.toString('hex'));
        expect(counts.splice(0), time).to.deep.equal(counted);
      }
      expect(counted).to.include('hit');
    });
  }

  it('TTLs go on counting down, and what is over is asked anew', async () => {
    const ttl = async () =>
      Number(see(Buffer.concat([Buffer.alloc(2), await asked({ name: NAME })])).answers[0]?.split(' ')[2]);
    const before = await ttl();
    h.clock.offsetMs += 10_000;
    expect(await ttl()).to.be.within(before - 11, before - 10);
    counts.length = 0;
    h.clock.offsetMs += 3_600_000;
    await ttl();
    expect(counts).to.include('miss').and.not.include('hit');
  });

  it('whoever is led to an address is told of once a second', async () => {
    await asked({ name: NAME });
    await asked({ name: NAME });
    told.length = 0;
    h.clock.offsetMs += 2000;
    for (let i = 0; i < 3; i++) await asked({ name: NAME });
    expect(told).to.have.length(1);
    h.clock.offsetMs += 2000;
    await asked({ name: NAME });
    expect(told).to.have.length(2);
  });

  it('a reload that decides otherwise is followed at once', async () => {
    await asked({ name: NAME });
    await asked({ name: NAME });
    const before = await asked({ name: NAME });
    await h.reload({ prefixes: [] });
    expect((await asked({ name: NAME })).equals(before)).to.equal(false);
    await h.reload();
  });

  it('finds what differs in nothing but the ID, and keeps no mixed case', () => {
    const repeats = new Repeats();
    const question = query({ name: NAME });
    repeats.add(readQuery(question) as Query, 'key');
    const again = query({ name: NAME });
    expect(repeats.find(again)?.query.bytes.equals(again)).to.equal(true);
    for (let at = 2; at < question.length; at++) {
      const other = Buffer.from(question);
      other[at] = (other[at] as number) ^ 1;
      expect(repeats.find(other), `octet ${at}`).to.equal(undefined);
    }
    const mixed = query({ name: 'Repeat.example' });
    repeats.add(readQuery(mixed) as Query, 'key');
    expect(repeats.find(mixed)).to.equal(undefined);
  });
});
