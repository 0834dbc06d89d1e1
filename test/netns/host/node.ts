// SPDX-License-Identifier: Apache-2.0
// A node with an uplink, in the network namespace that the tests' wrapper made: what the host tests start from and how
// they look at it.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseIp4Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import type { Nat64Config } from '../../../src/config/config.ts';
import { type Exec } from '../../../src/host/exec.ts';
import { LinuxHost } from '../../../src/host/host.ts';
import type { PoolRange } from '../../../src/model/pool.ts';
import type { Desired } from '../../../src/plan/desired.ts';
import { findings } from '../../../src/plan/plan.ts';
import type { Finding } from '../../../src/plan/findings.ts';
import { Reconciler } from '../../../src/reconciler.ts';
import { FakeSite } from '../../fakes/site.ts';
import { TestLog } from '../../unit/nat64/support.ts';

type PoolConfig = Nat64Config['pool'];

export const MASQUERADE_POOL: PoolConfig = [
  { addresses: [parseIp4Net('192.0.0.0/29')], firstPort: 1024, lastPort: 65535, portsGiven: false },
];
export const SHARED_POOL: PoolConfig = [{ addresses: 'uplink', firstPort: 61001, lastPort: 65535, portsGiven: true }];
export const pool = (address: string, firstPort = 61001, lastPort = 65535): PoolConfig => [
  { addresses: [parseIp4Net(address)], firstPort, lastPort, portsGiven: true },
];

export function sh(command: string): string {
  return execFileSync('sh', ['-ec', command], { encoding: 'utf8' });
}

export const sysctl = (name: string) => readFileSync(`/proc/sys/net/${name}`, 'utf8').trim();

/** All of the node that gate64 may touch; order, interface numbers, counters and nftables' handles left out. */
export function nodeState(): unknown {
  const json = (command: string) =>
    JSON.parse(sh(command).trim() || '[]', (key, value: unknown) => {
      if (key === 'handle') return undefined;
      return Array.isArray(value) ? value.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : value;
    }) as unknown;
  return {
    links: (json('ip -j link show') as { ifname: string; mtu: number; flags: string[] }[]).map(
      ({ ifname, mtu, flags }) => ({ ifname, mtu, flags }),
    ),
    // Multicast routes come with interfaces, link-local addresses a moment after them.
    routes6: (json('ip -j -6 route show table all') as { type?: string; dst: string }[]).filter(
      ({ type, dst }) => type !== 'multicast' && !dst.startsWith('fe80:'),
    ),
    routes4: json('ip -j -4 route show table all'),
    proxies: json('ip -j neighbour show proxy'),
    nft: json('nft -j list ruleset'),
    sysctls: [
      'ipv4/conf/up0/forwarding',
      'ipv4/ip_local_reserved_ports',
      'ipv6/conf/all/forwarding',
      'ipv4/ip_forward',
      'ipv4/conf/all/rp_filter',
    ].map((name) => [name, sysctl(name)]),
  };
}

export async function errorOf(promise: Promise<unknown>): Promise<Gate64Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Gate64Error) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** What gate64 found of the node when it was as it must be. */
export interface Found {
  readonly device: { readonly ifindex: number; readonly mac: Uint8Array; readonly mtu: number };
  readonly uplinks: readonly string[];
  readonly nodeAddresses: readonly number[];
  readonly node6: Uint8Array;
  readonly pool: readonly PoolRange[];
}

/** gate64 on the node: the real node's side, a data plane in memory. */
export class Side {
  readonly #config: ReturnType<typeof parseConfig>;
  readonly #host: LinuxHost;
  readonly #site: FakeSite;
  readonly #log = new TestLog();
  #running: Reconciler | undefined;
  #desired: Desired | undefined;

  constructor(
    nat64: Partial<Nat64Config>,
    prefixes: readonly string[],
    site: FakeSite,
    stateFile: string,
    exec?: Exec,
  ) {
    const config = parseConfig('', 'defaults');
    this.#config = { ...config, prefixes: prefixes.map(parsePrefix64), nat64: { ...config.nat64, ...nat64 } };
    this.#host = new LinuxHost({ stateFile, ...(exec === undefined ? {} : { exec }) });
    this.#site = site;
  }

