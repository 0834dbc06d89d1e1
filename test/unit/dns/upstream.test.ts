// SPDX-License-Identifier: Apache-2.0
// Upstreams that lie, hang, vanish, truncate or know no EDNS, and several of them.

import { createSocket } from 'node:dgram';
import { expect } from 'chai';
import type { DnsObserver } from '../../../src/dns/observer.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { UpstreamPool } from '../../../src/dns/upstream.ts';
import { destinations, exchangeTcp, exchangeUdp, Harness, query, see } from './harness.ts';
import { encode, rr, ScriptedServer, T } from './scripted-server.ts';

const plain = (server: { endpoint: ScriptedServer['endpoint'] }) => ({
  kind: 'plain' as const,
  endpoint: server.endpoint,
});

async function expectSoon(holds: () => boolean): Promise<void> {
  for (let i = 0; i < 100 && !holds(); i++) await new Promise((done) => setTimeout(done, 2));
  expect(holds()).to.equal(true);
}

/** A port of this host that nobody listens on. */
async function deadEndpoint() {
  const socket = createSocket('udp4');
  await new Promise<void>((done) => socket.bind(0, '127.0.0.1', done));
  const { port } = socket.address();
  await new Promise<void>((done) => socket.close(done));
  return { family: 4 as const, host: '127.0.0.1', port };
}

describe('upstream', () => {
  let h: Harness;
  before(async () => {
    h = await Harness.start();
  });
  after(() => h.stop());

  it('ignores answers with a wrong ID, a wrong question, no QR, and garbage, and takes the true one', async () => {
    const name = 'lies.example';
    const lie = { answers: [rr.a(name, '203.0.113.66')] };
    const raw = (sent: Buffer) => {
      const wrongId = encode(sent, lie);
      wrongId.writeUInt16BE(wrongId.readUInt16BE(0) ^ 0x5555, 0);
      const wrongName = encode(sent, lie);
      wrongName[13] = 0x6d;
      const wrongType = encode(sent, lie);
      wrongType.writeUInt16BE(T.MX, 12 + name.length + 2);
      const noAnswer = encode(sent, lie);
      noAnswer.writeUInt16BE(0x0100, 2);
      const truth = encode(sent, { answers: [rr.a(name, '192.0.2.1')] });
      return [wrongId, wrongName, wrongType, noAnswer, Buffer.from('garbage'), Buffer.alloc(0), truth];
    };
    h.upstream.on(name, T.A, { raw });
    expect((await h.ask({ name, type: T.A })).answers).to.deep.equal([`${name} A 300 192.0.2.1`]);
  });

  it('a lower-cased question is still the question', async () => {
    const name = 'Mixed.Example';
    h.upstream.on(name, T.A, {
      raw: (sent) => {
        const bytes = encode(sent, { answers: [rr.a('mixed.example', '192.0.2.1')] });
        bytes.write('mixed', 13);
        bytes.write('example', 19);
        return [bytes];
      },
    });
    expect((await h.ask({ name, type: T.A })).rcode).to.equal(0);
  });

  it('a malformed answer is SERVFAIL, not silence', async () => {
    const name = 'broken.example';
    h.upstream.on(name, T.A, {
      raw: (sent) => [encode(sent, { answers: [rr.a(name, '192.0.2.1')] }).subarray(0, -3)],
    });
    const seen = await h.ask({ name, type: T.A });
    expect(seen.rcode).to.equal(2);
    expect(seen.elapsedMs).to.be.below(2000);
  });

  it('a synthesis that cannot be written is SERVFAIL', async () => {
    const name = 'badsoa.example';
    const broken = rr.raw(name, 21, Buffer.from([0, 1, 0xc0, 0xff]));
    h.upstream.on(name, T.AAAA, {}).on(name, T.A, { answers: [rr.a(name, '192.0.2.1')], authorities: [broken] });
    expect((await h.ask({ name })).rcode).to.equal(2);
  });

  it('asks servers without EDNS again without (RFC 6891 §7)', async () => {
    const name = 'old.example';
    h.upstream.on(name, T.A, {
      raw: (sent) => {
        if (sent.readUInt16BE(10) === 0) return [encode(sent, { answers: [rr.a(name, '192.0.2.1')] })];
        const bare = Buffer.from(sent.subarray(0, 12));
        bare.writeUInt16BE(0x8101, 2);
        bare.fill(0, 4);
        return [bare];
      },
    });
    expect((await h.ask({ name, type: T.A })).answers).to.have.length(1);
  });

  it('keeps an answer in memory of its own size, whatever trails it', async () => {
    const own = await Harness.start();
    const names = Array.from({ length: 50 }, (_, i) => `trailing${i}.example`);
    for (const name of names) {
      own.upstream.on(name, T.A, {
        raw: (sent) => [Buffer.concat([encode(sent, { answers: [rr.a(name, '192.0.2.1')] }), Buffer.alloc(20_000)])],
      });
    }
    for (const name of names) expect((await own.ask({ name, type: T.A })).answers).to.have.length(1);
    const { cacheEntries, cacheBytes } = own.dns.stats;
    await own.stop();
    expect(cacheEntries).to.equal(50);
    expect(cacheBytes).to.be.below(50 * 1000);
  });

  it('a truncated answer is fetched over TCP', async () => {
    const name = 'large.example';
    h.upstream.onTransport(name, T.A, 'udp', { tc: true });
    h.upstream.onTransport(name, T.A, 'tcp', { answers: [rr.a(name, '192.0.2.1')] });
    for (const one of [1, 2]) {
      h.clock.offsetMs += 400_000;
      expect((await h.ask({ name, type: T.A })).answers, String(one)).to.have.length(1);
    }
  });

  it('an upstream that hangs is an answer within two seconds, and a probe within one', async () => {
    h.upstream.fallback = { mute: true };
    const [host, probe] = await Promise.all([h.ask({ name: 'hang.example' }), h.ask({ name: '.', type: T.NS })]);
    h.upstream.fallback = { rcode: 3 };
    expect([host.rcode, probe.rcode]).to.deep.equal([2, 2]);
    expect(host.elapsedMs).to.be.below(1900);
    expect(probe.elapsedMs).to.be.below(700);
  });
});

