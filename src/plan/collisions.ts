// SPDX-License-Identifier: Apache-2.0
// What the pool would take away from the node itself (RFC 4787 REQ-7): addresses, routes, ephemeral ports, sockets,
// NodePorts; and what others would take from gate64.

import {
  formatIp4,
  formatIp4Net,
  formatIp6Net,
  ip4InNet,
  ip4NetsOverlap,
  parseIp4,
  parseIp4Net,
  type Ip4Net,
  type Ip6Net,
} from '../addr/ip.ts';

import type { Route, Socket } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { Finding, FindingName } from './findings.ts';
import { isGuard, leadsTo } from './own-routes.ts';
import { formatPoolRange } from './pool.ts';
import { formatPortList } from './ports.ts';
import { shellWord } from './shell.ts';

const NODE_PORTS = { first: 30000, last: 32767 } as const;

/** Masquerade mode: a pool that the node or something behind it uses cannot be translated to. */
export function masqueradeCollisions(
  pool: readonly PoolRange[],
  routes4: readonly Route[],
  ownDevices: readonly string[],
): Finding[] {
  return pool.flatMap((range) =>
    routes4
      .filter((route) => isSomebodyElses(route, ownDevices) && ip4NetsOverlap(range.net, netOf(route)))
      .slice(0, 1)
      .map((route): Finding => {
        const via = route.devices.length > 0 ? ` dev ${route.devices.join(', ')}` : '';
        return {
          severity: 'error',
          name: 'pool-routed-elsewhere',
          message: `nat64.pool has ${formatIp4Net(range.net)}, which this node routes elsewhere: ${route.type === 'unicast' ? '' : `${route.type} `}${route.dst}${via}`,
          remedy:
            'Choose a network that nothing else uses; 192.0.0.0/29 is the default, 198.18.64.0/29 another choice.',
        };
      }),
  );
}

function isSomebodyElses(route: Route, ownDevices: readonly string[]): boolean {
  // A half or the whole of the address space is a way out, not a claim on the pool.
  if (netOf(route).length <= 1 || route.devices.some((name) => ownDevices.includes(name))) return false;
  return route.type === 'unicast' || route.type === 'local';
}

function netOf(route: Route): Ip4Net {
  return parseIp4Net(route.dst);
}

/** Direct mode: dedicated addresses must be nobody's, shared ones must leave the node its ports. */
export function directCollisions(options: {
  readonly pool: readonly PoolRange[];
  readonly routes4: readonly Route[];
  readonly sockets: readonly Socket[];
  /** First and last port of net.ipv4.ip_local_port_range. */
  readonly ephemeral: readonly [number, number];
  readonly reserved: ReadonlySet<number>;
}): Finding[] {
  const { pool, routes4, sockets, ephemeral, reserved } = options;
  const problems: Finding[] = [];
  const gateways = routes4
    .flatMap((route) => route.gateways)
    .filter((text) => /^[\d.]+$/.test(text))
    .map(parseIp4);
  for (const range of pool) {
    if (!range.shared) {
      const gateway = gateways.find((v4) => ip4InNet(v4, range.net));
      if (gateway !== undefined) {
        problems.push(
          collision(
            'pool-holds-gateway',
            `nat64.pool has ${formatIp4Net(range.net)}, which holds this node's gateway ${formatIp4(gateway)}`,
            'Take the gateway out of the pool.',
          ),
        );
      }
      continue;
    }
    const text = formatPoolRange(range);
    const taken = portsBetween(
      Math.max(range.firstPort, ephemeral[0]),
      Math.min(range.lastPort, ephemeral[1]),
      reserved,
    );
    if (taken.size > 0) {
      // The sysctl is one list: what was reserved before stays so.
      const command = `sysctl -w net.ipv4.ip_local_reserved_ports=${formatPortList(new Set([...reserved, ...taken]))}`;
      problems.push({
        ...collision(
          'pool-ports-ephemeral',
          `nat64.pool has ${text}, of which the node itself hands out ${formatPortList(taken)} (net.ipv4.ip_local_port_range is ${ephemeral.join('-')})`,
          `Use ports above ${ephemeral[1]}, or reserve them: ${command}`,
        ),
        command,
      });
    }
    for (const socket of sockets) {
      const hit =
        socket.port >= range.firstPort &&
        socket.port <= range.lastPort &&
        (socket.v4 === undefined || ip4InNet(socket.v4, range.net));
      if (!hit) continue;
      const who = `${socket.program === undefined ? 'a program' : `"${socket.program}"`} on this node ${socket.listens ? 'listens on' : 'has a connection from'} ${socket.protocol} port ${socket.port}`;
      problems.push({
        ...collision(
          'pool-ports-in-use',
          `nat64.pool has ${text}, but ${who}`,
          'Leave that port out of nat64.pool, or stop the program.',
        ),
        // A connection ends by itself; a listener would never hear of its clients again.
        severity: socket.listens ? 'error' : 'warning',
      });
    }
    if (range.firstPort <= NODE_PORTS.last && range.lastPort >= NODE_PORTS.first) {
      problems.push({
        ...collision(
          'pool-ports-nodeports',
          `nat64.pool has ${text}, which overlaps Kubernetes' NodePorts ${NODE_PORTS.first}-${NODE_PORTS.last}`,
          'If this is a Kubernetes node, leave these ports out of nat64.pool.',
        ),
        severity: 'warning',
      });
    }
  }
  return problems;
}

function collision(name: FindingName, message: string, remedy: string): Finding {
  return { severity: 'error', name, message, remedy };
}

function portsBetween(first: number, last: number, except: ReadonlySet<number>): Set<number> {
  const ports = new Set<number>();
  for (let port = first; port <= last; port++) if (!except.has(port)) ports.add(port);
  return ports;
}

/** Routes of others that take the prefixes away from the device. */
export function routeConflicts(
  routes: readonly Route[],
  prefixes: readonly Ip6Net[],
  ownDevices: readonly string[],
): Finding[] {
  const own = (route: Route) => isGuard(route) || ownDevices.some((device) => leadsTo(route, device));
  const texts = new Set(prefixes.map(formatIp6Net));
  return routes
    .filter((route) => texts.has(route.dst) && !own(route))
    .filter((route) => route.table === 'main' || route.table === 'local')
    .map((route): Finding => {
      const table = route.table === 'main' ? '' : ` table ${route.table}`;
      const [device] = route.devices;
      const words = (name: string | undefined) => (name === undefined ? '' : ` dev ${name}`);
      const kind = route.type === 'unicast' ? '' : `${route.type} `;
      const text = `${kind}${route.dst}${words(device)}${table}`;
      const command = `ip -6 route del ${kind}${route.dst}${words(device && shellWord(device))}${table}`;
      return {
        severity: 'error',
        name: 'prefix-routed-elsewhere',
        message: `there is a route "${text}" for the translation prefix ${route.dst}, which is not gate64's`,
        remedy: `Another translator may be at work. If nothing needs the route: ${command}`,
        command,
      };
    });
}
