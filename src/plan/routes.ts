// SPDX-License-Identifier: Apache-2.0
// Where packets have to be led: routes of the prefixes and the pool to gate64's device, the guards behind them, and proxy
// neighbour entries for pool addresses that neighbours on the uplink ask for.

import { formatIp4Net, formatIp6Net, ip4InNet, ip4NetRange, type Ip4Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { Interface, ProxyNeighbour } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { DesiredRoute } from './desired.ts';

export function desiredRoutes(prefixes: readonly Prefix64[], poolNets: readonly Ip4Net[]): DesiredRoute[] {
  return [
    ...prefixes.map(formatIp6Net).flatMap((dst): DesiredRoute[] => [
      { family: 6, dst, guard: true },
      { family: 6, dst, guard: false },
    ]),
    ...poolNets.map((net): DesiredRoute => ({ family: 4, dst: formatIp4Net(net), guard: false })),
  ];
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

/** Direct mode: pool addresses on the uplink's own network, which neighbours ask for by ARP. */
export function desiredProxies(poolNets: readonly Ip4Net[], uplink: Interface): ProxyNeighbour[] {
  const found = new Map<number, ProxyNeighbour>();
  for (const net of poolNets) {
    const [first, last] = ip4NetRange(net);
    for (let v4 = first; v4 <= last; v4++) {
      const onLink = uplink.addresses4.some((own) => own.length < 32 && ip4InNet(v4, own));
      if (onLink) found.set(v4, { v4, device: uplink.name });
    }
  }
  return [...found.values()];
}
