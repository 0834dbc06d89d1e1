// SPDX-License-Identifier: Apache-2.0
// Rules of routing (`ip rule`) that lead pods' packets past the prefix's route, or their answers past the pool's: before
// the table main, where gate64's routes stand, another table decides.

import { ip4InNet, ip6InNet, parseIp4Net, parseIp6Net } from '../addr/ip.ts';
import type { Route, Rule } from '../model/facts.ts';
import type { Finding } from './findings.ts';
import { leadsTo } from './own-routes.ts';

const MAIN = 'main';

export interface RuleQuestion {
  readonly family: 4 | 6;
  readonly rules: readonly Rule[];
  /** Of all tables. */
  readonly routes: readonly Route[];
  /** Networks that gate64's routes are for, as text with a length. */
  readonly dsts: readonly string[];
  readonly devices: readonly string[];
  /** The node's own addresses, as text: what is sent from these is no pod's. */
  readonly nodeAddresses: readonly string[];
}

/** One for each network: the first rule that could lead its packets elsewhere. */
export function ruleConflicts(question: RuleQuestion): Finding[] {
  return question.dsts.flatMap((dst) => {
    const rule = firstInTheWay(question, dst);
    return rule === undefined ? [] : ruled(question, dst, rule);
  });
}

function ruled({ family }: RuleQuestion, dst: string, rule: Rule): Finding {
  const priority = rule.priority - 1;
  // Priority 0 is the table local's.
  const command = priority >= 1 ? `ip -${family} rule add to ${dst} lookup main pref ${priority}` : undefined;
  const text = `${rule.priority}: from ${rule.src}${rule.table === undefined ? ` ${rule.action ?? ''}` : ` lookup ${rule.table}`}`;
  const whose =
    family === 6 ? `packets of pods for the prefix ${dst}` : `answers to pods, which are for ${dst} of nat64.pool,`;
  return {
    name: 'prefix-ruled-elsewhere',
    severity: 'warning',
    message: `the routing rule "${text}" comes before the table main, and leads ${whose} past gate64`,
    remedy: `Remove that rule, or put one before it${command === undefined ? '' : `: ${command}`}; have whatever made it keep that.`,
    command,
  };
}

function firstInTheWay(question: RuleQuestion, dst: string): Rule | undefined {
  const { family, devices } = question;
  for (const rule of question.rules.toSorted((a, b) => a.priority - b.priority)) {
    if (!isForPods(question, rule, dst)) continue;
    if (rule.table === undefined) {
      if (['blackhole', 'unreachable', 'prohibit'].includes(rule.action ?? '')) return rule;
      continue;
    }
    // Where gate64's route is, or will be with its start; one of somebody else in it is another finding.
    const isOurs = rule.table === MAIN && (rule.suppressedLength ?? -1) < lengthOf(dst);
    const found = isOurs ? undefined : routeIn(question, rule, dst);
    if (!isOurs && found === undefined) continue;
    if (found !== undefined && !devices.some((device) => leadsTo(found, device))) return rule;
    if (!rule.isInverted && isForAll(family, rule, dst)) return undefined;
  }
  return undefined;
}

/** Whether the rule may take packets of pods, which nobody has marked: marks are somebody's choice (Cilium, WireGuard). */
function isForPods({ family, devices, nodeAddresses }: RuleQuestion, rule: Rule, dst: string): boolean {
  if (rule.isInverted) return !isForAll(family, rule, dst);
  const isOfNode = rule.isLocal || nodeAddresses.includes(rule.src) || devices.includes(rule.iif ?? '');
  return !rule.isMarked && !isOfNode && (rule.dst === undefined || overlap(family, rule.dst, dst));
}

/** Whether what the rule selects, inverted or not, is every packet for `dst`. */
function isForAll(family: 4 | 6, rule: Rule, dst: string): boolean {
  const isWhole = rule.dst === undefined || holds(family, rule.dst, dst);
  const isAny = rule.src === 'all' && rule.iif === undefined && !rule.isLocal;
  return isAny && isWhole && !rule.isMarked && !rule.isNarrow;
}

/** The longest route of the rule's table that holds all of `dst`; undefined when none decides. */
function routeIn({ family, routes }: RuleQuestion, rule: Rule, dst: string): Route | undefined {
  const [best] = routes
    .filter(({ table }) => table === rule.table)
    .filter((route) => holds(family, route.dst, dst) && lengthOf(route.dst) > (rule.suppressedLength ?? -1))
    .sort((a, b) => lengthOf(b.dst) - lengthOf(a.dst) || a.metric - b.metric);
  return best?.type === 'throw' ? undefined : best;
}

function lengthOf(net: string): number {
  return Number(net.split('/')[1]);
}

/** Whether `outer` has all of `inner`. */
function holds(family: 4 | 6, outer: string, inner: string): boolean {
  if (lengthOf(outer) > lengthOf(inner)) return false;
  return family === 4
    ? ip4InNet(parseIp4Net(inner).v4, parseIp4Net(outer))
    : ip6InNet(parseIp6Net(inner).v6, parseIp6Net(outer));
}

function overlap(family: 4 | 6, a: string, b: string): boolean {
  return holds(family, a, b) || holds(family, b, a);
}