describe('an upstream that drops queries with EDNS', () => {
  const name = 'host.example';
  const hasOpt = (sent: Buffer) => sent.readUInt16BE(10) > 0;

  it('is asked without within the budget, and so for a while', async () => {
    const h = await Harness.start({ cache: { maxEntries: 0, maxBytes: 2 ** 24 } });
    h.upstream.on(name, T.A, {
      raw: (sent) => (hasOpt(sent) ? [] : [encode(sent, { answers: [rr.a(name, '192.0.2.1')] })]),
    });
    try {
      expect((await h.ask({ name, type: T.A })).answers).to.have.length(1);
      expect((await h.ask({ name, type: T.A })).elapsedMs, 'remembered').to.be.below(300);
    } finally {
      await h.stop();
    }
  });

  it('is never asked without when it has answered with EDNS', async () => {
    const h = await Harness.start({ cache: { maxEntries: 0, maxBytes: 2 ** 24 } });
    h.upstream.on('first.example', T.A, {
      raw: (sent) => {
        const bytes = Buffer.concat([encode(sent, {}), Buffer.from([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0])]);
        bytes.writeUInt16BE(1, 10);
        return [bytes];
      },
    });
    h.upstream.on(name, T.A, { mute: true });
    try {
      await h.ask({ name: 'first.example', type: T.A });
      expect((await h.ask({ name, type: T.A })).rcode).to.equal(2);
      const sent = h.upstream.asked.filter((one) => one.name === name);
      expect(sent.map((one) => hasOpt(one.query))).to.deep.equal(sent.map(() => true));
    } finally {
      await h.stop();
    }
  });
});

describe('a query of our own that comes back', () => {
  it('counts from its own address only, and leaves the server alone from the second on', async () => {
    const server = await ScriptedServer.start();
    const ports: number[] = [];
    const pool = new UpstreamPool([plain(server)], SILENT_OBSERVER);
    server.fallback = { mute: true };
    server.onQuestion = (port) => ports.push(port);
    const ask = async (address: string) => {
      const done = pool.exchange({ bytes: query({ name: 'loop.example' }), optAt: undefined }, 300);
      const before = server.asked.length;
      await expectSoon(() => server.asked.length > before);
      const { query: sent } = server.asked.at(-1) as { query: Buffer };
      const noted = pool.noteLoop(ports.at(-1) as number, sent, address);
      await done;
      return noted;
    };
    try {
      expect([await ask('127.0.0.2'), await ask('127.0.0.2')]).to.deep.equal([false, false]);
      expect([await ask('127.0.0.1'), await ask('::ffff:127.0.0.1')]).to.deep.equal([true, true]);
      const asked = server.asked.length;
      await pool.exchange({ bytes: query({ name: 'loop.example' }), optAt: undefined }, 300);
      expect(server.asked.length, 'left alone').to.equal(asked);
    } finally {
      pool.close();
      await server.stop();
    }
  });
});

