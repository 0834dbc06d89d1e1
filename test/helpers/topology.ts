// SPDX-License-Identifier: Apache-2.0
// Four network namespaces that end-to-end tests and the demo run in, joined by veth links; documentation addresses only.
//
//   pod (IPv6 only)           node                       router                    server (IPv4 only)
//  ┌─────────────────┐  ┌──────────────────────┐  ┌───────────────────────┐  ┌────────────────────┐
//  │            eth0 ├──┤ pod0            up0  ├──┤ lan0             wan0 ├──┤ eth0               │
//  │ 2001:db8:1::2   │  │ 2001:db8:1::1        │  │ 192.0.2.254           │  │ 198.51.100.10      │
//  │                 │  │            192.0.2.1 │  │          198.51.100.1 │  │ 198.51.100.11      │
//  │ default via ::1 │  │    2001:db8:2::1     │  │ 2001:db8:2::254       │  │ default via .1     │
//  └─────────────────┘  └──────────────────────┘  └───────────────────────┘  └────────────────────┘
//
// The node's uplink has IPv6 too, so that somebody outside can try to use the gateway as an open relay.

import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { run, start, type Background, type Finished, type RunOptions } from './processes.ts';

export const POD = '2001:db8:1::2';
export const POD_NET = '2001:db8:1::/64';
export const NODE6 = '2001:db8:1::1';
export const NODE4 = '192.0.2.1';
export const ROUTER4 = '192.0.2.254';
export const ROUTER6 = '2001:db8:2::254';
export const SERVER4 = '198.51.100.10';
/** A second address of the server, for what must not be where the web server is. */
export const SERVER4_OTHER = '198.51.100.11';

export const NAMESPACES = ['pod', 'node', 'router', 'server'] as const;
export type Namespace = (typeof NAMESPACES)[number];

/** Both ends of every link, and their addresses. */
const LINKS = [
  { ends: ['pod', 'node'], names: ['eth0', 'pod0'] },
  { ends: ['node', 'router'], names: ['up0', 'lan0'] },
  { ends: ['router', 'server'], names: ['wan0', 'eth0'] },
] as const;

const SETUP: Readonly<Record<Namespace, readonly string[]>> = {
  pod: [
    `ip -6 addr add ${POD}/64 dev eth0 nodad`,
    `ip -6 route add default via ${NODE6}`,
    // IPv4 is not there at all, not even on loopback.
    'ip -4 addr flush dev lo',
  ],
  node: [
    `ip -6 addr add ${NODE6}/64 dev pod0 nodad`,
    `ip -4 addr add ${NODE4}/24 dev up0`,
    'ip -6 addr add 2001:db8:2::1/64 dev up0 nodad',
    `ip -4 route add default via ${ROUTER4}`,
    'sysctl -qw net.ipv6.conf.all.forwarding=1 net.ipv4.ip_forward=1',
  ],
  router: [
    `ip -4 addr add ${ROUTER4}/24 dev lan0`,
    `ip -6 addr add ${ROUTER6}/64 dev lan0 nodad`,
    'ip -4 addr add 198.51.100.1/24 dev wan0',
    'sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=10000',
  ],
  server: [
    `ip -4 addr add ${SERVER4}/24 dev eth0`,
    `ip -4 addr add ${SERVER4_OTHER}/24 dev eth0`,
    'ip -4 route add default via 198.51.100.1',
    'sysctl -qw net.ipv4.icmp_ratelimit=0 net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=4096',
  ],
};

const LEAVES: readonly Namespace[] = ['pod', 'server'];

export class Topology implements AsyncDisposable {
  /** Scratch files of what runs here. */
  readonly directory: string;
  readonly #prefix: string;
  readonly #running: Background[] = [];

  private constructor(prefix: string) {
    this.#prefix = prefix;
    this.directory = mkdtempSync(join(tmpdir(), 'gate64-topology-'));
  }

  /**
   * Makes the namespaces; `prefix` tells two topologies apart.
   * @throws Error outside the sandbox, where names and devices could be somebody else's
   */
  static async create(prefix = ''): Promise<Topology> {
    if (process.env['GATE64_SANDBOX'] !== '1') {
      throw new Error(
        'namespaces are made in the sandbox only: `make test-netns`, `make demo` or test/helpers/sandbox.sh',
      );
    }
    const topology = new Topology(prefix);
    try {
      await topology.#build();
    } catch (error) {
      await topology.dispose();
      throw error;
    }
    return topology;
  }

