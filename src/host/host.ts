// SPDX-License-Identifier: Apache-2.0
// The node's side of gate64: looks whether the node can carry it, prepares device, routes, sysctls and nftables, puts back
// what got lost, and takes everything away again. Checks everything before it changes anything.

import { poolRanges, type PoolRange } from '../addr/pool-ranges.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { Nat64Config } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';
import { directCollisions, listSockets, masqueradeCollisions } from './collisions.ts';
import { execCommand, run, type Exec } from './exec.ts';
import { deviceChanges, deviceConflict, listInterfaces, type Change, type Interface } from './links.ts';
import { nftChanges } from './nft.ts';
import { rememberQdisc } from './qdisc.ts';
import { preflight } from './preflight.ts';
import { problemOf, throwErrors, type HostProblem } from './problem.ts';
import {
  listProxies,
  drainingRanges,
  listRoutes,
  proxyChanges,
  routeChanges,
  routeConflicts,
  routedPoolNets,
  sameProxy,
  wantedProxies,
  type Route,
} from './routes.ts';
import { openStateFile, STATE_FILE, type StateFile } from './state.ts';
import {
  ALL_FORWARDING6,
  formatPortList,
  LOCAL_PORT_RANGE,
  openSysctls,
  parsePortList,
  RESERVED_PORTS,
  sysctlChanges,
  sysctlRoot,
  wantedSysctls,
  type Sysctls,
} from './sysctls.ts';
import { uninstallHost } from './uninstall.ts';
import { findUplink, nodeAddress6, nodeAddresses4, outsideInterfaces, uplinkAddress } from './uplink.ts';

export interface HostConfig {
  readonly prefixes: readonly Prefix64[];
  readonly nat64: Pick<Nat64Config, 'device' | 'egress' | 'uplink' | 'pool'>;
}

export interface HostOptions {
  readonly config: HostConfig;
  /** Where old values are kept; /run/gate64/host.json when left out. */
  readonly stateFile?: string;
  readonly exec?: Exec;
}

/** What the data plane has to know of the node. Its fields are those that createNat64() takes as `hostFacts`. */
export interface HostSnapshot {
  readonly device: { readonly ifindex: number; readonly mac: Uint8Array; readonly mtu: number };
  /** Interfaces that lead outside; the first is the way out. */
  readonly uplinks: readonly {
    readonly ifindex: number;
    readonly name: string;
    readonly mtu: number;
    readonly mac: Uint8Array;
  }[];
  readonly nodeAddresses: readonly number[];
  readonly node6: Uint8Array;
  /** nat64.pool as it stands on this node. */
  readonly pool: readonly PoolRange[];
}

export interface Reconciled {
  /** What was missing and has been put back, in words. */
  readonly repaired: readonly string[];
  /** True when the device had to be made anew: programs have to be attached again. */
  readonly deviceRecreated: boolean;
  readonly snapshot: HostSnapshot;
}

export interface Host {
  /** What is wrong, without changing anything. */
  check(): Promise<HostProblem[]>;
  /**
   * Prepares the node; idempotent. Throws the first error of check(), or what failed after taking its own changes back.
   * `leased`: IPv4 addresses that pods use; those that left the pool are led to gate64 as if they were of it.
   */
  apply(leased?: readonly number[]): Promise<HostSnapshot>;
  /** Puts back what is missing (nftables flushed, a route or the device deleted), takes away what is no longer leased. */
  reconcile(leased?: readonly number[]): Promise<Reconciled>;
  snapshot(): Promise<HostSnapshot>;
  /** Removes all of it and restores sysctls. */
  uninstall(): Promise<string[]>;
}

/** The node as it is, and what follows from it and the configuration. */
interface Look {
  readonly interfaces: readonly Interface[];
  readonly routes4: readonly Route[];
  readonly routes6: readonly Route[];
  readonly uplink: Interface;
  readonly pool: readonly PoolRange[];
}

export function createHost(options: HostOptions): Host {
  return new LinuxHost(options);
}

class LinuxHost implements Host {
  readonly #config: HostConfig;
  readonly #exec: Exec;
  readonly #sysctls: Sysctls;
  readonly #stateFile: string;
  readonly #state: StateFile;

  constructor(options: HostOptions) {
    this.#config = options.config;
    this.#exec = options.exec ?? execCommand;
    this.#sysctls = openSysctls(sysctlRoot());
    this.#stateFile = options.stateFile ?? STATE_FILE;
    this.#state = openStateFile(this.#stateFile);
  }