describe('several upstreams', () => {
  let first: ScriptedServer;
  let second: ScriptedServer;
  beforeEach(async () => {
    first = await ScriptedServer.start();
    second = await ScriptedServer.start();
    second.on('f.example', T.A, { answers: [rr.a('f.example', '192.0.2.2')] });
  });
  afterEach(() => second.stop());

  const ask = async (
    upstreams: ReturnType<typeof plain>[],
    run: (h: Harness) => Promise<void>,
    observer?: DnsObserver,
  ) => {
    const h = await Harness.start({ upstreams, observer, cache: { maxEntries: 0, maxBytes: 2 ** 24 } }, first);
    try {
      await run(h);
    } finally {
      await h.stop();
    }
  };

  for (const rcode of [2, 5]) {
    it(`RCODE ${rcode} of one makes the next be asked, at once`, () => {
      first.on('f.example', T.A, { rcode });
      return ask([plain(first), plain(second)], async (h) => {
        const seen = await h.ask({ name: 'f.example', type: T.A });
        expect(seen.answers).to.deep.equal(['f.example A 300 192.0.2.2']);
        expect(seen.elapsedMs).to.be.below(300);
      });
    });
  }

  it('NXDOMAIN is an answer', () =>
    ask([plain(first), plain(second)], async (h) => {
      expect((await h.ask({ name: 'f.example', type: T.A })).rcode).to.equal(3);
    }));

  it('one that refuses connections costs nothing', async () => {
    const dead = { kind: 'plain' as const, endpoint: await deadEndpoint() };
    await ask([dead, plain(second)], async (h) => {
      expect((await h.ask({ name: 'f.example', type: T.A })).elapsedMs).to.be.below(300);
    });
  });

  it('when none can be reached SERVFAIL comes at once, over UDP and TCP', async () => {
    const dead = { kind: 'plain' as const, endpoint: await deadEndpoint() };
    await ask([dead], async (h) => {
      const seen = await h.ask({ name: 'f.example' });
      expect(seen.rcode).to.equal(2);
      expect(seen.elapsedMs).to.be.below(300);
      const [probe] = await exchangeTcp(h.port, [query({ name: '.', type: T.NS })]);
      expect(see(probe as Buffer).rcode).to.equal(2);
    });
  });

  it('one that hangs is asked last after a while, and first again once it answers', () => {
    const to: string[] = [];
    const observer = {
      ...SILENT_OBSERVER,
      upstream: (address: string, rcode: string) => to.push(`${address} ${rcode}`),
    };
    first.on('f.example', T.A, { mute: true });
    return ask(
      [plain(first), plain(second)],
      async (h) => {
        const times: number[] = [];
        for (let i = 0; i < 4; i++) times.push((await h.ask({ name: 'f.example', type: T.A })).elapsedMs);
        expect(times[0]).to.be.within(300, 700);
        expect(times[2]).to.be.below(200);
        expect(times[3]).to.be.below(200);
        expect(to).to.include(`127.0.0.1:${second.endpoint.port} NOERROR`);
      },
      observer,
    );
  });
});

describe('an upstream that is gate64 itself', () => {
  it('is left out when it is one of our own addresses, and found out by its queries otherwise', async () => {
    const h = await Harness.start();
    try {
      const own = { kind: 'plain' as const, endpoint: { family: 4 as const, host: '127.0.0.1', port: h.port } };
      const options = {
        prefixes: [],
        listen: [own.endpoint],
        translateAll: false,
        excludeAaaa: [],
        destinations: destinations(),
        cache: { maxEntries: 10, maxBytes: 2 ** 24 },
      };
      await h.dns.reload({ ...options, upstreams: [own] });
      expect(h.dns.stats.upstreams).to.deep.equal([]);
      expect(h.dns.ready()).to.equal(false);
      expect((await h.ask({ name: 'loop.example', type: 13 })).rcode).to.equal(2);
      // The same address by another spelling of loopback reaches the wildcard listener.
      const wildcard = { family: 4 as const, host: '0.0.0.0', port: 0 };
      await h.dns.reload({ ...options, listen: [wildcard], upstreams: [own] });
      const port = h.dns.listeners[0]?.port ?? 0;
      const other = { kind: 'plain' as const, endpoint: { family: 4 as const, host: '127.0.0.77', port } };
      await h.dns.reload({ ...options, listen: [{ ...wildcard, port }], upstreams: [other] });
      expect(h.dns.stats.upstreams).to.deep.equal([`127.0.0.77:${port}`]);
      const startedAt = performance.now();
      for (const name of ['loop.example', 'other.example']) {
        const [answer] = await exchangeUdp(port, query({ name, type: 13 }));
        expect(see(answer as Buffer).rcode).to.equal(2);
      }
      expect(performance.now() - startedAt, 'found out, not waited for').to.be.below(500);
    } finally {
      await h.stop();
    }
  });
});
