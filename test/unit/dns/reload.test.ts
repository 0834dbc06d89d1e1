// SPDX-License-Identifier: Apache-2.0
// A configuration read again while DNS is served: what changed counts at once, all else is kept.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { DnsSettings } from '../../../src/dns/dns.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { Harness, destinations } from './harness.ts';
import { ScriptedServer, rr, T } from './scripted-server.ts';

const SOA = rr.soa('example', 120);
const OTHER = parsePrefix64('2001:db8:65::/96');

describe('DNS reload', () => {
  let h: Harness;
  beforeEach(async () => {
    h = await Harness.start();
    h.upstream
      .on('v4.example', T.AAAA, { authorities: [SOA] })
      .on('v4.example', T.A, { answers: [rr.a('v4.example', '192.0.2.1')] })
      .on('dual.example', T.AAAA, { answers: [rr.aaaa('dual.example', '2001:db8::7')] })
      .on('dual.example', T.A, { answers: [rr.a('dual.example', '192.0.2.7')] })
      .on('private.example', T.AAAA, { authorities: [SOA] })
      .on('private.example', T.A, { answers: [rr.a('private.example', '10.0.0.1')] });
  });
  afterEach(() => h.stop());

  const aaaa = async (name: string) => (await h.ask({ name })).answers.map((line) => line.split(' ')[3]);
  const a = async (name: string) => (await h.ask({ name, type: T.A })).answers.map((line) => line.split(' ')[3]);

  it('with equal DNS settings answers from the cache, over the connections that it had', async () => {
    // Truncated over UDP, so that they are asked over the TCP connection.
    for (const name of ['one.example', 'two.example']) {
      h.upstream.onTransport(name, T.A, 'udp', { tc: true });
      h.upstream.onTransport(name, T.A, 'tcp', { answers: [rr.a(name, '192.0.2.2')] });
    }
    await a('one.example');
    await aaaa('v4.example');
    const asked = h.upstream.asked.length;
    await h.reload();
    expect(await aaaa('v4.example')).to.deep.equal(['2001:db8:64::c000:201']);
    expect(await a('one.example')).to.deep.equal(['192.0.2.2']);
    expect(h.upstream.asked.length).to.equal(asked);
    expect(await a('two.example')).to.deep.equal(['192.0.2.2']);
    expect(h.upstream.accepted).to.equal(1);
  });

  it('with equal DNS settings still asks equal questions in flight once', async () => {
    h.upstream.on('slow.example', T.A, { answers: [rr.a('slow.example', '192.0.2.3')], delayMs: 100 });
    const first = a('slow.example');
    await until(() => h.upstream.count('slow.example', T.A) === 1);
    await h.reload();
    expect(await Promise.all([first, a('slow.example')])).to.deep.equal([['192.0.2.3'], ['192.0.2.3']]);
    expect(h.upstream.count('slow.example', T.A)).to.equal(1);
  });

  it('with another prefix synthesizes with it at once; a cached A stays', async () => {
    expect(await aaaa('v4.example')).to.deep.equal(['2001:db8:64::c000:201']);
    await h.reload({ prefixes: [OTHER] });
    expect(await aaaa('v4.example')).to.deep.equal(['2001:db8:65::c000:201']);
    expect(await a('v4.example')).to.deep.equal(['192.0.2.1']);
    expect([h.upstream.count('v4.example', T.AAAA), h.upstream.count('v4.example', T.A)]).to.deep.equal([2, 1]);
  });

  it('with another prefix answers what is in flight, and keeps nothing of it', async () => {
    h.upstream.on('slow.example', T.AAAA, { authorities: [SOA], delayMs: 100 });
    h.upstream.on('slow.example', T.A, { answers: [rr.a('slow.example', '192.0.2.3')], delayMs: 100 });
    const before = aaaa('slow.example');
    await until(() => h.upstream.count('slow.example', T.A) === 1);
    await h.reload({ prefixes: [OTHER] });
    expect(await before).to.deep.equal(['2001:db8:64::c000:203']);
    expect(await aaaa('slow.example')).to.deep.equal(['2001:db8:65::c000:203']);
  });

  it('with another prefix answers reverse names by it at once', async () => {
    const name = '1.0.2.0.0.0.0.c.0.0.0.0.0.0.0.0.0.0.0.0.4.6.0.0.8.b.d.0.1.0.0.2.ip6.arpa';
    h.upstream.on('1.2.0.192.in-addr.arpa', T.PTR, { answers: [rr.ptr('1.2.0.192.in-addr.arpa', 'one.example')] });
    expect((await h.ask({ name, type: T.PTR })).answers).to.have.length(2);
    await h.reload({ prefixes: [OTHER] });
    expect((await h.ask({ name, type: T.PTR })).rcode, 'as any other name').to.equal(3);
  });

  const WITHOUT = { translateAll: false, excludeAaaa: [], destinations: destinations() };
  const policies: [
    what: keyof typeof WITHOUT,
    changes: Partial<DnsSettings>,
    name: string,
    before: string[],
    after: string[],
  ][] = [
    ['translateAll', { translateAll: true }, 'dual.example', ['2001:db8::7'], ['2001:db8:64::c000:207']],
    [
      'excludeAaaa',
      { excludeAaaa: [parseIp6Net('2001:db8::/64')] },
      'dual.example',
      ['2001:db8::7'],
      ['2001:db8:64::c000:207'],
    ],
    [
      'destinations',
      {
        prefixes: [parsePrefix64('64:ff9b::/96')],
        destinations: destinations({ allowNonGlobalIpv4: [parseIp4Net('10.0.0.0/8')] }),
      },
      'private.example',
      [],
      ['64:ff9b::a00:1'],
    ],
  ];
  for (const [what, changes, name, before, after] of policies) {
    it(`with another ${what} decides anew at once; a cached A stays`, async () => {
      await h.reload({ ...changes, [what]: WITHOUT[what] });
      expect([await aaaa(name), (await a(name)).length]).to.deep.equal([before, 1]);
      await h.reload(changes);
      expect([await aaaa(name), (await a(name)).length]).to.deep.equal([after, 1]);
      expect(h.upstream.count(name, T.A)).to.equal(1);
    });
  }

  it('with more room keeps what is cached, with less what was used last', async () => {
    for (let i = 0; i < 4; i++) {
      h.upstream.on(`n${i}.example`, T.A, { answers: [rr.a(`n${i}.example`, '192.0.2.4')] });
      await a(`n${i}.example`);
    }
    await h.reload({ cache: { maxEntries: 5000, maxBytes: 2 ** 24 } });
    expect(h.dns.stats.cacheEntries).to.equal(4);
    await h.reload({ cache: { maxEntries: 2, maxBytes: 2 ** 24 } });
    expect(h.dns.stats.cacheEntries).to.equal(2);
    for (const i of [2, 3, 0, 1]) await a(`n${i}.example`);
    const counts = [0, 1, 2, 3].map((i) => h.upstream.count(`n${i}.example`, T.A));
    expect(counts).to.deep.equal([2, 2, 1, 1]);
  });

  it('with other upstreams asks them at once, and still answers what the old ones were asked', async () => {
    const other = await ScriptedServer.start();
    try {
      other.on('v4.example', T.A, { answers: [rr.a('v4.example', '192.0.2.99')] });
      h.upstream.on('slow.example', T.A, { answers: [rr.a('slow.example', '192.0.2.3')], delayMs: 150 });
      await a('v4.example');
      const before = a('slow.example');
      await until(() => h.upstream.count('slow.example', T.A) === 1);
      await h.reload({ upstreams: [{ kind: 'plain', endpoint: other.endpoint }] });
      expect(await a('v4.example')).to.deep.equal(['192.0.2.99']);
      expect(await before).to.deep.equal(['192.0.2.3']);
    } finally {
      await other.stop();
    }
  });

  it('with a resolv.conf that names the same, or none, keeps servers and cache', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gate64-'));
    const path = join(directory, 'resolv.conf');
    const { host, port } = h.upstream.endpoint;
    const line = `nameserver ${host}:${port}\n`;
    const from = { upstreams: 'resolv.conf' as const, resolvConfPath: path };
    try {
      await a('v4.example');
      for (const text of [line, `# again\n${line}`, '# none\n', '']) {
        writeFileSync(path, text);
        await h.reload(from);
        expect(h.dns.stats.upstreams, text).to.deep.equal([`${host}:${port}`]);
        expect(h.dns.ready()).to.equal(true);
        expect(await a('v4.example')).to.deep.equal(['192.0.2.1']);
      }
      expect(h.upstream.count('v4.example', T.A)).to.equal(1);
      writeFileSync(path, 'nameserver 192.0.2.53\n');
      await h.reload(from);
      expect(h.dns.stats).to.deep.include({ upstreams: ['192.0.2.53:53'], cacheEntries: 0 });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('with one upstream more, and then one less, keeps connections to the one that stays', async () => {
    const other = await ScriptedServer.start();
    try {
      for (const name of ['one.example', 'two.example', 'three.example']) {
        h.upstream.onTransport(name, T.A, 'udp', { tc: true });
        h.upstream.onTransport(name, T.A, 'tcp', { answers: [rr.a(name, '192.0.2.2')] });
      }
      const both = [h.upstream, other].map(({ endpoint }) => ({ kind: 'plain' as const, endpoint }));
      await a('one.example');
      await h.reload({ upstreams: both });
      await a('two.example');
      await h.reload();
      await a('three.example');
      expect([h.upstream.accepted, other.asked.length]).to.deep.equal([1, 0]);
    } finally {
      await other.stop();
    }
  });

  it('keeps listeners; an address in use is refused and changes nothing', async () => {
    const endpoint = { family: 4 as const, host: '127.0.0.1', port: h.port };
    await aaaa('v4.example');
    const taken = {
      listen: [endpoint, h.upstream.endpoint],
      prefixes: [OTHER],
      cache: { maxEntries: 0, maxBytes: 2 ** 24 },
    };
    const error = await h.reload(taken).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_LISTEN');
    expect(await aaaa('v4.example')).to.deep.equal(['2001:db8:64::c000:201']);
    expect([h.dns.ready(), h.upstream.count('v4.example', T.AAAA)]).to.deep.equal([true, 1]);
    await h.dns.stop();
    expect(h.dns.ready()).to.equal(false);
  });
});

async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((done) => setTimeout(done, 2));
}
