// SPDX-License-Identifier: Apache-2.0
// May this IPv4 address be reached through the NAT64? The one answer, for the data plane, for DNS64 and for the command
// line: the built-in ranges (RFC 6052 §3.1, RFC 7915 §8), the node's and the pool's addresses, nat64.deny and
// nat64.allowNonGlobalIpv4 become one list, in which the longest network decides. It is about the embedded address
// (RFC 6052 §5.3), so it holds under every prefix but for what 64:ff9b::/96 alone must not carry.

import { ip4InNet, ip4Mask, type Ip4Net } from './ip.ts';
import { NEVER_IP4, NON_GLOBAL_IP4 } from './non-global.ts';
import { isWellKnownPrefix, type Prefix64 } from './rfc6052.ts';

/**
 * What is done with an embedded IPv4 destination; the longest network decides. `never`: refused under every prefix.
 * `nonGlobal`: refused under 64:ff9b::/96 (RFC 6052 §3.1). `node`: an address of this node or of the pool.
 * `configured`: nat64.deny.
 */
export type DestinationVerdict = 'allow' | 'never' | 'nonGlobal' | 'node' | 'configured';

export interface DestinationRule {
  readonly net: Ip4Net;
  readonly verdict: DestinationVerdict;
}

export interface DestinationPolicy {
  readonly allowNonGlobalIpv4: readonly Ip4Net[];
  readonly deny: readonly Ip4Net[];
  /** Addresses of this node; empty where no NAT64 runs. */
  readonly nodeAddresses: readonly number[];
  /** Networks that are this node's in other ways: broadcast addresses, networks that it takes for local. */
  readonly nodeNets?: readonly Ip4Net[];
  /** Networks of the node that are never an address to reach: broadcast. */
  readonly broadcastNets?: readonly Ip4Net[];
  /** Addresses of the node in these are reached all the same, unless `deny` has them in a network as long or longer. */
  readonly allowNodeAddresses?: readonly Ip4Net[];
  readonly pool: readonly Ip4Net[];
}

/** One rule per network. On equal length: node and pool, then deny, then allow, then what is built in. */
export function destinationRules(policy: DestinationPolicy): DestinationRule[] {
  const configured: DestinationRule[] = [
    ...policy.allowNonGlobalIpv4.map((net) => ({ net, verdict: 'allow' as const })),
    ...policy.deny.map((net) => ({ net, verdict: 'configured' as const })),
  ];
  const rules = new Map<string, DestinationRule>();
  const put = (net: Ip4Net, verdict: DestinationVerdict) => rules.set(`${net.v4}/${net.length}`, { net, verdict });

  for (const { net } of NEVER_IP4) put(net, 'never');
  for (const { net } of NON_GLOBAL_IP4) {
    // 'nonGlobal' lets other prefixes pass, and 'allow' of a wider network means to take this one off the list: a wider
    // rule of the configuration must therefore not be hidden by a longer one that is built in.
    const wider = longest(
      configured.filter((rule) => rule.net.length <= net.length),
      net.v4,
    );
    put(net, wider?.verdict ?? 'nonGlobal');
  }
  // A network that is both is denied: `configured` holds deny after allow.
  for (const { net, verdict } of configured) put(net, verdict);
  const broadcasts = policy.broadcastNets ?? [];
  for (const net of [...(policy.nodeNets ?? []), ...broadcasts]) {
    // The node takes all of it, so what is longer opens none of it; what refuses stays as it is.
    for (const rule of rules.values()) {
      const isWithin = rule.net.length >= net.length && ip4InNet(rule.net.v4, net);
      if (isWithin && (rule.verdict === 'allow' || rule.verdict === 'nonGlobal')) put(rule.net, 'node');
    }
    put(net, 'node');
  }
  for (const net of policy.pool) put(net, 'node');
  for (const v4 of policy.nodeAddresses) put({ v4, length: 32 }, 'node');
  for (const [net, verdict] of allowedOfNode(policy)) put(net, verdict);
  for (const net of [...broadcasts, ...policy.pool]) put(net, 'node');
  return [...rules.values()];
}

/** The node's own addresses, and parts of its local networks, that are reached all the same. */
function allowedOfNode(policy: DestinationPolicy): [Ip4Net, DestinationVerdict][] {
  const choices = [
    ...(policy.allowNodeAddresses ?? []).map((net) => ({ net, verdict: 'allow' as const })),
    ...policy.deny.map((net) => ({ net, verdict: 'configured' as const })),
  ];
  if (policy.allowNodeAddresses === undefined || choices.every(({ verdict }) => verdict !== 'allow')) return [];
  const own = [...(policy.nodeNets ?? []), ...policy.nodeAddresses.map((v4) => ({ v4, length: 32 }))];
  return own.flatMap((net): [Ip4Net, DestinationVerdict][] => {
    // A wide network does not mean what is never reached (169.254.0.0/16).
    const never = NEVER_IP4.find((entry) => ip4InNet(net.v4, entry.net))?.net.length ?? 0;
    const wider = longest(
      choices.filter((choice) => choice.net.length <= net.length && choice.net.length >= never),
      net.v4,
    );
    const within = choices.filter((choice) => choice.net.length > net.length && ip4InNet(choice.net.v4, net));
    return [
      ...(wider?.verdict === 'allow' ? [[net, 'allow'] as [Ip4Net, DestinationVerdict]] : []),
      ...within.map((choice): [Ip4Net, DestinationVerdict] => [choice.net, choice.verdict]),
    ];
  });
}

/** The longest network that holds `v4`, the later one among equals. */
function longest(rules: readonly DestinationRule[], v4: number): DestinationRule | undefined {
  let best: DestinationRule | undefined;
  for (const rule of rules) {
    if (ip4InNet(v4, rule.net) && (best === undefined || rule.net.length >= best.net.length)) best = rule;
  }
  return best;
}

/** Rules by length, so that a look costs as many steps as there are lengths, however many rules. */
export class Destinations {
  readonly rules: readonly DestinationRule[];
  /** Longest first; each by the network's address. */
  readonly #byLength: readonly (readonly [length: number, rules: ReadonlyMap<number, DestinationRule>])[];

  constructor(rules: readonly DestinationRule[]) {
    this.rules = rules;
    const byLength = new Map<number, Map<number, DestinationRule>>();
    for (const rule of rules) {
      const same = byLength.get(rule.net.length) ?? new Map<number, DestinationRule>();
      byLength.set(rule.net.length, same.set(rule.net.v4, rule));
    }
    this.#byLength = [...byLength].sort(([a], [b]) => b - a);
  }

  /** The rule that decides about `v4`; undefined when none is about it, which lets it pass. */
  ruleOf(v4: number): DestinationRule | undefined {
    for (const [length, rules] of this.#byLength) {
      const found = rules.get((v4 & ip4Mask(length)) >>> 0);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** The rule that keeps `v4` from being reached under `prefix`; undefined when it may be reached. */
  refusal(v4: number, prefix: Prefix64): DestinationRule | undefined {
    const rule = this.ruleOf(v4);
    if (rule === undefined || rule.verdict === 'allow') return undefined;
    return rule.verdict === 'nonGlobal' && !isWellKnownPrefix(prefix) ? undefined : rule;
  }
}
