// SPDX-License-Identifier: Apache-2.0
// The pool's entries as the rest of gate64 has them, and what stands in for what the file leaves out.

import { parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { PoolEntry } from '../model/pool.ts';
import type { PortRange } from './values.ts';

/**
 * Above Linux's ephemeral ports (32768–60999) and NodePorts (30000–32767): what an address that the node uses too gives
 * when nothing else is configured.
 */
export const SHARED_PORTS: PortRange = { firstPort: 61001, lastPort: 65535 };

const DEFAULT_PORTS: PortRange = { firstPort: 1024, lastPort: 65_535 };

/** What a pool entry gets that names no ports. */
export function defaultPorts(addresses: 'uplink' | Ip4Net | readonly Ip4Net[]): PortRange {
  return addresses === 'uplink' ? SHARED_PORTS : DEFAULT_PORTS;
}

export function defaultPool(egress: 'masquerade' | 'direct'): PoolEntry[] {
  const addresses = egress === 'direct' ? 'uplink' : [parseIp4Net('192.0.0.0/29')];
  return [{ addresses, ...defaultPorts(addresses), portsGiven: false }];
}

/** `ports` undefined: none were named. "uplink" among several addresses becomes an entry of its own. */
export function poolEntries(all: readonly ('uplink' | Ip4Net)[], ports: readonly PortRange[] | undefined): PoolEntry[] {
  const nets = all.filter((address) => address !== 'uplink');
  const groups: ('uplink' | readonly Ip4Net[])[] = [];
  if (nets.length > 0) groups.push(nets);
  if (nets.length < all.length) groups.push('uplink');
  return groups.flatMap((addresses) =>
    (ports ?? [defaultPorts(addresses)]).map((range) => ({ addresses, ...range, portsGiven: ports !== undefined })),
  );
}
