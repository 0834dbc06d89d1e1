// SPDX-License-Identifier: Apache-2.0
// Routes that lead the prefixes and the pool to gate64's device, the guard behind them, and proxy neighbour entries for
// pool addresses that neighbours on the uplink ask for. All carry protocol 64, by which they are known again.

import { formatIp4, formatIp4Net, formatIp6Net, ip4InNet, ip4NetRange, parseIp4, type Ip4Net } from '../addr/ip.ts';
import type { PoolRange } from '../addr/pool-ranges.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import { ipRows, run, type Exec } from './exec.ts';
import type { Change, Interface } from './links.ts';
import type { HostProblem } from './problem.ts';

/** rtm_protocol of everything gate64 adds. */
const PROTOCOL = '64';

/** The worst metric there is: a guard that decides only when the device's route is gone. */
const GUARD_METRIC = 4294967295;

const MAIN = 'main';

export interface Route {
  readonly family: 4 | 6;
  /** Text with a length, "0.0.0.0/0" and "::/0" for the default route. */
  readonly dst: string;
  readonly type: string;
  readonly table: string;
  readonly devices: readonly string[];
  readonly gateways: readonly string[];
  readonly source: string | undefined;
  readonly protocol: string | undefined;
  readonly metric: number;
}

interface RouteJson {
  dst: string;
  type?: string;
  table?: string;
  dev?: string;
  gateway?: string;
  prefsrc?: string;
  protocol?: string;
  metric?: number;
  nexthops?: { dev?: string; gateway?: string }[];
}

/** `tables`: all for conflicts with others; main, where gate64's own and the default routes are, for frequent looks. */
export async function listRoutes(exec: Exec, family: 4 | 6, tables: 'all' | 'main' = 'all'): Promise<Route[]> {
  const rows = await ipRows<RouteJson>(exec, [`-${family}`, 'route', 'show', 'table', tables]);
  return rows.map((row): Route => {
    const hops = [row, ...(row.nexthops ?? [])];
    const whole = family === 4 ? '/32' : '/128';
    const any = family === 4 ? '0.0.0.0/0' : '::/0';
    return {
      family,
      dst: row.dst === 'default' ? any : row.dst.includes('/') ? row.dst : row.dst + whole,
      type: row.type ?? 'unicast',
      table: row.table ?? MAIN,
      devices: hops.flatMap((hop) => hop.dev ?? []),
      gateways: hops.flatMap((hop) => hop.gateway ?? []),
      source: row.prefsrc,
      protocol: row.protocol,
      metric: row.metric ?? 0,
    };
  });
}

/** What the routes must be: derived from configuration and node, never from what is there. */
export interface WantedRoutes {
  readonly device: string;
  readonly prefixes: readonly Prefix64[];
  /** Pool networks that are gate64's alone. */
  readonly poolNets: readonly Ip4Net[];
}

/** Networks of the pool that are routed to the device; the node's own address is not. */
export function routedPoolNets(pool: readonly PoolRange[]): Ip4Net[] {
  const nets = new Map(pool.filter((range) => !range.shared).map(({ net }) => [formatIp4Net(net), net]));
  return [...nets.values()];
}

/** Leased addresses that left the pool, as ranges; those of the node itself need no route. In order of addresses. */
export function drainingRanges(
  pool: readonly PoolRange[],
  leased: readonly number[],
  nodeAddresses: readonly number[],
): PoolRange[] {
  return leased
    .filter((v4) => !nodeAddresses.includes(v4) && !pool.some(({ net }) => ip4InNet(v4, net)))
    .sort((a, b) => a - b)
    .map((v4) => ({ net: { v4, length: 32 }, firstPort: 1, lastPort: 65535, shared: false }));
}

/** Routes of others that take the prefixes away from the device. */
export function routeConflicts(
  routes: readonly Route[],
  wantedPrefixes: readonly Prefix64[],
  ownDevices: readonly string[],
): HostProblem[] {
  const prefixes = new Set(wantedPrefixes.map(formatIp6Net));
  return routes
    .filter((route) => prefixes.has(route.dst) && !isOwn(route, ownDevices))
    .filter((route) => route.table === MAIN || route.table === 'local')
    .map((route) => {
      const table = route.table === MAIN ? '' : ` table ${route.table}`;
      const text = `${route.type === 'unicast' ? '' : `${route.type} `}${route.dst} dev ${route.devices[0] ?? '-'}${table}`;
      return {
        severity: 'error',
        code: 'G64_ROUTE_CONFLICT',
        message: `there is a route "${text}" for the translation prefix ${route.dst}, which is not gate64's`,
        hint: `Another translator may be at work. If nothing needs the route: ip -6 route del ${text}`,
      };
    });
}

function isOwn(route: Route, ownDevices: readonly string[]): boolean {
  return isGuard(route) || ownDevices.some((device) => leadsTo(route, device));
}

function isGuard(route: Route): boolean {
  return route.protocol === PROTOCOL && route.type === 'unreachable' && route.metric === GUARD_METRIC;
}

