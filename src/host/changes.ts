// SPDX-License-Identifier: Apache-2.0
// What differs between a node as it is and as it is to be. Pure: the changes are data, in the order to make them; make.ts
// makes them.

import { isDeepStrictEqual } from 'node:util';
import { formatIp4, formatIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { HostRecord, Interface, NodeFacts, ProxyNeighbour, Route } from '../model/facts.ts';
import type { DesiredNode, DesiredRoute } from '../plan/desired.ts';
import { peerName } from '../model/device.ts';
import { deviceConflict } from '../plan/device.ts';
import { GUARD_METRIC, isGuard, leadsTo, ROUTE_PROTOCOL } from '../plan/own-routes.ts';
import { formatPortList, parsePortList } from '../plan/ports.ts';
import { forwardedInterface, IP_FORWARD, RESERVED_PORTS } from '../plan/sysctls.ts';
import type { Table } from './nft-table.ts';

export type Change =
  /** What is to be remembered, before it is done. */
  | { readonly kind: 'record'; readonly record: HostRecord }
  | { readonly kind: 'removeDevice'; readonly name: string }
  | { readonly kind: 'addDevice'; readonly name: string; readonly mtu: number }
  /** `set` are words of `ip link set`. */
  | { readonly kind: 'setDevice'; readonly name: string; readonly set: readonly string[] }
  | { readonly kind: 'flushAddresses'; readonly name: string }
  | { readonly kind: 'sysctl'; readonly name: string; readonly value: string }
  | {
      readonly kind: 'route';
      readonly verb: 'add' | 'del';
      readonly route: DesiredRoute;
      readonly device: string;
    }
  /** The nftables table, written whole; neither nets nor closed interfaces: it goes. */
  | ({ readonly kind: 'masquerade' } & Table)
  | { readonly kind: 'proxy'; readonly verb: 'add' | 'del'; readonly proxy: ProxyNeighbour };

/** The change in words; undefined for what concerns nobody but gate64. */
export function describe(change: Change): string | undefined {
  switch (change.kind) {
    case 'record':
      return undefined;
    case 'removeDevice':
      return `old device ${change.name}`;
    case 'addDevice':
      return `device ${change.name}`;
    case 'setDevice':
      return `device ${change.name} ${change.set.join(' ')}`;
    case 'flushAddresses':
      return `device ${change.name} without addresses`;
    case 'sysctl':
      return `sysctl net/${change.name} = ${change.value}`;
    case 'route':
      return `${change.verb === 'del' ? 'old ' : ''}${change.route.guard ? 'guard ' : ''}route ${change.route.dst}`;
    case 'masquerade':
      return `${isNoTable(change) ? 'old ' : ''}nftables table ip gate64`;
    case 'proxy': {
      const { v4, device } = change.proxy;
      return `${change.verb === 'del' ? 'old ' : ''}proxy neighbour ${formatIp4(v4)} on ${device}`;
    }
  }
}

export function changes(facts: NodeFacts, desired: DesiredNode): Change[] {
  const before = facts.record.device;
  const renamed =
    before !== undefined &&
    before !== desired.device.name &&
    facts.interfaces.some(({ name }) => name === before) &&
    // Something else by that name is left alone.
    deviceConflict(facts.interfaces, before) === undefined;
  return [
    ...recordChanges(facts, desired),
    ...(renamed ? [{ kind: 'removeDevice', name: before } as const] : []),
    ...deviceChanges(facts.interfaces, desired.device),
    // Before the sysctls, so that nothing is forwarded for others between.
    ...masqueradeChanges(facts, desired),
    ...desired.sysctls
      .filter(({ name, value }) => facts.sysctl(name) !== value)
      .map(({ name, value }): Change => ({ kind: 'sysctl', name, value })),
    ...routeChanges([...facts.routes4, ...facts.routes6], desired),
    ...proxyChanges(facts, desired.proxies),
  ];
}

function recordChanges(facts: NodeFacts, desired: DesiredNode): Change[] {
  const { record, proxies, withQdisc } = facts;
  const sysctls = { ...record.sysctls };
  let { wasRouter } = record;
  for (const { name, value, owned } of desired.sysctls) {
    const now = facts.sysctl(name);
    if (owned || now === undefined || now === value) continue;
    if (!(name in sysctls) && forwardedInterface(name) !== undefined) wasRouter = facts.sysctl(IP_FORWARD) === '1';
    sysctls[name] = { before: valueBefore(name, now, sysctls[name]), written: value };
  }
  const bare = desired.tcDevices.filter(
    (name) => withQdisc?.includes(name) === false && !record.withoutQdisc.includes(name),
  );
  const wanted: HostRecord = {
    device: desired.device.name,
    sysctls,
    // Those that go are remembered until they have gone.
    proxies: [
      ...desired.proxies,
      ...record.proxies.filter((entry) => !has(desired.proxies, entry) && has(proxies, entry)),
    ],
    // Pods' devices come and go; a qdisc goes with its device.
    withoutQdisc: [...record.withoutQdisc.filter((name) => facts.interfaces.some((one) => one.name === name)), ...bare],
    wasRouter,
  };
  return JSON.stringify(wanted) === JSON.stringify(record) ? [] : [{ kind: 'record', record: wanted }];
}

/** What was there before gate64's first change counts, not what gate64 itself wrote. */
function valueBefore(name: string, now: string, known: HostRecord['sysctls'][string] | undefined): string {
  if (known === undefined) return now;
  if (name !== RESERVED_PORTS) return known.before;
  // What others reserved since then is theirs.
  const written = parsePortList(known.written);
  const others = [...parsePortList(now)].filter((port) => !written.has(port));
  return formatPortList(new Set([...parsePortList(known.before), ...others]));
}

function deviceChanges(interfaces: readonly Interface[], { name: device, mtu }: DesiredNode['device']): Change[] {
  if (!interfaces.some(({ name }) => name === device)) return [{ kind: 'addDevice', name: device, mtu }];
  return [peerName(device), device].flatMap((name): Change[] => {
    const found = interfaces.find((candidate) => candidate.name === name);
    if (found === undefined) return [];
    const set: string[][] = [];
    // First, since the kernel has no IPv6 on a device below 1280 bytes, nor settings of it.
    if (found.mtu < mtu) set.push(['mtu', `${mtu}`]);
    if (found.addrGenMode !== 'none') set.push(['addrgenmode', 'none']);
    if (!found.arpOff) set.push(['arp', 'off']);
    if (!found.isUp) set.push(['up']);
    return [
      ...set.map((words): Change => ({ kind: 'setDevice', name, set: words })),
      ...(found.addresses6.length > 0 ? [{ kind: 'flushAddresses', name } as const] : []),
    ];
  });
}

/** What is missing, and what is gate64's but no longer wanted. */
function routeChanges(routes: readonly Route[], { device: { name: device }, routes: desired }: DesiredNode): Change[] {
  const main = routes.filter((route) => route.table === 'main');
  const isThere = (wanted: DesiredRoute, route: Route) =>
    route.dst === wanted.dst &&
    route.family === wanted.family &&
    (wanted.guard ? isGuard(route) : leadsTo(route, device));
  const missing = desired.filter((wanted) => !main.some((route) => isThere(wanted, route)));
  const stale = main
    .filter((route) => (leadsTo(route, device) && route.protocol === ROUTE_PROTOCOL) || isGuard(route))
    .filter((route) => !desired.some((wanted) => isThere(wanted, route)))
    .map((route): DesiredRoute => ({ family: route.family, dst: route.dst, guard: isGuard(route) }));
  return [
    ...missing.map((route): Change => ({ kind: 'route', verb: 'add', route, device })),
    ...stale.map((route): Change => ({ kind: 'route', verb: 'del', route, device })),
  ];
}

function masqueradeChanges(
  { masquerade: found }: NodeFacts,
  { masquerade: nets, device, trackingTimes: times, leaving, lost, opened, closed }: DesiredNode,
): Change[] {
  const text = (list: readonly Ip4Net[] | undefined) => list?.map(formatIp4Net).join();
  const isRight = isNoTable({ nets, closed })
    ? found === undefined
    : text(found?.nets) === text(nets) &&
      found?.device === device.name &&
      isDeepStrictEqual(found.closed, closed) &&
      (nets.length === 0 ||
        (found.guardsNode &&
          isDeepStrictEqual(found.times, times) &&
          isDeepStrictEqual([found.leaving, found.lost, found.opened], [leaving, lost, opened])));
  return isRight ? [] : [{ kind: 'masquerade', nets, device: device.name, times, leaving, lost, opened, closed }];
}

/** Whether there is nothing to be in the nftables table, so that it goes. */
export function isNoTable({ nets, closed }: Pick<Table, 'nets' | 'closed'>): boolean {
  return nets.length === 0 && closed.length === 0;
}

function proxyChanges({ proxies: present, record }: NodeFacts, desired: readonly ProxyNeighbour[]): Change[] {
  const missing = desired.filter((entry) => !has(present, entry));
  const stale = record.proxies.filter((entry) => !has(desired, entry) && has(present, entry));
  return [
    ...missing.map((proxy): Change => ({ kind: 'proxy', verb: 'add', proxy })),
    ...stale.map((proxy): Change => ({ kind: 'proxy', verb: 'del', proxy })),
  ];
}

export function has(proxies: readonly ProxyNeighbour[], wanted: ProxyNeighbour): boolean {
  return proxies.some(({ v4, device }) => v4 === wanted.v4 && device === wanted.device);
}

/** Words of `ip route` that name a route of gate64's. */
export function routeWords({ dst, guard }: DesiredRoute, device: string): string[] {
  return guard
    ? ['unreachable', dst, 'metric', `${GUARD_METRIC}`, 'proto', ROUTE_PROTOCOL]
    : [dst, 'dev', device, 'proto', ROUTE_PROTOCOL];
}
