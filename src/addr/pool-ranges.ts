// SPDX-License-Identifier: Apache-2.0
// nat64.pool as it stands on one node: "uplink" replaced by the node's own address, each network with its ports
// (RFC 6888 REQ-3), and whether the node shares the address. Pure; what collides is refused here or by src/host/.

import { Gate64Error } from '../errors.ts';
import { formatIp4Net, ip4InNet, ip4NetsOverlap, type Ip4Net } from './ip.ts';

/**
 * Above Linux's ephemeral ports (32768–60999) and NodePorts (30000–32767): what a shared address gives when nothing else
 * is configured.
 */
export const SHARED_PORTS = { firstPort: 61001, lastPort: 65535 } as const;

/** Each address has a queue of blocks of its own in the data plane, which has as many (N64_MAX_SLOTS in bpf/types.h). */
export const MAX_POOL_ADDRESSES = 1024;

/** An entry of nat64.pool, as src/config/ has it. */
export interface PoolRequest {
  readonly addresses: 'uplink' | readonly Ip4Net[];
  readonly firstPort: number;
  readonly lastPort: number;
  /** False when the range is the default. */
  readonly portsGiven: boolean;
}

/** Ports of every address of one network. */
export interface PoolRange {
  readonly net: Ip4Net;
  readonly firstPort: number;
  readonly lastPort: number;
  /** True when the node uses the address too (direct mode only). */
  readonly shared: boolean;
}

export interface PoolContext {
  readonly egress: 'masquerade' | 'direct';
  /** The uplink's own IPv4 address. */
  readonly uplinkAddress: number | undefined;
  readonly nodeAddresses: readonly number[];
}

/** Throws G64_NO_UPLINK or G64_POOL_COLLISION with the reason. */
export function poolRanges(entries: readonly PoolRequest[], context: PoolContext): PoolRange[] {
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
  if (addresses > MAX_POOL_ADDRESSES) {
    throw new Gate64Error(
      'G64_CONFIG_INVALID',
      `nat64.pool has ${addresses} addresses; one node serves with ${MAX_POOL_ADDRESSES} at most`,
      { hint: 'An address serves about 64000 ports per protocol; give each node a part of the pool.' },
    );
  }
  for (const [i, a] of ranges.entries()) {
    const b = ranges.slice(0, i).find((other) => overlap(a, other));
    if (b !== undefined) {
      throw new Gate64Error(
        'G64_POOL_COLLISION',
        `nat64.pool has ${formatPoolRange(a)} and ${formatPoolRange(b)}, which overlap; a port can be given once`,
        { hint: 'Remove one of the two, or cut their ports apart.' },
      );
    }
  }
  return ranges;
}

export function formatPoolRange(range: PoolRange): string {
  const net = formatIp4Net(range.net);
  return `${range.net.length === 32 ? net.slice(0, -3) : net} ports ${range.firstPort}-${range.lastPort}`;
}

function networksOf(entry: PoolRequest, context: PoolContext): readonly Ip4Net[] {
  if (entry.addresses !== 'uplink') return entry.addresses;
  if (context.uplinkAddress === undefined) {
    throw new Gate64Error('G64_NO_UPLINK', 'nat64.pool says "uplink", but the uplink has no IPv4 address', {
      hint: 'Give the uplink an IPv4 address, or write pool addresses that are routed to this node.',
    });
  }
  return [{ v4: context.uplinkAddress, length: 32 }];
}

function overlap(a: PoolRange, b: PoolRange): boolean {
  return ip4NetsOverlap(a.net, b.net) && a.firstPort <= b.lastPort && b.firstPort <= a.lastPort;
}

function ownAddress(net: Ip4Net, context: PoolContext): Gate64Error {
  const what = `nat64.pool has ${formatIp4Net(net)}, which holds an address of this node`;
  return context.egress === 'masquerade'
    ? new Gate64Error('G64_POOL_COLLISION', `${what}; in masquerade mode the pool must be private to gate64`, {
        hint: 'Choose another network (the default is 192.0.0.0/29), or set nat64.egress to direct.',
      })
    : new Gate64Error('G64_POOL_COLLISION', `${what}; a network in the pool must be for gate64 alone`, {
        hint: 'Write the node\'s own address as "uplink" or as a single address, with ports above 61000.',
      });
}
