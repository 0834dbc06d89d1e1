// SPDX-License-Identifier: Apache-2.0
// A node in memory: what is made there is there, as far as facts tell.

import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { Gate64Error } from '../../src/errors.ts';
import { describe, has, isNoTable, type Change } from '../../src/host/changes.ts';
import type { Host } from '../../src/host/host.ts';
import type {
  ForwardChain,
  HostRecord,
  Interface,
  MasqueradeTable,
  NodeFacts,
  ProxyNeighbour,
  Route,
  Rule,
  SnatRule,
  Socket,
} from '../../src/model/facts.ts';
import { peerName } from '../../src/model/device.ts';
import type { Finding } from '../../src/plan/findings.ts';
import { GUARD_METRIC, isGuard, leadsTo, ROUTE_PROTOCOL } from '../../src/plan/own-routes.ts';

const EMPTY_RECORD: HostRecord = { device: undefined, sysctls: {}, proxies: [], withoutQdisc: [], wasRouter: false };

export function fakeInterface(name: string, ifindex: number, more: Partial<Interface> = {}): Interface {
  return {
    ifindex,
    name,
    kind: undefined,
    linkType: 'ether',
    mac: Uint8Array.of(2, 0, 0, 0, 0, ifindex),
    mtu: 1500,
    isUp: true,
    arpOff: false,
    addrGenMode: 'eui64',
    peer: undefined,
    master: undefined,
    groIp4: undefined,
    addresses4: [],
    addresses6: [],
    ...more,
  };
}

export function fakeRoute(dst: string, device: string, more: Partial<Route> = {}): Route {
  return {
    family: dst.includes(':') ? 6 : 4,
    dst,
    type: 'unicast',
    table: 'main',
    devices: [device],
    gateways: [],
    source: undefined,
    protocol: undefined,
    metric: 0,
    ...more,
  };
}

/** An uplink with 203.0.113.2/24 and 2001:db8::2, a default route by it. */
export class FakeHost implements Host {
  interfaces: Interface[] = [
    fakeInterface('up0', 2, {
      addresses4: [{ v4: parseIp4('203.0.113.2'), length: 24, secondary: false }],
      addresses6: [{ v6: parseIp6('2001:db8::2'), scope: 'global', usable: true }],
    }),
  ];
  routes: Route[] = [fakeRoute('0.0.0.0/0', 'up0', { gateways: ['203.0.113.1'] })];
  rules6: Rule[] = [];
  sockets: Socket[] = [];
  proxies: ProxyNeighbour[] = [];
  masquerade: MasqueradeTable | undefined;
  droppingForwards: ForwardChain[] = [];
  snatRules: SnatRule[] = [];
  record: HostRecord = EMPTY_RECORD;
  sysctls = new Map([
    ['ipv4/conf/up0/forwarding', '0'],
    ['ipv6/conf/all/forwarding', '1'],
    ['ipv4/ip_local_reserved_ports', ''],
    ['ipv4/ip_local_port_range', '32768\t60999'],
  ]);
  /** What preflight() says. */
  lacks: Finding[] = [];
  /** Whether making this fails. */
  fails: (change: Change) => boolean = () => false;
  /** In the order they were made. */
  made: Change[] = [];
  looks = 0;
  /** Stands for an event of the node. */
  tell: () => void = () => undefined;
  #nextIfindex = 10;

  preflight(): Promise<Finding[]> {
    return Promise.resolve(this.lacks);
  }

  observe(): Promise<NodeFacts> {
    this.looks++;
    const sysctls = new Map(this.sysctls);
    return Promise.resolve({
      interfaces: [...this.interfaces],
      routes4: this.routes.filter(({ family }) => family === 4),
      routes6: this.routes.filter(({ family }) => family === 6),
      sockets: [...this.sockets],
      proxies: [...this.proxies],
      withQdisc: [],
      masquerade: this.masquerade,
      rules4: [],
      rules6: this.rules6,
      droppingForwards: [...this.droppingForwards],
      snatRules: this.snatRules,
      record: this.record,
      sysctl: (name) => sysctls.get(name),
    });
  }

