// SPDX-License-Identifier: Apache-2.0
// What the pool would take away from the node itself (RFC 4787 REQ-7): addresses, routes, ephemeral ports, sockets,
// NodePorts. Sockets are asked of `ss`.

import { formatIp4, formatIp4Net, ip4InNet, ip4NetsOverlap, parseIp4, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import { formatPoolRange, type PoolRange } from '../addr/pool-ranges.ts';
import { run, type Exec } from './exec.ts';
import type { HostProblem } from './problem.ts';
import type { Route } from './routes.ts';
import { formatPortList } from './sysctls.ts';

const NODE_PORTS = { first: 30000, last: 32767 } as const;

/** A bound socket of the node. */
export interface Socket {
  readonly protocol: string;
  /** Undefined: every IPv4 address. */
  readonly v4: number | undefined;
  readonly port: number;
  /** False for a connection with a peer. */
  readonly listens: boolean;
  /** Name of the program, when it could be seen. */
  readonly program: string | undefined;
}

export async function listSockets(exec: Exec): Promise<Socket[]> {
  return parseSockets(await run(exec, 'ss', ['-H', '-t', '-u', '-a', '-n', '-p']));
}

/** Output of `ss -H -tuanp`: netid, state, two queues, local, peer, process. */
export function parseSockets(text: string): Socket[] {
  return text.split('\n').flatMap((line): Socket[] => {
    const [protocol, state, , , local, peer, ...rest] = line.trim().split(/\s+/);
    if (protocol === undefined || local === undefined || peer === undefined || state === 'TIME-WAIT') return [];
    const at = local.lastIndexOf(':');
    const port = Number(local.slice(at + 1));
    const v4 = localAddress(local.slice(0, at));
    if (!Number.isInteger(port) || v4 === null) return [];
    const program = /"([^"]+)"/.exec(rest.join(' '))?.[1];
    return [{ protocol, v4, port, listens: /[:.]\*$|^\*:\*$/.test(peer), program }];
  });
}

/** Undefined for a wildcard that takes IPv4 too, null for what takes none. */
function localAddress(text: string): number | undefined | null {
  const bare = text
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/%.*$/, '')
    .replace(/^::ffff:/i, '');
  // "*" and "::" take IPv4 unless the socket is IPv6-only, which ss writes as "[::]".
  if (bare === '0.0.0.0' || bare === '*') return undefined;
  if (/^\d+\.\d+\.\d+\.\d+$/.test(bare)) return parseIp4(bare);
  return null;
}

/** Masquerade mode: a pool that the node or something behind it uses cannot be translated to. */
export function masqueradeCollisions(
  pool: readonly PoolRange[],
  routes4: readonly Route[],
  ownDevices: readonly string[],
): HostProblem[] {
  return pool.flatMap((range) =>
    routes4
      .filter((route) => isSomebodyElses(route, ownDevices) && ip4NetsOverlap(range.net, netOf(route)))
      .slice(0, 1)
      .map((route): HostProblem => {
        const via = route.devices.length > 0 ? ` dev ${route.devices.join(', ')}` : '';
        return {
          severity: 'error',
          code: 'G64_POOL_COLLISION',
          message: `nat64.pool has ${formatIp4Net(range.net)}, which this node routes elsewhere: ${route.type === 'unicast' ? '' : `${route.type} `}${route.dst}${via}`,
          hint: 'Choose a network that nothing else uses; 192.0.0.0/29 is the default, 169.254.64.0/24 another choice.',
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
}): HostProblem[] {
  const { pool, routes4, sockets, ephemeral, reserved } = options;
  const problems: HostProblem[] = [];
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
      problems.push(
        collision(
          `nat64.pool has ${text}, of which the node itself hands out ${formatPortList(taken)} (net.ipv4.ip_local_port_range is ${ephemeral.join('-')})`,
          `Use ports above ${ephemeral[1]}, or reserve them: sysctl -w net.ipv4.ip_local_reserved_ports=${formatPortList(taken)}`,
        ),
      );
    }
    for (const socket of sockets) {
      const hit =
        socket.port >= range.firstPort &&
        socket.port <= range.lastPort &&
        (socket.v4 === undefined || ip4InNet(socket.v4, range.net));
      if (!hit) continue;
      const who = `${socket.program === undefined ? 'a program' : `"${socket.program}"`} on this node ${socket.listens ? 'listens on' : 'has a connection from'} ${socket.protocol} port ${socket.port}`;
      problems.push({
        ...collision(`nat64.pool has ${text}, but ${who}`, 'Leave that port out of nat64.pool, or stop the program.'),
        // A connection ends by itself; a listener would never hear of its clients again.
        severity: socket.listens ? 'error' : 'warning',
      });
    }
    if (range.firstPort <= NODE_PORTS.last && range.lastPort >= NODE_PORTS.first) {
      problems.push({
        ...collision(
          `nat64.pool has ${text}, which overlaps Kubernetes' NodePorts ${NODE_PORTS.first}-${NODE_PORTS.last}`,
          'If this is a Kubernetes node, leave these ports out of nat64.pool.',
        ),
        severity: 'warning',
      });
    }
  }
  return problems;
}

function collision(message: string, hint: string): HostProblem {
  return { severity: 'error', code: 'G64_POOL_COLLISION', message, hint };
}

function portsBetween(first: number, last: number, except: ReadonlySet<number>): Set<number> {
  const ports = new Set<number>();
  for (let port = first; port <= last; port++) if (!except.has(port)) ports.add(port);
  return ports;
}
