// SPDX-License-Identifier: Apache-2.0
// Upstreams out of a resolv.conf, and listeners that change while the service runs.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatEndpoint } from '../../../src/addr/ip.ts';
import { createDns } from '../../../src/dns/dns.ts';
import { parseResolvConf, watchResolvConf } from '../../../src/dns/resolv-conf.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { Harness, P6 } from './harness.ts';
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
      'nameserver 192.0.2.1',
      'nameservers 192.0.2.8',
      'nameserver dns.example',
      'options ndots:5',
    ].join('\n');
    expect(list(text)).to.deep.equal(['192.0.2.1:53', '[2001:db8::53]:53']);
    expect(list('')).to.deep.equal([]);
  });

  it('is read again when it changes', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'gate64-'));
    const path = join(directory, 'resolv.conf');
    writeFileSync(path, 'nameserver 192.0.2.1\n');
    let stop: (() => void) | undefined;
    try {
      const changed = new Promise<string[]>((resolve) => {
        stop = watchResolvConf(path, (upstreams) => resolve(upstreams.map((one) => formatEndpoint(one.endpoint))), 50);
      });
      await new Promise((done) => setTimeout(done, 120));
      writeFileSync(path, 'nameserver 192.0.2.2\n');
      expect(await changed).to.deep.equal(['192.0.2.2:53']);
    } finally {
      stop?.();
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
      allowNonGlobalIpv4: [],
      cache: { maxEntries: 1 },
    };
    const error = await createDns(options).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_DNS_UPSTREAM');
    expect((error as Error).message).to.include('/nonexistent/resolv.conf');
  });
});

describe('reload', () => {
  it('changes prefixes at once and keeps listeners; an address in use is refused and changes nothing', async () => {
    const h = await Harness.start();
    try {
      h.upstream.on('r.example', T.AAAA, {}).on('r.example', T.A, { answers: [rr.a('r.example', '192.0.2.1')] });
      expect((await h.ask({ name: 'r.example' })).answers[0]).to.include('2001:db8:64::');
      const endpoint = { family: 4 as const, host: '127.0.0.1', port: h.port };
      const options = {
        prefixes: [{ ...P6, v6: Uint8Array.from(P6.v6, (byte, i) => (i === 5 ? 0x65 : byte)) }],
        listen: [endpoint],
        upstreams: [{ kind: 'plain' as const, endpoint: h.upstream.endpoint }],
        translateAll: false,
        excludeAaaa: [],
        allowNonGlobalIpv4: [],
        cache: { maxEntries: 10 },
      };
      await h.dns.reload(options);
      expect((await h.ask({ name: 'r.example' })).answers[0]).to.include('2001:db8:65::');
      const taken = { ...options, listen: [endpoint, h.upstream.endpoint], prefixes: [P6] };
      const error = await h.dns.reload(taken).catch((caught: unknown) => caught);
      expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_LISTEN');
      expect((await h.ask({ name: 'r.example' })).answers[0]).to.include('2001:db8:65::');
      expect(h.dns.ready()).to.equal(true);
    } finally {
      await h.stop();
    }
    expect(h.dns.ready()).to.equal(false);
  });
});