  make(changes: readonly Change[]): Promise<void> {
    for (const change of changes) {
      if (this.fails(change)) {
        return Promise.reject(new Gate64Error('G64_HOST_COMMAND', `${describe(change) ?? change.kind} failed`));
      }
      this.#make(change);
      this.made.push(change);
    }
    return Promise.resolve();
  }

  uninstall(device: string): Promise<string[]> {
    this.removeDevice(device);
    this.routes = this.routes.filter((route) => !isGuard(route));
    this.masquerade = undefined;
    for (const [name, { before }] of Object.entries(this.record.sysctls)) this.sysctls.set(name, before);
    this.record = EMPTY_RECORD;
    return Promise.resolve([]);
  }

  watch(onChange: () => void): { stop(): void } {
    this.tell = onChange;
    return { stop: () => (this.tell = () => undefined) };
  }

  /** With its routes, as the kernel does. */
  removeDevice(name: string): void {
    this.interfaces = this.interfaces.filter((one) => one.name !== name && one.name !== peerName(name));
    this.routes = this.routes.filter((route) => isGuard(route) || !leadsTo(route, name));
    for (const key of this.sysctls.keys()) if (key.includes(`/${name}/`)) this.sysctls.delete(key);
  }

  /** All that gate64 may change, for comparison; interface numbers left out. */
  state(): unknown {
    return {
      interfaces: this.interfaces.map(({ name, mtu, arpOff, isUp }) => ({ name, mtu, arpOff, isUp })),
      routes: this.routes.map((route) => JSON.stringify(route)).toSorted(),
      proxies: this.proxies,
      masquerade: this.masquerade,
      sysctls: [...this.sysctls].map(([name, value]) => `${name}=${value}`).toSorted(),
    };
  }

  #make(change: Change): void {
    switch (change.kind) {
      case 'record':
        this.record = change.record;
        break;
      case 'removeDevice':
        this.removeDevice(change.name);
        break;
      case 'addDevice': {
        const { name, mtu } = change;
        const more = { kind: 'veth', mtu, arpOff: true, addrGenMode: 'none' };
        const peer = peerName(name);
        this.interfaces.push(
          fakeInterface(name, this.#nextIfindex++, { ...more, peer }),
          fakeInterface(peer, this.#nextIfindex++, { ...more, peer: name }),
        );
        break;
      }
      case 'setDevice':
        this.#set(change.name, change.set);
        break;
      case 'flushAddresses':
        this.interfaces = this.interfaces.map((one) => (one.name === change.name ? { ...one, addresses6: [] } : one));
        break;
      case 'sysctl':
        this.sysctls.set(change.name, change.value);
        break;
      case 'route': {
        const { route, device, verb } = change;
        const made = fakeRoute(
          route.dst,
          route.guard ? 'lo' : device,
          route.guard
            ? { type: 'unreachable', metric: GUARD_METRIC, protocol: ROUTE_PROTOCOL }
            : { protocol: ROUTE_PROTOCOL },
        );
        const isIt = (other: Route) => other.dst === made.dst && isGuard(other) === route.guard;
        if (verb === 'add') this.routes.push(made);
        else this.routes = this.routes.filter((other) => !isIt(other) || other.protocol !== ROUTE_PROTOCOL);
        break;
      }
      case 'masquerade': {
        const { kind: _, ...table } = change;
        this.masquerade = isNoTable(table)
          ? undefined
          : { ...table, guardsNode: table.nets.length > 0, hasTimes: true };
        break;
      }
      case 'proxy':
        this.proxies = this.proxies.filter((other) => !has([change.proxy], other));
        if (change.verb === 'add') this.proxies.push(change.proxy);
        break;
    }
  }

  #set(name: string, [what, value]: readonly string[]): void {
    const settings: Readonly<Record<string, Partial<Interface>>> = {
      mtu: { mtu: Number(value) },
      addrgenmode: { addrGenMode: value },
      arp: { arpOff: true },
      up: { isUp: true },
    };
    const set = settings[what ?? ''];
    this.interfaces = this.interfaces.map((one) => (one.name === name ? { ...one, ...set } : one));
  }
}
