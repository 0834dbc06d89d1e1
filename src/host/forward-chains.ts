// SPDX-License-Identifier: Apache-2.0
// Chains of others that drop what the node forwards unless a rule accepts it (docker, ufw, firewalld): what `nft` shows of
// them, iptables-nft's included. What iptables-legacy keeps is not seen.

import type { ForwardChain } from '../model/facts.ts';
import { parseJson, run, type Exec } from './exec.ts';

const FAMILIES = ['ip', 'ip6', 'inet'] as const;
type Family = (typeof FAMILIES)[number];

interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly type?: string;
  readonly hook?: string;
  readonly policy?: string;
}

interface Rule {
  readonly chain: string;
  readonly expr: readonly Record<string, unknown>[];
}

interface List {
  readonly nftables: readonly { readonly chain?: Chain; readonly rule?: Rule }[];
}

interface Match {
  readonly op: string;
  readonly left: { readonly meta?: { readonly key: string } };
  readonly right: unknown;
}

/** Every chain there is; one command. */
export async function listChains(exec: Exec): Promise<Chain[]> {
  const args = ['-j', 'list', 'chains'];
  return parseJson<List>(await run(exec, 'nft', args), `nft ${args.join(' ')}`).nftables.flatMap((item) =>
    item.chain === undefined ? [] : [item.chain],
  );
}

/** Those of `chains` that drop what nothing accepts; a command or two for each that forwarded packets meet. */
export async function droppingForwards(exec: Exec, chains: readonly Chain[]): Promise<ForwardChain[]> {
  const found: ForwardChain[] = [];
  for (const { family, table, name, type, hook, policy } of chains) {
    if (hook !== 'forward' || type !== 'filter' || !isFamily(family)) continue;
    if (policy !== 'drop') {
      // firewalld's policy is to accept, and its last rule rejects the rest.
      const own = (await rules(exec, ['chain', family, table, name])) ?? [];
      const last = own.at(-1)?.expr.filter((part) => !('counter' in part));
      if (last?.length !== 1 || !last.some((part) => 'drop' in part || 'reject' in part)) continue;
    }
    // The rule may stand in a chain that this one jumps to (DOCKER-USER).
    const all = await rules(exec, ['table', family, table]);
    if (all === undefined) continue;
    const isOpen = all.some(({ chain, expr }) => chain === name && accepts(expr) && isUnconditional(expr));
    if (isOpen) continue;
    found.push({ family, table, name, accepted: all.filter(({ expr }) => accepts(expr)).flatMap(devicesOf) });
  }
  return found;
}

/** Undefined when it has gone since. */
async function rules(exec: Exec, what: readonly string[]): Promise<Rule[] | undefined> {
  const { exit, stdout } = await exec('nft', ['-j', 'list', ...what]);
  if (exit !== 0) return undefined;
  return parseJson<List>(stdout, `nft -j list ${what.join(' ')}`).nftables.flatMap(({ rule }) => rule ?? []);
}

function isFamily(family: string): family is Family {
  return FAMILIES.some((one) => one === family);
}

function accepts(expr: Rule['expr']): boolean {
  return expr.some((part) => 'accept' in part);
}

function isUnconditional(expr: Rule['expr']): boolean {
  return expr.every((part) => 'accept' in part || 'counter' in part);
}

function devicesOf({ expr }: Rule): ForwardChain['accepted'] {
  return expr.flatMap((part) => {
    const match = part['match'] as Match | undefined;
    const key = match?.left.meta?.key;
    if (match?.op !== '==' || (key !== 'iifname' && key !== 'oifname')) return [];
    const { right } = match;
    const set = typeof right === 'object' && right !== null && 'set' in right ? right.set : [right];
    const names = Array.isArray(set) ? set.filter((name) => typeof name === 'string') : [];
    return names.map((device) => ({ direction: key === 'iifname' ? ('in' as const) : ('out' as const), device }));
  });
}
