// SPDX-License-Identifier: Apache-2.0
// nat64.pool as it stands on one node: "uplink" replaced by the node's own address, each network with its ports
// (RFC 6888 REQ-3), and whether the node shares the address. What collides with the node is in collisions.ts.

import { formatIp4Net, ip4InNet, ip4NetsOverlap, type Ip4Net } from '../addr/ip.ts';
import { SHARED_PORTS } from '../config/pool.ts';
import { MAX_SLOTS } from '../model/layout.gen.ts';
import type { PoolEntry, PoolRange } from '../model/pool.ts';
import { refuse, type FindingError } from './findings.ts';

export interface PoolContext {
  readonly egress: 'masquerade' | 'direct';
  /** The uplink's own IPv4 address. */
  readonly uplinkAddress: number | undefined;
  readonly nodeAddresses: readonly number[];
}

/** Throws FindingError with the reason. */
export function poolRanges(entries: readonly PoolEntry[], context: PoolContext): PoolRange[] {
  const ranges = entries.flatMap((entry) =>
    networksOf(entry, context).map((net): PoolRange => {
      const own = context.nodeAddresses.some((v4) => ip4InNet(v4, net));
      const shared = own && net.length === 32 && context.egress === 'direct';
      if (own && !shared) throw ownAddress(net, context);
      const { firstPort, lastPort } = shared && !entry.portsGiven ? SHARED_PORTS : entry;
      return { net, firstPort, lastPort, shared };
    }),
  );
  const nets = new Map(ranges.map(({ net }) => [formatIp4Net(net), net]));
  const addresses = [...nets.values()].reduce((sum, net) => sum + 2 ** (32 - net.length), 0);
  if (addresses > MAX_SLOTS) {
    throw refuse(
      'pool-too-large',
      `nat64.pool has ${addresses} addresses; one node serves with ${MAX_SLOTS} at most`,
      'An address serves about 64000 ports per protocol; give each node a part of the pool.',
    );
  }
  for (const [i, a] of ranges.entries()) {
    const b = ranges.slice(0, i).find((other) => overlap(a, other));
    if (b !== undefined) {
      throw refuse(
        'pool-overlaps',
        `nat64.pool has ${formatPoolRange(a)} and ${formatPoolRange(b)}, which overlap; a port can be given once`,
        'Remove one of the two, or cut their ports apart.',
      );
    }
  }
  return ranges;
}

export function formatPoolRange(range: PoolRange): string {
  const net = formatIp4Net(range.net);
  return `${range.net.length === 32 ? net.slice(0, -3) : net} ports ${range.firstPort}-${range.lastPort}`;
}

function networksOf(entry: PoolEntry, context: PoolContext): readonly Ip4Net[] {
  if (entry.addresses !== 'uplink') return entry.addresses;
  if (context.uplinkAddress === undefined) {
    throw refuse(
      'uplink-without-address',
      'nat64.pool says "uplink", but the uplink has no IPv4 address',
      'Give the uplink an IPv4 address, or write pool addresses that are routed to this node.',
    );
  }
  return [{ v4: context.uplinkAddress, length: 32 }];
}

function overlap(a: PoolRange, b: PoolRange): boolean {
  return ip4NetsOverlap(a.net, b.net) && a.firstPort <= b.lastPort && b.firstPort <= a.lastPort;
}

function ownAddress(net: Ip4Net, context: PoolContext): FindingError {
  const what = `nat64.pool has ${formatIp4Net(net)}, which holds an address of this node`;
  return context.egress === 'masquerade'
    ? refuse(
        'pool-holds-node',
        `${what}; in masquerade mode the pool must be private to gate64`,
        'Choose another network (the default is 192.0.0.0/29), or set nat64.egress to direct.',
      )
    : refuse(
        'pool-holds-node',
        `${what}; a network in the pool must be for gate64 alone`,
        'Write the node\'s own address as "uplink" or as a single address, with ports above 61000.',
      );
}
