// SPDX-License-Identifier: Apache-2.0
// Answers that the kernel gives, on a node: to a pod, over loopback, beside address translation, through reloads and kills.

import { expect } from 'chai';
import { Gate64, gate64Config, metricSum } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { NODE4, NODE6, Topology, type Namespace } from '../helpers/topology.ts';

const PORT = 5364;
const SYNTHESIZED = '64:ff9b::c633:640a';
const SERVICE4 = '198.51.100.53';
const SERVICE6 = '2001:db8:53::53';

/** As kube-proxy makes it. */
const NFT = `
table inet services {
  chain services {
    ip daddr ${SERVICE4} udp dport 53 dnat ip to ${NODE4}:${PORT}
    ip6 daddr ${SERVICE6} udp dport 53 dnat ip6 to [${NODE6}]:${PORT}
  }
  chain prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain output { type nat hook output priority -100; jump services; }
}
`;

describe('DNS answers by the kernel, on a node', function () {
  this.timeout(60_000);
  let topology: Topology;
  let gate64: Gate64;

  const config = (dns: Record<string, unknown> = {}) => ({
    ...gate64Config('masquerade', { dns: { listen: [`0.0.0.0:${PORT}`, `[::]:${PORT}`], ...dns } }),
    nat64: { enabled: false, allowNonGlobalIpv4: ['198.51.100.0/24'] },
  });
  /** One question a process, without EDNS options, as CoreDNS asks. */
  const ask = async (from: Namespace, server: string, name: string, port = PORT): Promise<string> => {
    const flags = ['+nocookie', '+tries=1', '+time=1', '+noall', '+answer', '+comments'];
    const argv = ['dig', ...flags, '-p', String(port), `@${server}`, name, 'AAAA'];
    return (await topology.run(from, argv, { accept: 'any' })).stdout;
  };
  const askMany = async (from: Namespace, server: string, name: string, port = PORT) => {
    const answers: string[] = [];
    for (let i = 0; i < 12; i++) answers.push(await ask(from, server, name, port));
    return answers;
  };
  const given = async () => metricSum(await gate64.metrics(), 'gate64_dns_kernel_answers_total');
  const programs = async () =>
    (JSON.parse((await topology.run('node', ['bpftool', '-j', 'prog', 'show'])).stdout) as { name?: string }[]).filter(
      ({ name }) => name === 'n64_dns',
    ).length;

  before(async () => {
    topology = await Topology.create();
    await startDnsServer(topology);
    await topology.run('node', ['nft', '-f', '-'], { input: NFT });
    await topology.sh('pod', `ip -6 route replace default via ${NODE6}`);
    await topology.sh('node', `ip -6 route add ${SERVICE6}/128 dev lo src ${NODE6}`);
    gate64 = new Gate64(topology, config());
    await gate64.start();
  });
  after(() => topology?.dispose());

  it('a pod and the node itself get hot names from the kernel, alike but for the TTL', async () => {
    for (const [from, server, name] of [
      ['pod', NODE6, 'v4only.example'],
      ['node', '127.0.0.1', 'files.example'],
      ['node', '::1', 'files.example'],
      ['node', NODE4, 'other.example'],
      ['node', NODE6, 'alias.example'],
    ] as const) {
      const before = await given();
      const answers = await askMany(from, server, name);
      for (const answer of answers) expect(answer, `${from} asks ${server}`).to.include('64:ff9b::c633:64');
      const plain = (text: string) =>
        text
          .replace(/id: \d+/g, '')
          .replace(/\t+|\s+/g, ' ')
          .replace(/ (29\d|300) IN/g, ' TTL IN');
      expect(new Set(answers.map(plain)).size, answers.join('\n')).to.equal(1);
      expect((await given()) - before, `${from} asks ${server}`).to.be.greaterThan(5);
    }
    const status = await gate64.json<{ service: { dns: { kernelCache: { interfaces: string[]; entries: number } } } }>(
      'status',
    );
    expect(status.service.dns.kernelCache.interfaces).to.include.members(['lo']);
    expect(status.service.dns.kernelCache.entries).to.be.greaterThan(2);
    expect((await gate64.cli(['status', '-o', 'table'])).stdout).to.match(
      /kernel cache\s+\d+ answers on .*\blo\b.*, \d+ given/,
    );
  });

  it('a Service answers the pod and the node: what is translated is left to user space', async () => {
    for (const [from, address] of [
      ['node', SERVICE4],
      ['node', SERVICE6],
      ['pod', SERVICE6],
    ] as const) {
      const before = await given();
      for (const answer of await askMany(from, address, 'both.example', 53)) {
        expect(answer, `${from} asks ${address}`).to.include('2001:db8:f::80');
      }
      expect(await given(), `${from} asks ${address}`).to.equal(before);
    }
  });

  it('a reload that refuses a client refuses it at once', async () => {
    const before = await given();
    await askMany('pod', NODE6, 'v4only.example');
    expect(await given()).to.be.greaterThan(before);
    gate64.write(config({ allowClients: ['127.0.0.0/8'] }));
    gate64.process?.signal('SIGHUP');
    await eventually('the pod is refused', async () =>
      (await ask('pod', NODE6, 'v4only.example')).includes('REFUSED') ? true : undefined,
    );
    for (let i = 0; i < 3; i++) expect(await ask('pod', NODE6, 'v4only.example')).to.include('REFUSED');
    gate64.write(config());
    gate64.process?.signal('SIGHUP');
    await eventually('the pod is served', async () =>
      (await ask('pod', NODE6, 'v4only.example')).includes(SYNTHESIZED) ? true : undefined,
    );
  });

  it('switched off, or fed by node:dgram, everything is answered by user space', async () => {
    for (const dns of [{ kernelCache: false }, { listener: 'dgram' }]) {
      await gate64.process?.stop(15_000);
      gate64.write(config(dns));
      await gate64.start();
      for (const answer of await askMany('pod', NODE6, 'v4only.example')) expect(answer).to.include(SYNTHESIZED);
      expect(await given()).to.equal(0);
      expect(await programs()).to.equal(0);
      const { stdout } = await gate64.cli(['status', '-o', 'table']);
      expect(stdout).to.match(/kernel cache\s+off: dns\.(kernelCache is false|listener is dgram)/);
    }
  });

  it('killed, it leaves no program behind, and questions are answered again after the next start', async () => {
    await gate64.process?.stop(15_000);
    gate64.write(config());
    await gate64.start();
    await askMany('pod', NODE6, 'v4only.example');
    expect(await programs()).to.equal(1);
    gate64.process?.signal('SIGKILL');
    await eventually('the program goes with its process', async () => ((await programs()) === 0 ? true : undefined));
    await gate64.start();
    const before = await given();
    for (const answer of await askMany('pod', NODE6, 'v4only.example')) expect(answer).to.include(SYNTHESIZED);
    expect(await given()).to.be.greaterThan(before);
  });

  it('an interface made anew is found again', async () => {
    const before = await given();
    await topology.sh(
      'node',
      `ip link add extra0 type veth peer name extra0 netns ${topology.netns('pod')}
      ip link set extra0 up; ip -6 addr add 2001:db8:77::1/64 dev extra0 nodad`,
    );
    await topology.sh('pod', 'ip link set extra0 up; ip -6 addr add 2001:db8:77::2/64 dev extra0 nodad');
    await eventually('the link is up', async () =>
      (await ask('pod', '2001:db8:77::1', 'v4only.example')).includes(SYNTHESIZED) ? true : undefined,
    );
    await askMany('pod', '2001:db8:77::1', 'v4only.example');
    expect(await given()).to.be.greaterThan(before);
    await topology.sh('node', 'ip link del extra0');
    await eventually('it is forgotten', async () => {
      const { service } = await gate64.json<{ service: { dns: { kernelCache: { interfaces: string[] } } } }>('status');
      return service.dns.kernelCache.interfaces.includes('extra0') ? undefined : true;
    });
    expect(await ask('pod', NODE6, 'v4only.example')).to.include(SYNTHESIZED);
  });
});
