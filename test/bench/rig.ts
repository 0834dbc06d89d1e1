// SPDX-License-Identifier: Apache-2.0
// Three network namespaces for one system under test: pod – node – server, joined by veth links.
//
//   pod                        node                                server (IPv4 only)
//  ┌───────────────────┐  ┌────────────────────────────────┐  ┌─────────────────────────────┐
//  │ eth0              ├──┤ pod0                       up0 ├──┤ eth0                        │
//  │ 2001:db8:1::2 or  │  │ 2001:db8:1::1 or               │  │ 198.51.100.10               │
//  │ 192.0.2.2         │  │ 192.0.2.1         198.51.100.1 │  │ 203.0.113.0/24, all of it   │
//  └───────────────────┘  └────────────────────────────────┘  └─────────────────────────────┘
//
// The pod speaks one family: IPv4 for plain routing and NAT44, IPv6 for the translators.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, start, type Background, type Finished, type RunOptions } from '../helpers/processes.ts';
import { REFLECT_OBJECT, SINK_OBJECT } from './tools.ts';

export type Place = 'pod' | 'node' | 'server';
const PLACES: readonly Place[] = ['pod', 'node', 'server'];

export const SERVER = '198.51.100.10';
/** Everything in this /24 is the server's too: destinations for many flows. The last octet is left out. */
export const MANY = '203.0.113.';
/**
 * What a pod's connections come from. A NAT64 with endpoint-independent bindings keeps a port for each of them for four
 * minutes after the connection (RFC 6146 3.5.2), so the default range would measure when a pod's quota is used up.
 */
const CLIENT_PORTS = '20000 21999';

export class Rig implements AsyncDisposable {
  readonly family: 4 | 6;
  readonly directory = mkdtempSync(join(tmpdir(), 'gate64-bench-'));
  readonly #prefix: string;
  readonly #running: Background[] = [];
  /** The MAC address that the pod sends to. */
  nodeMac = '';

  private constructor(name: string, family: 4 | 6) {
    this.#prefix = `${name}-`;
    this.family = family;
  }

  get podAddress(): string {
    return this.family === 4 ? '192.0.2.2' : '2001:db8:1::2';
  }

  static async create(name: string, family: 4 | 6): Promise<Rig> {
    if (process.env['GATE64_SANDBOX'] !== '1') throw new Error('the bench makes namespaces in the sandbox only');
    const rig = new Rig(name, family);
    try {
      await rig.#build();
    } catch (error) {
      await rig[Symbol.asyncDispose]();
      throw error;
    }
    return rig;
  }

  async #build(): Promise<void> {
    const [pod, node, server] = PLACES.map((place) => this.#prefix + place) as [string, string, string];
    for (const name of [pod, node, server]) await run(['ip', 'netns', 'add', name]);
    await run(words(`ip link add eth0 netns ${pod} type veth peer name pod0 netns ${node}`));
    await run(words(`ip link add up0 netns ${node} type veth peer name eth0 netns ${server}`));
    const [podNet, nodeAddress] =
      this.family === 4 ? ['192.0.2.2/24', '192.0.2.1'] : ['2001:db8:1::2/64', '2001:db8:1::1'];
    const nodad = this.family === 6 ? 'nodad' : '';
    const length = podNet.split('/')[1];
    await this.sh(
      'node',
      `ip link set lo up; ip link set pod0 up; ip link set up0 up
       ip addr add ${nodeAddress}/${length} dev pod0 ${nodad}; ip addr add 198.51.100.1/24 dev up0
       ip route add 203.0.113.0/24 via ${SERVER}; ip route add default via ${SERVER}
       sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1`,
    );
    await this.sh(
      'server',
      `ip link set lo up; ip link set eth0 up; ip addr add ${SERVER}/24 dev eth0
       ip route add local 203.0.113.0/24 dev lo; ip route add default via 198.51.100.1
       tc qdisc add dev eth0 clsact; tc filter add dev eth0 ingress bpf direct-action obj ${SINK_OBJECT} sec tc`,
    );
    await this.sh(
      'pod',
      `ip link set lo up; ip link set eth0 up; ip addr add ${podNet} dev eth0 ${nodad}
       ip -${this.family} route add default via ${nodeAddress}
       sysctl -qw net.ipv4.ip_local_port_range='${CLIENT_PORTS}'`,
    );
    this.nodeMac = await this.sh('node', "ip -o link show dev pod0 | sed -n 's|.*link/ether \\([^ ]*\\).*|\\1|p'");
    await this.run('pod', ['ping', '-c', '1', '-W', '5', nodeAddress]);
    await this.run('node', ['ping', '-c', '1', '-W', '5', SERVER]);
    // What is asked for again in the middle of a measurement costs packets.
    await this.sh(
      'node',
      'ip neigh show | while read -r a _ d _ m _; do ip neigh replace "$a" dev "$d" lladdr "$m" nud permanent; done',
    );
  }

  /**
   * XDP frames are taken by a veth whose peer polls (GRO on); polled by a thread, they are worked on beside the
   * generator instead of inside it.
   */
  async packetMode(on: boolean): Promise<void> {
    await this.sh('node', `ethtool -K pod0 gro ${on ? 'on' : 'off'}`);
    const threaded = 'test ! -w /sys/class/net/pod0/threaded || echo "$0" > /sys/class/net/pod0/threaded';
    await run(['ip', 'netns', 'exec', `${this.#prefix}node`, 'sh', '-c', threaded, on ? '1' : '0'], { accept: 'any' });
  }

  /** Whether the server answers datagrams with what came; otherwise they end at its device. */
  async answers(on: boolean): Promise<void> {
    const filter = 'dev eth0 ingress pref 1 protocol all';
    const what = `bpf direct-action obj ${REFLECT_OBJECT} sec tc`;
    await this.sh('server', on ? `tc filter add ${filter} ${what}` : `tc filter del ${filter}`);
  }

  enter(place: Place, argv: readonly string[]): string[] {
    return ['nsenter', `--net=/run/netns/${this.#prefix}${place}`, '--', ...argv];
  }

  run(place: Place, argv: readonly string[], options?: RunOptions): Promise<Finished> {
    return run(this.enter(place, argv), options);
  }

  async sh(place: Place, script: string, options?: RunOptions): Promise<string> {
    return (await this.run(place, ['bash', '-euo', 'pipefail', '-c', script], options)).stdout.trim();
  }

  start(place: Place, argv: readonly string[]): Background {
    const started = start(this.enter(place, argv));
    this.#running.push(started);
    return started;
  }

  /** Packets that reached the server so far. */
  async arrived(): Promise<number> {
    const [link] = JSON.parse(await this.sh('server', 'ip -j -s link show dev eth0')) as [
      { stats64: { rx: { packets: number } } },
    ];
    return link.stats64.rx.packets;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const started of this.#running.toReversed()) await started.stop(9000);
    for (const place of PLACES) await run(['ip', 'netns', 'del', this.#prefix + place], { accept: 'any' });
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function words(command: string): string[] {
  return command.split(' ');
}
