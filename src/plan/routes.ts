// SPDX-License-Identifier: Apache-2.0
// Where packets have to be led: routes of the prefixes and the pool to gate64's device, the guards behind them, and proxy
// neighbour entries for pool addresses that neighbours on the uplink ask for.

import { formatIp4Net, formatIp6Net, ip4InNet, ip4NetRange, type Ip4Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { DatapathFacts, Interface, ProxyNeighbour } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { DesiredRoute } from './desired.ts';

/** `errorSources`, which ICMPv6 errors come from, leads nowhere; it has a route so that reverse-path filters let them in. */
export function desiredRoutes(
  prefixes: readonly Prefix64[],
  errorSources: Prefix64 | 'translator',
  poolNets: readonly Ip4Net[],
): DesiredRoute[] {
  const nets = new Set([...prefixes, ...(errorSources === 'translator' ? [] : [errorSources])].map(formatIp6Net));
  return [
    ...[...nets].flatMap((dst): DesiredRoute[] => [
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

/**
 * Leased addresses that left the pool, as ranges, in order of addresses. Those of the node itself need no route; what was
 * the node's and is not any more may be somebody else's by now, and is not answered for.
 */
export function drainingRanges(
  pool: readonly PoolRange[],
  { leased, shared }: Pick<DatapathFacts, 'leased' | 'shared'>,
  nodeAddresses: readonly number[],
): PoolRange[] {
  const isOf = (v4: number, addresses: readonly number[]) => addresses.includes(v4);
  return leased
    .filter((v4) => !isOf(v4, nodeAddresses) && !isOf(v4, shared) && !pool.some(({ net }) => ip4InNet(v4, net)))
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