  /** A start. `leased`: IPv4 addresses that pods use on the data plane that was there. */
  async apply(leased: readonly number[] = []): Promise<Found> {
    await this.#running?.stop();
    this.#site.leased = leased;
    this.#log.lines.length = 0;
    this.#running = await Reconciler.start({
      config: this.#config,
      host: this.#host,
      site: this.#site,
      log: this.#log,
      onConverged: (desired) => (this.#desired = desired),
    });
    running.add(this.#running);
    return this.#found();
  }

  /** A look, or with `leased` a start; what had to be changed. */
  async reconcile(leased?: readonly number[]): Promise<{ repaired: readonly string[]; found: Found }> {
    this.#log.lines.length = 0;
    if (leased !== undefined || this.#running === undefined) await this.apply(leased);
    else await this.#running.look();
    const failed = this.#log.lines.find(({ level }) => level === 'error');
    if (failed !== undefined) throw failed.fields['err'];
    const repaired = this.#log.lines.flatMap(
      ({ fields }) => (fields['repaired'] ?? fields['changes'] ?? []) as string[],
    );
    return { repaired, found: this.#found() };
  }

  async check(): Promise<Finding[]> {
    const facts = await this.#host.observe({ direct: this.#config.nat64.egress === 'direct', thorough: true });
    return [...(await this.#host.preflight()), ...findings(this.#config, facts)];
  }

  async uninstall(): Promise<string[]> {
    await this.#running?.stop();
    this.#site.remove();
    return this.#host.uninstall(this.#config.nat64.device);
  }

  #found(): Found {
    const desired = this.#desired;
    if (desired?.datapath === undefined) throw new Error('nothing has been found yet');
    const { programs, nodeAddresses, pool } = desired.datapath;
    return {
      device: { ifindex: programs.deviceIfindex, mac: programs.deviceMac, mtu: programs.deviceMtu },
      uplinks: desired.uplinks,
      nodeAddresses,
      node6: programs.node6,
      pool,
    };
  }
}

/** What each test started. */
const running = new Set<Reconciler>();

/** Made before each test and taken away after it; `host` is gate64's side of it, with a state file of its own. */
export class Node {
  #directory = '';
  #site = new FakeSite();

  readonly host = (nat64: Partial<Nat64Config> = {}, prefixes = ['64:ff9b::/96'], exec?: Exec): Side =>
    new Side({ pool: MASQUERADE_POOL, ...nat64 }, prefixes, this.#site, this.stateFile, exec);

  constructor() {
    before(() => {
      if (process.env['GATE64_SANDBOX'] !== '1') {
        throw new Error(
          'these tests change the network namespace they run in; run them through test/helpers/sandbox.sh',
        );
      }
    });
    beforeEach(() => this.#make());
    afterEach(async () => {
      for (const one of running) await one.stop();
      running.clear();
      this.#remove();
    });
  }

  get stateFile(): string {
    return join(this.#directory, 'host.json');
  }

  #make(): void {
    this.#site = new FakeSite();
    this.#directory = mkdtempSync(join(tmpdir(), 'gate64-host-'));
    sh(`ip link set lo up
      ip link add up0 type veth peer name up1
      ip link set up0 addrgenmode none up; ip link set up1 addrgenmode none up
      ip address add 203.0.113.2/24 dev up0
      ip address add 2001:db8::2/64 dev up0 nodad
      ip route add default via 203.0.113.1 dev up0
      echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
      echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding
      echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range
      echo 8080,9148-9150 > /proc/sys/net/ipv4/ip_local_reserved_ports
      for try in $(seq 50); do # the address's local route comes with the carrier, a moment later
        ip -6 route show table local dev up0 | grep -q '^local 2001:db8::2' && break; sleep 0.1
      done`);
  }

  #remove(): void {
    for (const device of ['up0', 'gate64', 'gate65', 'other0', 'tun64'])
      sh(`ip link del ${device} 2>/dev/null || true`);
    sh(`ip -6 route flush table main proto 64 2>/dev/null || true
      ip -6 route del unreachable 64:ff9b::/96 metric 4294967295 2>/dev/null || true
      nft flush ruleset
      printf '\\n' > /proc/sys/net/ipv4/ip_local_reserved_ports`);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
