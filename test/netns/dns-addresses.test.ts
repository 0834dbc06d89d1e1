// SPDX-License-Identifier: Apache-2.0
// DNS on all addresses of a node: whichever address a pod or the node itself asks answers, and so does a Service in front
// of it, whose answers conntrack knows by the address that they come from.
//
//   bridged ── eth0 ── cni0 (bridge) ─┐
//   ptp ────── eth0 ── ptp0 ──────────┤ node ├─ up0 ── eth0 ── outside
//
// Both pods have their default route through the node, as the CNI plugins of these names make it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { stringify } from 'yaml';
import { GATE64 } from '../helpers/gate64.ts';
import { eventually, run, start, type Background } from '../helpers/processes.ts';

const NAMESPACES = ['node', 'bridged', 'ptp', 'outside'] as const;
type Namespace = (typeof NAMESPACES)[number];

const PORT = 5364;
const SERVICE4 = '198.51.100.53';
const SERVICE6 = '2001:db8:53::53';
/** The node's InternalIP: the endpoint of a Service whose pods are on the host network. */
const NODE4 = '192.0.2.1';
const NODE6 = '2001:db8:2::1';
const ANSWER = '64:ff9b::c000:aa';
const ADDRESSES = [
  NODE4,
  '192.0.2.11',
  '203.0.113.1',
  '203.0.113.129',
  NODE6,
  '2001:db8:2::11',
  '2001:db8:1::1',
  '2001:db8:3::1',
];

/** As kube-proxy makes it: what is for the Service goes to the endpoint, from pods and from the node itself. */
const NFT = `
table inet kube-proxy {
  chain services {
    ip daddr ${SERVICE4} meta l4proto { tcp, udp } th dport 53 dnat ip to ${NODE4}:${PORT}
    ip6 daddr ${SERVICE6} meta l4proto { tcp, udp } th dport 53 dnat ip6 to [${NODE6}]:${PORT}
  }
  chain nat-prerouting { type nat hook prerouting priority dstnat; jump services; }
  chain nat-output { type nat hook output priority -100; jump services; }
}
`;

const SETUP: readonly (readonly [Namespace, string])[] = [
  [
    'node',
    `sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1
     ip link add up0 type veth peer name eth0 netns outside
     ip link add bridged0 type veth peer name eth0 netns bridged
     ip link add ptp0 type veth peer name eth0 netns ptp
     ip link add cni0 type bridge
     ip link set bridged0 master cni0
     for link in up0 bridged0 ptp0 cni0; do ip link set $link up; done
     for four in 192.0.2.1 192.0.2.11; do ip addr add $four/24 dev up0; done
     for six in 2001:db8:2::1 2001:db8:2::11; do ip addr add $six/64 dev up0 nodad; done
     ip addr add 203.0.113.1/25 dev cni0
     ip addr add 2001:db8:1::1/64 dev cni0 nodad
     ip addr add 203.0.113.129/32 dev ptp0
     ip addr add 2001:db8:3::1/128 dev ptp0 nodad`,
  ],
  [
    'bridged',
    `ip link set eth0 up
     ip addr add 203.0.113.2/25 dev eth0
     ip addr add 2001:db8:1::2/64 dev eth0 nodad
     ip route add default via 203.0.113.1
     ip -6 route add default via 2001:db8:1::1`,
  ],
  [
    'ptp',
    `ip link set eth0 up
     ip addr add 203.0.113.130/32 dev eth0
     ip addr add 2001:db8:3::2/128 dev eth0 nodad
     ip route add 203.0.113.129 dev eth0
     ip -6 route add 2001:db8:3::1 dev eth0
     ip route add default via 203.0.113.129
     ip -6 route add default via 2001:db8:3::1`,
  ],
  [
    'outside',
    `ip link set eth0 up
     ip addr add 192.0.2.2/24 dev eth0
     ip addr add 2001:db8:2::2/64 dev eth0 nodad
     ip route add default via 192.0.2.1
     ip -6 route add default via 2001:db8:2::1`,
  ],
  [
    'node',
    `ip route add 203.0.113.130 dev ptp0 src 203.0.113.129
     ip -6 route add 2001:db8:3::2 dev ptp0 src 2001:db8:3::1
     ip route add default via 192.0.2.2
     ip -6 route add default via 2001:db8:2::2`,
  ],
];

const enter = (name: Namespace, argv: readonly string[]) => ['nsenter', `--net=/run/netns/${name}`, '--', ...argv];
const sh = async (name: Namespace, script: string, input?: string) => {
  const options = input === undefined ? {} : { input };
  return (await run(enter(name, ['bash', '-euo', 'pipefail', '-c', script]), options)).stdout.trimEnd();
};

