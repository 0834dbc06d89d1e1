// SPDX-License-Identifier: Apache-2.0
// gate64 doctor --server: what the answer of the resolver that pods ask says of it.

import { expect } from 'chai';
import { formatEndpoint } from '../../../src/addr/ip.ts';
import { lookup } from '../../../src/cli/lookup.ts';
import { rr, ScriptedServer, T, type Script } from '../dns/scripted-server.ts';
import { cli, withFile } from './helper.ts';

const NAME = 'ipv4only.arpa';
const WELL_KNOWN = ['64:ff9b::c000:aa', '64:ff9b::c000:ab'];
const OWN = ['2001:db8:64::c000:aa', '2001:db8:64::c000:ab'];

const answers = (addresses: readonly string[]): Script => ({ answers: addresses.map((one) => rr.aaaa(NAME, one)) });

describe('gate64 doctor --server', () => {
  let server: ScriptedServer;
  before(async () => {
    server = await ScriptedServer.start();
  });
  after(() => server.stop());

  /** What doctor finds where the resolver answers so. */
  async function found(script: Script, config = '') {
    server.on(NAME, T.AAAA, script);
    const context = { lookup: (...[at, name, type]: Parameters<typeof lookup>) => lookup(at, name, type, 300) };
    const args = ['doctor', '--server', formatEndpoint(server.endpoint)];
    const { code, stdout } = await withFile(config, (file) => cli([...args, '-c', file], { context }));
    expect(code, 'gate64 itself runs').to.equal(0);
    return JSON.parse(stdout).findings as { name: string; severity: string; message: string; remedy: string }[];
  }
  const names = async (...args: Parameters<typeof found>) => (await found(...args)).map(({ name }) => name);

  it('finds nothing where ipv4only.arpa has two addresses under each prefix, in any order (RFC 7050 §3), and upstreams answer', async () => {
    server.asked.length = 0;
    expect(await names(answers(WELL_KNOWN))).to.deep.equal([]);
    expect(server.asked.map(({ name, type }) => [name, type])).to.deep.equal([
      [NAME, T.AAAA],
      ['a.root-servers.net', T.A],
    ]);
    expect(await names(answers(WELL_KNOWN.toReversed()))).to.deep.equal([]);
    const both = 'prefix: ["2001:db8:64::/96", "64:ff9b::/96"]\n';
    expect(await names(answers([...WELL_KNOWN, ...OWN]), both)).to.deep.equal([]);
  });

  it('resolver-unreachable: what it forwards to is a DNS64 that no upstream answers', async () => {
    server.on('a.root-servers.net', T.A, { rcode: 2 });
    const [finding, ...others] = await found(answers(WELL_KNOWN));
    server.on('a.root-servers.net', T.A, { rcode: 3 });
    expect(others).to.deep.equal([]);
    expect(finding).to.include({ name: 'resolver-unreachable', severity: 'warning' });
    expect(finding?.message).to.include('upstreams do not answer');
    expect(finding?.remedy).to.include('deployment/gate64-dns-a');
  });

  for (const [what, script] of [
    ['no AAAA', {}],
    ['NXDOMAIN', { rcode: 3 }],
    ['REFUSED', { rcode: 5 }],
  ] as const) {
    it(`coredns-not-forwarding: ${what}; the remedy has the line for the Corefile`, async () => {
      const [finding, ...others] = await found(script, 'dns: { listen: ["[::]:5300", "[2001:db8::53]:5300"] }\n');
      expect(others).to.deep.equal([]);
      expect(finding).to.include({ name: 'coredns-not-forwarding', severity: 'warning' });
      expect(finding?.message).to.include(`127.0.0.1:${server.endpoint.port} has ${what} for ${NAME}`);
      expect(finding?.remedy).to.match(
        /forward \. \[2001:db8::53\]:5300(?:$| \(where it does, .* dns\.allowClients\)$)/,
      );
      expect(finding?.remedy.includes('dns.allowClients')).to.equal(what === 'REFUSED');
    });
  }

  it('coredns-not-forwarding: names no address where gate64 listens on all', async () => {
    const [finding] = await found({}, 'dns: { listen: ["[::]:5300"] }\n');
    expect(finding?.remedy).to.match(/forward \. ADDRESS:PORT of gate64's DNS$/);
  });

  it('dns64-doubled: an address under another prefix, alone or beside the right ones', async () => {
    for (const addresses of [OWN, [...WELL_KNOWN, ...OWN]]) {
      const [finding, ...others] = await found(answers(addresses));
      expect(others).to.deep.equal([]);
      expect(finding).to.include({ name: 'dns64-doubled', severity: 'warning' });
      expect(finding?.message).to.include(`${OWN.join(', ')} for ${NAME}, which are not of 64:ff9b::/96`);
      expect(finding?.remedy).to.match(/^Take the plugin dns64 out/);
    }
    expect(await names(answers(WELL_KNOWN), 'prefix: "2001:db8:64::/96"\n')).to.deep.equal(['dns64-doubled']);
    expect(await names(answers(['64:ff9b::c000:1'])), 'not an address of the name').to.deep.equal(['dns64-doubled']);
  });

  it('dns64-doubled: more addresses than the prefixes give', async () => {
    const [finding] = await found(answers([...WELL_KNOWN, ...WELL_KNOWN]));
    expect(finding?.name).to.equal('dns64-doubled');
    expect(finding?.message).to.include(`4 addresses for ${NAME}, where 64:ff9b::/96 gives 2`);
  });

  it('resolver-unreachable: no answer, or SERVFAIL', async () => {
    expect(await names({ mute: true })).to.deep.equal(['resolver-unreachable']);
    const [finding] = await found({ rcode: 2 });
    expect(finding?.name).to.equal('resolver-unreachable');
    expect(finding?.message).to.include('SERVFAIL');
  });

  it('takes an address without a port, and refuses what is none', async () => {
    const asked: string[] = [];
    const context = {
      lookup: (...[at]: Parameters<typeof lookup>) => {
        asked.push(formatEndpoint(at));
        return Promise.resolve({ rcode: 0, records: [] });
      },
    };
    await cli(['doctor', '--server', '2001:db8::a'], { context });
    await cli(['doctor', '--server', '192.0.2.10'], { context });
    expect(asked).to.deep.equal(['[2001:db8::a]:53', '192.0.2.10:53']);
    expect((await cli(['doctor', '--server', 'coredns'], { context })).code).to.equal(2);
    await cli(['doctor'], { context });
    expect(asked, 'without --server nobody is asked').to.have.length(2);
  });
});