/** What is missing, and what is gate64's but no longer wanted. */
export function routeChanges(exec: Exec, routes: readonly Route[], wanted: WantedRoutes): Change[] {
  const { device } = wanted;
  const main = routes.filter((route) => route.table === MAIN);
  const guard = (dst: string) => ['-6', 'unreachable', dst, 'metric', `${GUARD_METRIC}`, 'proto', PROTOCOL];
  const specs = [
    ...wanted.prefixes.map(formatIp6Net).flatMap((dst) => [
      {
        dst,
        isThere: (route: Route) => route.dst === dst && isGuard(route),
        args: guard(dst),
        what: `guard route ${dst}`,
      },
      {
        dst,
        isThere: (route: Route) => route.dst === dst && leadsTo(route, device),
        args: ['-6', dst, 'dev', device, 'proto', PROTOCOL],
        what: `route ${dst}`,
      },
    ]),
    ...wanted.poolNets.map(formatIp4Net).map((dst) => ({
      dst,
      isThere: (route: Route) => route.dst === dst && leadsTo(route, device),
      args: ['-4', dst, 'dev', device, 'proto', PROTOCOL],
      what: `route ${dst}`,
    })),
  ];
  const missing = specs
    .filter((spec) => !main.some(spec.isThere))
    .map((spec) => change(exec, spec.what, 'add', spec.args));
  const stale = main
    .filter((route) => (leadsTo(route, device) && route.protocol === PROTOCOL) || isGuard(route))
    .filter((route) => !specs.some((spec) => spec.isThere(route)))
    .map((route) => {
      const args = isGuard(route)
        ? guard(route.dst)
        : [`-${route.family}`, route.dst, 'dev', device, 'proto', PROTOCOL];
      return change(exec, `old ${isGuard(route) ? 'guard ' : ''}route ${route.dst}`, 'del', args);
    });
  return [...missing, ...stale];
}

function leadsTo(route: Route, device: string): boolean {
  return route.type === 'unicast' && route.devices.includes(device);
}

function change(exec: Exec, what: string, verb: 'add' | 'del', [family = '', ...route]: readonly string[]): Change {
  const ip = (action: string) => run(exec, 'ip', [family, 'route', action, ...route]);
  return {
    what,
    make: async () => void (await ip(verb)),
    undo: async () => void (await ip(verb === 'add' ? 'del' : 'add')),
  };
}

/** Removes every guard route; the device's own routes go with the device. Returns what was removed. */
export async function removeGuards(exec: Exec): Promise<string[]> {
  const guards = (await listRoutes(exec, 6, MAIN)).filter((route) => route.table === MAIN && isGuard(route));
  for (const { dst } of guards) {
    await run(exec, 'ip', ['-6', 'route', 'del', 'unreachable', dst, 'metric', `${GUARD_METRIC}`, 'proto', PROTOCOL]);
  }
  return guards.map((route) => `guard route ${route.dst}`);
}

export interface ProxyNeighbour {
  readonly v4: number;
  readonly device: string;
}

/** Direct mode: pool addresses on the uplink's own network, which neighbours ask for by ARP. */
export function wantedProxies(pool: readonly PoolRange[], uplink: Interface): ProxyNeighbour[] {
  const found = new Map<number, ProxyNeighbour>();
  for (const net of routedPoolNets(pool)) {
    const [first, last] = ip4NetRange(net);
    for (let v4 = first; v4 <= last; v4++) {
      const onLink = uplink.addresses4.some((own) => own.length < 32 && ip4InNet(v4, own));
      if (onLink) found.set(v4, { v4, device: uplink.name });
    }
  }
  return [...found.values()];
}

export async function listProxies(exec: Exec): Promise<ProxyNeighbour[]> {
  const rows = await ipRows<{ dst: string; dev: string }>(exec, ['-4', 'neighbour', 'show', 'proxy']);
  return rows.flatMap(({ dst, dev }) => (/^[\d.]+$/.test(dst) ? [{ v4: parseIp4(dst), device: dev }] : []));
}

export function proxyChanges(
  exec: Exec,
  present: readonly ProxyNeighbour[],
  wanted: readonly ProxyNeighbour[],
  owned: readonly ProxyNeighbour[],
): Change[] {
  const missing = wanted.filter((entry) => !present.some((other) => sameProxy(entry, other)));
  const stale = owned.filter(
    (entry) => !wanted.some((other) => sameProxy(entry, other)) && present.some((other) => sameProxy(entry, other)),
  );
  return [
    ...missing.map((entry) => proxyChange(exec, 'add', entry)),
    ...stale.map((entry) => proxyChange(exec, 'del', entry)),
  ];
}

export function sameProxy(a: ProxyNeighbour, b: ProxyNeighbour): boolean {
  return a.v4 === b.v4 && a.device === b.device;
}

function proxyChange(exec: Exec, verb: 'add' | 'del', { v4, device }: ProxyNeighbour): Change {
  const ip = (action: string) => run(exec, 'ip', ['neighbour', action, 'proxy', formatIp4(v4), 'dev', device]);
  return {
    what: `${verb === 'del' ? 'old ' : ''}proxy neighbour ${formatIp4(v4)} on ${device}`,
    make: async () => void (await ip(verb)),
    undo: async () => void (await ip(verb === 'add' ? 'del' : 'add')),
  };
}