  async check(): Promise<HostProblem[]> {
    const problems = await preflight(this.#exec);
    if (problems.some((problem) => problem.severity === 'error')) return problems;
    try {
      problems.push(...(await this.#problems(await this.#look('all'))));
    } catch (error) {
      if (!(error instanceof Gate64Error)) throw error;
      problems.push(problemOf(error));
    }
    return problems;
  }

  async apply(leased: readonly number[] = []): Promise<HostSnapshot> {
    throwErrors(await this.check());
    await this.#makeAll(await this.#changes(await this.#look(), leased));
    return this.snapshot();
  }

  async reconcile(leased: readonly number[] = []): Promise<Reconciled> {
    const look = await this.#look();
    const conflict = deviceConflict(look.interfaces, this.#config.nat64.device);
    if (conflict !== undefined) throw conflict;
    const deviceRecreated = !look.interfaces.some(({ name }) => name === this.#config.nat64.device);
    const changes = await this.#changes(look, leased);
    await this.#makeAll(changes);
    const snapshot = changes.length === 0 ? this.#snapshotOf(look) : await this.snapshot();
    return { repaired: changes.map((change) => change.what), deviceRecreated, snapshot };
  }

  async snapshot(): Promise<HostSnapshot> {
    return this.#snapshotOf(await this.#look());
  }

  #snapshotOf({ interfaces, routes4, routes6, uplink, pool }: Look): HostSnapshot {
    const name = this.#config.nat64.device;
    const device = interfaces.find((entry) => entry.name === name);
    if (device === undefined) {
      throw new Gate64Error('G64_DATAPATH_MISSING', `the device "${name}" is not on this node`, {
        hint: 'gate64 run makes it.',
      });
    }
    const node6 = nodeAddress6(interfaces, uplink, this.#config.prefixes[0], uplinkAddress(uplink, routes4));
    if (node6 === undefined) {
      throw new Gate64Error(
        'G64_NO_UPLINK',
        `the uplink "${uplink.name}" has no address, and the node no IPv6 address`,
        {
          hint: 'Give the node an IPv6 address; ICMPv6 errors are sent from it.',
        },
      );
    }
    return {
      device: { ifindex: device.ifindex, mac: device.mac, mtu: device.mtu },
      uplinks: outsideInterfaces(interfaces, routes4, routes6, uplink).map(({ ifindex, name, mtu, mac }) => ({
        ifindex,
        name,
        mtu,
        mac,
      })),
      nodeAddresses: nodeAddresses4(interfaces),
      node6,
      pool,
    };
  }

  async uninstall(): Promise<string[]> {
    const { device } = this.#config.nat64;
    return uninstallHost({ device, stateFile: this.#stateFile, exec: this.#exec });
  }

  async #look(tables: 'all' | 'main' = 'main'): Promise<Look> {
    const { nat64 } = this.#config;
    const [interfaces, routes4, routes6] = await Promise.all([
      listInterfaces(this.#exec),
      listRoutes(this.#exec, 4, tables),
      listRoutes(this.#exec, 6, tables),
    ]);
    const uplink = findUplink(interfaces, routes4, nat64);
    const pool = poolRanges(nat64.pool, {
      egress: nat64.egress,
      uplinkAddress: uplinkAddress(uplink, routes4),
      nodeAddresses: nodeAddresses4(interfaces),
    });
    return { interfaces, routes4, routes6, uplink, pool };
  }

  async #problems({ interfaces, routes4, routes6, pool }: Look): Promise<HostProblem[]> {
    const { device, egress } = this.#config.nat64;
    const problems: HostProblem[] = [];
    // After a change of nat64.device the old one is still there, and goes in apply().
    const own = [device, this.#state.read().device ?? device];
    const conflict = deviceConflict(interfaces, device);
    if (conflict !== undefined) problems.push(problemOf(conflict));
    problems.push(...routeConflicts(routes6, this.#config.prefixes, own));
    if (egress === 'masquerade') {
      problems.push(...masqueradeCollisions(pool, routes4, own));
    } else {
      problems.push(
        ...directCollisions({
          pool,
          routes4,
          sockets: pool.some((range) => range.shared) ? await listSockets(this.#exec) : [],
          ephemeral: this.#ephemeralPorts(),
          reserved: this.#reservedPorts(),
        }),
      );
    }
    if (this.#sysctls.read(ALL_FORWARDING6) === '0') {
      problems.push({
        severity: 'warning',
        code: 'G64_FORWARDING_OFF',
        message:
          'the node does not forward IPv6 (net.ipv6.conf.all.forwarding is 0), so packets of pods do not reach gate64',
        hint: 'sysctl -w net.ipv6.conf.all.forwarding=1 (an uplink configured by router advertisements then needs accept_ra=2).',
      });
    }
    return problems;
  }

  /** Everything that is not as it must be, in the order to make it. */
  async #changes({ interfaces, routes4, routes6, uplink, pool }: Look, leased: readonly number[]): Promise<Change[]> {
    const { device, egress } = this.#config.nat64;
    const exec = this.#exec;
    const routed = [...pool, ...drainingRanges(pool, leased, nodeAddresses4(interfaces))];
    const poolNets = routedPoolNets(routed);
    const proxies = egress === 'direct' ? wantedProxies(routed, uplink) : [];
    const state = this.#state.read();
    const changes: Change[] = [];
    if (state.device !== device) changes.push(...this.#renamed(interfaces, state.device, device));
    changes.push(...deviceChanges(exec, interfaces, device));
    if (egress === 'direct') changes.push(...(await rememberQdisc(exec, this.#state, uplink.name)));
    // An address of the pool is answered for by ARP, and its packets are let in, on an interface that forwards alone.
    const forwardingUplink = egress === 'masquerade' || proxies.length > 0 ? uplink.name : undefined;
    const sysctls = wantedSysctls({ device, forwardingUplink });
    const sharedPorts = pool.filter((range) => range.shared);
    if (sharedPorts.length > 0) {
      const ports = this.#reservedPorts();
      for (const { firstPort, lastPort } of sharedPorts)
        for (let port = firstPort; port <= lastPort; port++) ports.add(port);
      sysctls.push({ name: RESERVED_PORTS, value: formatPortList(ports), owned: false });
    }
    changes.push(...sysctlChanges(this.#sysctls, this.#state, sysctls));
    const wanted = { device, prefixes: this.#config.prefixes, poolNets };
    changes.push(...routeChanges(exec, [...routes4, ...routes6], wanted));
    changes.push(...(await nftChanges(exec, egress === 'masquerade' ? poolNets : [], device)));
    if (proxies.length > 0 || state.proxies.length > 0) {
      changes.push(
        ...this.#rememberProxies(proxies),
        ...proxyChanges(exec, await listProxies(exec), proxies, state.proxies),
      );
    }
    return changes;
  }

  /** Another name than last time: the old device goes, the new one is remembered. */
  #renamed(interfaces: readonly Interface[], from: string | undefined, to: string): Change[] {
    const remember: Change = {
      what: `state file`,
      make: async () => this.#state.write({ ...this.#state.read(), device: to }),
      undo: async () => this.#state.write({ ...this.#state.read(), device: from }),
    };
    const old =
      from !== undefined &&
      interfaces.some(({ name }) => name === from) &&
      deviceConflict(interfaces, from) === undefined
        ? from
        : undefined;
    if (old === undefined) return [remember];
    const remove: Change = {
      what: `old device ${old}`,
      make: async () => void (await run(this.#exec, 'ip', ['link', 'del', old])),
      undo: async () => {
        // apply() with the old name makes it again.
      },
    };
    return [remember, remove];
  }

  #rememberProxies(proxies: readonly { v4: number; device: string }[]): Change[] {
    const before = this.#state.read().proxies;
    const same =
      before.length === proxies.length && proxies.every((entry) => before.some((other) => sameProxy(entry, other)));
    if (same) return [];
    return [
      {
        what: 'state file',
        make: async () => this.#state.write({ ...this.#state.read(), proxies }),
        undo: async () => this.#state.write({ ...this.#state.read(), proxies: before }),
      },
    ];
  }

  async #makeAll(changes: readonly Change[]): Promise<void> {
    const made: Change[] = [];
    try {
      for (const change of changes) {
        await change.make();
        made.push(change);
      }
    } catch (error) {
      // What goes with an undone device cannot be undone by itself any more, which is no second failure.
      for (const change of made.reverse()) await change.undo().catch(() => undefined);
      throw error;
    }
  }

  #ephemeralPorts(): [number, number] {
    const [first, last] = (this.#sysctls.read(LOCAL_PORT_RANGE) ?? '').split(/\s+/).map(Number);
    return [first || 32768, last || 60999];
  }

  #reservedPorts(): Set<number> {
    return parsePortList(this.#sysctls.read(RESERVED_PORTS) ?? '');
  }
}
