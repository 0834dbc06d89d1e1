// SPDX-License-Identifier: Apache-2.0
// No name leads to an IPv4 address that the NAT64 refuses: what is answered instead, and what stays when that changes.

import { expect } from 'chai';
import type { DestinationPolicy } from '../../../src/addr/destinations.ts';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { WELL_KNOWN_PREFIX } from '../../../src/addr/rfc6052.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { Harness, P6, destinations } from './harness.ts';
import { rr, T } from './scripted-server.ts';

const SOA = rr.soa('example', 120);
const DENY = { deny: [parseIp4Net('198.51.100.0/24')] };

/** Octets of an OPT with no option but the EDE `code` (RFC 8914 §2). */
function optWithEde(code: number, text: string): string {
  const opt = Buffer.from('00002904d0000000000000000f000000', 'hex');
  const ede = Buffer.concat([opt, Buffer.from([code]), Buffer.from(text)]);
  ede.writeUInt16BE(text.length + 6, 9);
  ede.writeUInt16BE(text.length + 2, 13);
  return ede.toString('latin1');
}

describe('DNS64 and what the NAT64 refuses', () => {
  let h: Harness;
  const told: string[] = [];
  beforeEach(async () => {
    told.length = 0;
    const observer = { ...SILENT_OBSERVER, passthrough: (reason: string) => void told.push(reason) };
    h = await Harness.start({ prefixes: [WELL_KNOWN_PREFIX, P6], destinations: destinations(DENY), observer });
  });
  afterEach(() => h.stop());

  const has = (name: string, ...addresses: string[]) =>
    h.upstream
      .on(name, T.AAAA, { authorities: [SOA] })
      .on(name, T.A, { answers: addresses.map((v4) => rr.a(name, v4)) });
  const aaaa = async (name: string) => (await h.ask({ name })).answers.map((line) => line.split(' ')[3]);
  const change = (policy: Partial<DestinationPolicy>) => h.dns.setDestinations(destinations(policy));

  it('D6147-5.1.6-b: A6052-5.3-a: a name that has only refused addresses is one without A: the AAAA response as it is', async () => {
    has('denied.example', '198.51.100.7');
    const seen = await h.ask({ name: 'denied.example' });
    expect([seen.rcode, seen.answers, seen.authorities]).to.deep.equal([0, [], ['example SOA 120 ns.example']]);
    expect(seen.additionals).to.deep.equal([]);
  });

  it('D6147-5.1.7-d: of several addresses those that are not refused are shown, with every prefix that leads there', async () => {
    has('mixed.example', '198.51.100.7', '8.8.8.8', '10.0.0.1');
    expect(await aaaa('mixed.example')).to.deep.equal([
      '64:ff9b::808:808',
      '2001:db8:64::808:808',
      '2001:db8:64::a00:1',
    ]);
  });

  const reasons: [policy: Partial<DestinationPolicy>, addresses: string[], reason: string, text: string][] = [
    [DENY, ['198.51.100.7'], 'refused', '198.51.100.7: nat64.deny'],
    [{ nodeAddresses: [parseIp4('8.8.8.8')] }, ['8.8.8.8'], 'refused', "8.8.8.8: the node's or the pool's"],
    [{ pool: [parseIp4Net('8.8.8.0/24')] }, ['8.8.8.9'], 'refused', "8.8.8.9: the node's or the pool's"],
    [{}, ['127.0.0.1'], 'notMappable', '127.0.0.1: never a destination'],
    [DENY, ['127.0.0.1', '198.51.100.7'], 'refused', '198.51.100.7: nat64.deny'],
  ];
  for (const [policy, addresses, reason, text] of reasons) {
    it(`says why to who sent OPT, and counts it: ${text}, of ${addresses.length} (RFC 8914)`, async () => {
      change(policy);
      has('why.example', ...addresses);
      const { bytes } = await h.ask({ name: 'why.example', opt: 1232 });
      const opt = optWithEde(0, text);
      expect(bytes.subarray(-opt.length).toString('latin1')).to.equal(opt);
      expect((await h.ask({ name: 'why.example' })).additionals, 'without OPT').to.deep.equal([]);
      expect(told).to.deep.equal([reason, reason]);
    });
  }

  it('A6052-3.1-a: under 64:ff9b::/96 alone an address that is not global counts as what RFC 6052 forbids', async () => {
    await h.reload({ prefixes: [WELL_KNOWN_PREFIX] });
    has('private.example', '10.0.0.1');
    const { bytes } = await h.ask({ name: 'private.example', opt: 1232 });
    expect(bytes.toString('latin1').endsWith(optWithEde(0, '10.0.0.1: not global'))).to.equal(true);
    expect(told).to.deep.equal(['notMappable']);
  });

  it('D6147-5.1.1-b: translateAll falls back to the real AAAA, until the address is not refused any more', async () => {
    await h.reload({ translateAll: true, prefixes: [P6] });
    has('both.example', '198.51.100.7').on('both.example', T.AAAA, {
      answers: [rr.aaaa('both.example', '2001:db8::7')],
    });
    expect(await aaaa('both.example')).to.deep.equal(['2001:db8::7']);
    change({});
    expect(await aaaa('both.example')).to.deep.equal(['2001:db8:64::c633:6407']);
  });

  it('what changes counts at once, and only the answers that it changes are decided anew', async () => {
    await h.reload({ prefixes: [P6] });
    has('denied.example', '198.51.100.7');
    has('global.example', '8.8.8.8');
    has('other.example', '9.9.9.9');
    h.upstream.on('none.example', T.AAAA, { authorities: [SOA] }).on('none.example', T.A, { authorities: [SOA] });
    const names = ['denied.example', 'global.example', 'other.example', 'none.example'];
    const answers = async () => Promise.all(names.map(aaaa));
    const asked = () => names.map((name) => h.upstream.count(name, T.AAAA));
    const other = ['2001:db8:64::909:909'];
    expect(await answers()).to.deep.equal([[], ['2001:db8:64::808:808'], other, []]);

    change({ deny: [parseIp4Net('8.8.8.0/24')] });
    expect(await answers()).to.deep.equal([['2001:db8:64::c633:6407'], [], other, []]);
    expect(asked()).to.deep.equal([2, 2, 1, 1]);
    change({ deny: [parseIp4Net('8.8.8.0/24')] });
    expect(await answers()).to.deep.equal([['2001:db8:64::c633:6407'], [], other, []]);
    change({ deny: [parseIp4Net('8.8.8.0/24')], nodeAddresses: [parseIp4('203.0.113.1')] });
    expect((await answers())[1]).to.deep.equal([]);
    expect(asked(), 'nothing that they are about').to.deep.equal([2, 2, 1, 1]);
    expect(h.upstream.count('denied.example', T.A), 'A stays').to.equal(1);
  });

  it('what the NAT64 has handed over holds over a reload', async () => {
    await h.reload({ prefixes: [P6] });
    has('own.example', '9.9.9.9');
    change({ nodeAddresses: [parseIp4('9.9.9.9')] });
    await h.reload({ prefixes: [P6], destinations: destinations() });
    expect(await aaaa('own.example')).to.deep.equal([]);
  });

  it('a reload that changes one entry of nat64.deny keeps the rest of the cache, and connections', async () => {
    const policy = { deny: [...DENY.deny, parseIp4Net('203.0.113.0/24')] };
    await h.reload({ prefixes: [P6], destinations: destinations(policy) });
    has('denied.example', '198.51.100.7');
    has('still.example', '203.0.113.7');
    has('global.example', '8.8.8.8');
    for (const name of ['one.example', 'two.example']) {
      h.upstream.onTransport(name, T.A, 'udp', { tc: true });
      h.upstream.onTransport(name, T.A, 'tcp', { answers: [rr.a(name, '192.0.2.2')] });
    }
    const names = ['denied.example', 'still.example', 'global.example'];
    for (const name of names) await aaaa(name);
    await h.ask({ name: 'one.example', type: T.A });
    const entries = h.dns.stats.cacheEntries;

    await h.reload({ prefixes: [P6], destinations: destinations({ deny: policy.deny.slice(1) }) });
    expect(h.dns.stats.cacheEntries).to.equal(entries - 1);
    expect(await Promise.all(names.map(aaaa))).to.deep.equal([
      ['2001:db8:64::c633:6407'],
      [],
      ['2001:db8:64::808:808'],
    ]);
    expect(names.map((name) => h.upstream.count(name, T.AAAA))).to.deep.equal([2, 1, 1]);
    await h.ask({ name: 'two.example', type: T.A });
    expect(h.upstream.accepted).to.equal(1);
  });
});
