// SPDX-License-Identifier: Apache-2.0
// Upstreams out of a resolv.conf.

import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatEndpoint } from '../../../src/addr/ip.ts';
import { DnsService } from '../../../src/dns/dns.ts';
import { ResolvConfWatch, parseResolvConf } from '../../../src/dns/resolv-conf.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { Harness, P6, destinations } from './harness.ts';
import { rr, T } from './scripted-server.ts';

const list = (text: string) => parseResolvConf(text).map(({ endpoint }) => formatEndpoint(endpoint));

describe('resolv.conf', () => {
  it('gives its nameservers in order, once each', () => {
    const text = [
      '# nameserver 192.0.2.9',
      'search example',
      'nameserver 192.0.2.1',
      '\tnameserver   2001:db8::53 # second',
      'nameserver fe80::1%eth0',
      'nameserver 2001:db8::1%eth0',
      'nameserver 192.0.2.1',
      'nameservers 192.0.2.8',
      'nameserver dns.example',
      'options ndots:5',
    ].join('\n');
    expect(list(text)).to.deep.equal(['192.0.2.1:53', '[2001:db8::53]:53', '[fe80::1%eth0]:53']);
    const unusable: string[] = [];
    parseResolvConf(text, (one) => unusable.push(one));
    expect(unusable).to.deep.equal(['2001:db8::1%eth0', 'dns.example']);
    expect(list('')).to.deep.equal([]);
  });

  it('a nameserver in a zone that is not there is said once', async () => {
    const said: unknown[] = [];
    const upstreams = parseResolvConf('nameserver fe80::1%nowhere0');
    const log = { info: () => {}, warn: (fields: object, message: string) => void said.push([message, fields]) };
    const h = await Harness.start({ upstreams, log });
    try {
      for (const name of ['one.example', 'two.example']) expect((await h.ask({ name })).rcode).to.equal(2);
      const reason = h.dns.stats.failing[0]?.reason;
      expect(reason).to.be.a('string');
      expect(said).to.deep.equal([['the upstream cannot be asked', { upstream: '[fe80::1%nowhere0]:53', reason }]]);
    } finally {
      await h.stop();
    }
  });

  it('that no nameserver answers is said once, and once that one does again', async () => {
    const said: string[] = [];
    const note = (_: object, message: string) => void said.push(message);
    const h = await Harness.start({ log: { info: note, warn: note } });
    try {
      const silent = { raw: () => [] };
      for (const name of ['a.example', 'b.example', 'c.example']) h.upstream.on(name, T.A, silent);
      h.upstream.on('back.example', T.A, { answers: [rr.a('back.example', '192.0.2.1')] });
      const rcode = async (name: string) => (await h.ask({ name, type: T.A })).rcode;
      expect(await Promise.all(['a.example', 'b.example', 'c.example'].map(rcode))).to.deep.equal([2, 2, 2]);
      expect(said).to.deep.equal(['no upstream answers; names that are not cached are SERVFAIL']);
      expect([await rcode('back.example'), await rcode('back.example')]).to.deep.equal([0, 0]);
      expect(said.slice(1)).to.deep.equal(['an upstream answers again']);
    } finally {
      await h.stop();
    }
  }).timeout(10_000);

  it('is read again and again: each list that differs is told, once; what cannot be read is passed over', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gate64-'));
    const path = join(directory, 'resolv.conf');
    const told: string[] = [];
    const watch = new ResolvConfWatch(path, (all) => told.push(all.map((one) => one.endpoint.host).join()), 5);
    const after = async (act: () => void) => {
      act();
      await new Promise((done) => setTimeout(done, 60));
      return told.splice(0);
    };
    try {
      expect(await after(() => {}), 'not there').to.deep.equal([]);
      expect(await after(() => writeFileSync(path, 'nameserver 192.0.2.1\n'))).to.deep.equal(['192.0.2.1']);
      expect(await after(() => writeFileSync(path, '# again\nnameserver 192.0.2.1\n'))).to.deep.equal([]);
      expect(await after(() => rmSync(path))).to.deep.equal([]);
      expect(await after(() => symlinkSync('/dev/null', path))).to.deep.equal(['']);
      rmSync(path);
      expect(await after(() => writeFileSync(path, 'nameserver 192.0.2.2\n'))).to.deep.equal(['192.0.2.2']);
      watch.close();
      expect(await after(() => writeFileSync(path, 'nameserver 192.0.2.3\n'))).to.deep.equal([]);
    } finally {
      watch.close();
      rmSync(directory, { recursive: true });
    }
  });

  it('gives the service its upstreams', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gate64-'));
    const path = join(directory, 'resolv.conf');
    writeFileSync(path, 'nameserver 192.0.2.1\nnameserver 2001:db8::53\n');
    const h = await Harness.start({ upstreams: 'resolv.conf', resolvConfPath: path });
    try {
      expect(h.dns.stats.upstreams).to.deep.equal(['192.0.2.1:53', '[2001:db8::53]:53']);
      expect(h.dns.ready()).to.equal(true);
    } finally {
      await h.stop();
      rmSync(directory, { recursive: true });
    }
  });

  it('that cannot be read is an error that names it', async () => {
    const options = {
      prefixes: [P6],
      listen: [],
      upstreams: 'resolv.conf' as const,
      resolvConfPath: '/nonexistent/resolv.conf',
      translateAll: false,
      excludeAaaa: [],
      destinations: destinations(),
      cache: { maxEntries: 1, maxBytes: 2 ** 24 },
    };
    const error = await DnsService.start(options).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_DNS_UPSTREAM');
    expect((error as Error).message).to.include('/nonexistent/resolv.conf');
  });
});
