// SPDX-License-Identifier: Apache-2.0
// Which IPv4 destinations may be reached through the prefix: the built-in ranges (RFC 6052 §3.1, RFC 7915 §8), the
// node's and the pool's addresses, nat64.deny and nat64.allowNonGlobalIpv4 become one list for the data plane, in which
// the longest network decides. Policy is about the embedded address (RFC 6052 §5.3), so it holds under every prefix.

import { ip4InNet, type Ip4Net } from '../addr/ip.ts';
import { NEVER_IP4, NON_GLOBAL_IP4 } from '../addr/non-global.ts';
import type { PoolRange } from '../addr/pool-ranges.ts';
import type { DestinationRule, DestinationVerdict } from '../datapath/datapath.ts';

export interface PolicyInput {
  readonly allowNonGlobalIpv4: readonly Ip4Net[];
  readonly deny: readonly Ip4Net[];
  readonly nodeAddresses: readonly number[];
  readonly pool: readonly PoolRange[];
}

/** One rule per network. On equal length: node and pool, then deny, then allow, then what is built in. */
export function destinationRules(input: PolicyInput): DestinationRule[] {
  const configured: DestinationRule[] = [
    ...input.allowNonGlobalIpv4.map((net) => ({ net, verdict: 'allow' as const })),
    ...input.deny.map((net) => ({ net, verdict: 'configured' as const })),
  ];
  const rules = new Map<string, DestinationRule>();
  const put = (net: Ip4Net, verdict: DestinationVerdict) => rules.set(`${net.v4}/${net.length}`, { net, verdict });

  for (const { net } of NEVER_IP4) put(net, 'never');
  for (const { net } of NON_GLOBAL_IP4) {
    // 'nonGlobal' lets other prefixes pass, and 'allow' of a wider network means to take this one off the list: a wider
    // rule of the configuration must therefore not be hidden by a longer one that is built in.
    const wider = destinationRule(configured, net.v4, net.length);
    put(net, wider?.verdict ?? 'nonGlobal');
  }
  for (const { net, verdict } of configured) put(net, verdict);
  // A network that is both is denied: `configured` holds deny after allow.
  for (const { net } of input.pool) put(net, 'node');
  for (const v4 of input.nodeAddresses) put({ v4, length: 32 }, 'node');
  return [...rules.values()];
}

/** The rule that decides about `v4`: the longest network (not longer than `maxLength`), the later one among equals. */
export function destinationRule(
  rules: readonly DestinationRule[],
  v4: number,
  maxLength = 32,
): DestinationRule | undefined {
  let best: DestinationRule | undefined;
  for (const rule of rules) {
    if (rule.net.length > maxLength || !ip4InNet(v4, rule.net)) continue;
    if (best === undefined || rule.net.length >= best.net.length) best = rule;
  }
  return best;
}
