// SPDX-License-Identifier: Apache-2.0
// Where packets have to be led: routes of the prefixes and the pool to gate64's device, the guards behind them, and proxy
// neighbour entries for pool addresses that neighbours on the uplink ask for.

import { formatIp4Net, formatIp6Net, ip4InNet, ip4NetRange, ip6InNet, type Ip4Net, type Ip6Net } from '../addr/ip.ts';
import { embedNet4, type Prefix64 } from '../addr/rfc6052.ts';
import type { DatapathFacts, Interface, ProxyNeighbour } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { DesiredRoute } from './desired.ts';

/** What of the prefixes is translated here: their whole, or the parts of `destinations`. */
export function translatedNets(prefixes: readonly Prefix64[], destinations: readonly Ip4Net[]): Ip6Net[] {
  if (destinations.length === 0) return [...prefixes];
  return prefixes.flatMap((prefix) => destinations.map((net) => embedNet4(prefix, net)));
}

/** Networks that ICMPv6 errors come from: they lead nowhere, and have a route so that reverse-path filters let errors in. */
export function errorNets(
  errorSources: Prefix64 | 'translator',
  node6: Uint8Array,
  translated: readonly Ip6Net[],
): Ip6Net[] {
  const own = translated.some((net) => ip6InNet(node6, net)) ? [] : [{ v6: node6, length: 128 }];
  return errorSources === 'translator' ? own : [...own, errorSources];
}

export function desiredRoutes(nets6: readonly Ip6Net[], poolNets: readonly Ip4Net[]): DesiredRoute[] {
  const nets = new Set(nets6.map(formatIp6Net));
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