/** A name that needs no upstream (RFC 8880 §7.1). dig takes no answer from an address that it did not ask. */
async function ask(from: Namespace, address: string, port: number, transport: 'udp' | 'tcp' = 'udp'): Promise<string> {
  const flags = ['+short', '+tries=1', '+time=2', ...(transport === 'tcp' ? ['+tcp'] : [])];
  const argv = enter(from, ['dig', ...flags, '-p', String(port), `@${address}`, 'ipv4only.arpa', 'AAAA']);
  return (await run(argv, { accept: 'any' })).stdout.trimEnd();
}

for (const listener of ['batched', 'dgram'] as const)
  describe(`DNS on all addresses of a node, ${listener}`, function () {
    this.timeout(60_000);
    let gate64: Background | undefined;
    let directory: string;

    before(async () => {
      expect(process.env['GATE64_SANDBOX'], 'run this layer with `make test-netns`').to.equal('1');
      directory = mkdtempSync(join(tmpdir(), 'gate64-addresses-'));
      for (const name of NAMESPACES) {
        await run(['ip', 'netns', 'add', name]);
        await sh(name, 'ip link set lo up; sysctl -qw net.ipv6.conf.{all,default}.accept_dad=0');
      }
      for (const [name, script] of SETUP) await sh(name, script);
      await sh('node', 'nft -f -', NFT);
      const file = join(directory, 'gate64.yaml');
      // The pods of a ptp CNI are routed to: no interface of the node has a network of their global addresses.
      const dns = { listener, listen: [`0.0.0.0:${PORT}`, `[::]:${PORT}`], upstreams: ['192.0.2.2:53'] };
      writeFileSync(file, stringify({ dns, nat64: { enabled: false } }));
      gate64 = start(enter('node', [GATE64, 'run', '-c', file]));
      await eventually(
        'DNS answers',
        async () => (await ask('node', '127.0.0.1', PORT)).includes(ANSWER) || undefined,
        20_000,
      );
    });
    after(async () => {
      await gate64?.stop(10_000);
      for (const name of NAMESPACES) await run(['ip', 'netns', 'del', name], { accept: 'any' });
      rmSync(directory, { recursive: true, force: true });
    });

    const clients = ['bridged', 'ptp', 'outside', 'node'] as const;
    for (const client of clients) {
      it(`every address that ${client} asks answers`, async () => {
        const answers = await Promise.all(ADDRESSES.map(async (one) => [one, await ask(client, one, PORT)]));
        for (const [address, answer] of answers) expect(answer, address).to.include(ANSWER);
      });
    }

    it('link-local addresses answer, each in its zone', async () => {
      for (const [client, link] of [
        ['bridged', 'cni0'],
        ['ptp', 'ptp0'],
      ] as const) {
        const text = await sh('node', `ip -j -6 addr show dev ${link} scope link`);
        const [{ addr_info: addresses }] = JSON.parse(text) as [{ addr_info: { local: string }[] }];
        const address = `${addresses.find(({ local }) => local)?.local}%eth0`;
        expect(await ask(client, address, PORT), `${client} asks ${address}`).to.include(ANSWER);
      }
    });

    for (const client of clients) {
      it(`a Service answers ${client} over UDP and TCP`, async () => {
        for (const address of [SERVICE4, SERVICE6]) {
          for (const transport of ['udp', 'tcp'] as const) {
            const answer = await ask(client, address, 53, transport);
            expect(answer, `${address} ${transport}`).to.include(ANSWER);
          }
        }
      });
    }

    it('an address added later answers; removed, its own socket is closed; added again, it answers again', async () => {
      // Tentative for a while, as on a real link.
      await sh('node', 'sysctl -qw net.ipv6.conf.up0.accept_dad=1');
      const later = ['192.0.2.21/24', '2001:db8:2::21/64'].map(async (net) => {
        const address = net.slice(0, net.indexOf('/'));
        const bound = () => sh('node', `ss -Hlun src "[${address}]:${PORT}" | wc -l`);
        for (const round of ['added', 'added again']) {
          await sh('node', `ip addr add ${net} dev up0`);
          const answers = async () => (await ask('bridged', address, PORT)).includes(ANSWER) || undefined;
          await eventually(`${address} answers, ${round}`, answers);
          expect(await bound()).to.equal(listener === 'dgram' ? '1' : '0');
          await sh('node', `ip addr del ${net} dev up0`);
          await eventually('its socket is closed', async () => (await bound()) === '0' || undefined, 5000);
        }
      });
      await Promise.all(later);
      expect(await ask('bridged', NODE4, PORT)).to.include(ANSWER);
    });
  });
