// SPDX-License-Identifier: Apache-2.0
// Rules of others that give what leaves another source (masquerade, SNAT), and the ports that they pick: from nft's text,
// which shows what iptables-nft made as well; its JSON leaves out the ports. What iptables-legacy keeps is not seen.

import { parseIp4 } from '../addr/ip.ts';
import type { SnatRule } from '../model/facts.ts';
import { type Exec } from './exec.ts';

/** A chain as `nft -j list chains` tells. */
interface Chain {
  readonly family: string;
  readonly table: string;
  readonly hook?: string;
  readonly type?: string;
}

/** Of the tables among `chains` that translate IPv4 as it leaves; one command for each. */
export async function listSnatRules(exec: Exec, chains: readonly Chain[]): Promise<SnatRule[]> {
  const tables = new Map(
    chains
      .filter(
        ({ family, type, hook }) => (family === 'ip' || family === 'inet') && type === 'nat' && hook === 'postrouting',
      )
      .map(({ family, table }) => [`${family} ${table}`, [family, table] as const]),
  );
  const found: SnatRule[] = [];
  for (const [family, table] of tables.values()) {
    const { exit, stdout } = await exec('nft', ['list', 'table', family, table]);
    // Otherwise it has gone since.
    if (exit === 0) found.push(...parseSnatRules(stdout, family, table));
  }
  return found;
}

/** `text` is of one table. */
export function parseSnatRules(text: string, family: string, table: string): SnatRule[] {
  const found: SnatRule[] = [];
  let chain = '';
  for (const line of text.split('\n').map((words) => words.trim())) {
    chain = /^chain (\S+) \{$/.exec(line)?.[1] ?? chain;
    // Where nft cannot translate what iptables made, it names the target without its settings.
    const foreign = /\bxt target "(MASQUERADE|SNAT)"/.test(line);
    const device = /\boif(?:name)? "([^"]+)"/.exec(line)?.[1];
    const words = line.replaceAll(/"[^"]*"/g, '""');
    const action = /\b(?:masquerade|snat)\b.*$/.exec(words)?.[0];
    if (!foreign && action === undefined) continue;
    // IPv6, of a table of both.
    if (/\bsnat ip6\b|\bip6 [sd]addr\b|\bmeta nfproto ipv6\b/.test(words)) continue;
    const address = /^snat (?:ip )?to ([\d.]+)(?![\d.]|-[\d.]*\.)/.exec(action ?? '')?.[1];
    const range = /:(\d+)(?:-(\d+))?(?![\d.]*[.:])/.exec(action ?? '');
    found.push({
      family,
      table,
      chain,
      device,
      to: address === undefined ? undefined : parseIp4(address),
      ports: range === null ? undefined : [Number(range[1]), Number(range[2] ?? range[1])],
      isRandom: /\b(?:fully-)?random\b/.test(action ?? ''),
    });
  }
  return found;
}
