// SPDX-License-Identifier: Apache-2.0
// Whether NAT64 leads to an IPv4 address under a prefix, by configuration and this node's addresses, in words.

import { networkInterfaces } from 'node:os';
import { Destinations, destinationRules } from '../addr/destinations.ts';
import { formatIp4Net, parseIp4 } from '../addr/ip.ts';
import { nonGlobalIp4 } from '../addr/non-global.ts';
import { formatPrefix64, type Prefix64 } from '../addr/rfc6052.ts';
import type { Config } from '../config/config.ts';

/** Why a packet there is refused; null when it is not. */
export function refusal(v4: number, prefix: Prefix64, nat64: Config['nat64']): string | null {
  const pool = nat64.pool.flatMap(({ addresses }) => (addresses === 'uplink' ? [] : addresses));
  const rule = new Destinations(destinationRules({ ...nat64, nodeAddresses: nodeAddresses(), pool })).refusal(
    v4,
    prefix,
  );
  const range = nonGlobalIp4(v4)?.name ?? '';
  switch (rule?.verdict) {
    case 'never':
      return `${range}: refused under every prefix, unless nat64.allowNonGlobalIpv4 has it`;
    case 'nonGlobal':
      return (
        `${range}: not global, refused under ${formatPrefix64(prefix)} (RFC 6052 3.1), unless ` +
        'nat64.allowNonGlobalIpv4 has it; a prefix of your own leads there'
      );
    case 'node':
      return "an address of this node or of gate64's pool";
    case 'configured':
      return `nat64.deny has ${formatIp4Net(rule.net)}`;
    default:
      return null;
  }
}

function nodeAddresses(): number[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family }) => family === 'IPv4')
    .map(({ address }) => parseIp4(address));
}