  async #build(): Promise<void> {
    const file = join(this.directory, 'resolv.conf');
    writeFileSync(file, `nameserver ${NODE6}\noptions timeout:3 attempts:2\n`);
    await prepareResolvConf();
    for (const name of NAMESPACES) {
      await run(['ip', 'netns', 'add', this.#name(name)]);
      // Link-local addresses are there at once, not two seconds later in the middle of a comparison.
      await this.sh(name, 'sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0');
    }
    for (const { ends, names } of LINKS) {
      const [left, right] = [this.#name(ends[0]), this.#name(ends[1])];
      await run(`ip link add name ${names[0]} netns ${left} type veth peer name ${names[1]} netns ${right}`.split(' '));
    }
    for (const name of NAMESPACES) {
      const interfaces = LINKS.flatMap(({ ends, names }) => names.filter((_, end) => ends[end] === name));
      const up = ['lo', ...interfaces].map((link) => `ip link set ${link} up`);
      await this.sh(name, [...up, ...SETUP[name]].join('\n'));
    }
    // Neighbours are known before the first test, so that none of them waits for address resolution.
    for (const leaf of LEAVES) {
      const [family, target] = leaf === 'pod' ? ['-6', NODE6] : ['-4', '198.51.100.1'];
      await this.run(leaf, ['ping', family, '-c', '1', '-W', '5', target]);
    }
    await this.run('node', ['ping', '-4', '-c', '1', '-W', '5', SERVER4]);
  }

  #name(name: Namespace): string {
    return this.#prefix + name;
  }

  /** The name below /run/netns. */
  netns(name: Namespace): string {
    return this.#name(name);
  }

  /**
   * Argument vector that runs a program in a namespace. nsenter, not `ip netns exec`, which would hide the bpffs mount.
   * The pod has a resolv.conf of its own that names the node.
   */
  enter(name: Namespace, argv: readonly string[]): string[] {
    const net = ['nsenter', `--net=/run/netns/${this.#name(name)}`, '--'];
    if (name !== 'pod') return [...net, ...argv];
    const script = 'mount --bind "$1" /etc/resolv.conf; shift; exec "$@"';
    return [...net, 'unshare', '--mount', 'sh', '-ec', script, 'pod', join(this.directory, 'resolv.conf'), ...argv];
  }

  async run(name: Namespace, argv: readonly string[], options?: RunOptions): Promise<Finished> {
    return run(this.enter(name, argv), options);
  }

  /** Runs shell text that ends at the first failure; gives what it printed, without white space at the end. */
  async sh(name: Namespace, script: string, options?: RunOptions): Promise<string> {
    return (await this.run(name, ['bash', '-euo', 'pipefail', '-c', script], options)).stdout.trimEnd();
  }

  /** Starts a program in the background; it is ended with the topology if not before. */
  start(name: Namespace, argv: readonly string[], environment?: Readonly<Record<string, string>>): Background {
    const started = start(this.enter(name, argv), environment);
    this.#running.push(started);
    return started;
  }

  /** MTU of both ends of the link between router and server. */
  async setServerLinkMtu(mtu: number): Promise<void> {
    await this.sh('router', `ip link set wan0 mtu ${mtu}`);
    await this.sh('server', `ip link set eth0 mtu ${mtu}`);
  }

  async dispose(): Promise<void> {
    // The last started is ended first: what is in front goes before what it stands on.
    for (const started of this.#running.toReversed()) await started.stop();
    for (const name of NAMESPACES) await run(['ip', 'netns', 'del', this.#name(name)], { accept: 'any' });
    rmSync(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** /etc/resolv.conf may be a link into /run, which is empty in the sandbox; a mount needs something to stand on. */
async function prepareResolvConf(): Promise<void> {
  const path = '/etc/resolv.conf';
  if (existsSync(path)) return;
  const target = resolve(dirname(path), await readlink(path));
  if (!target.startsWith('/run/')) throw new Error(`${path} leads to ${target}, which is not there`);
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, '');
}
