// SPDX-License-Identifier: Apache-2.0
// gate64's own nftables table, written whole in one transaction, and what else nftables has that concerns gate64.

import type { MasqueradeTable, NodeFacts } from '../model/facts.ts';
import { commandFailed, parseJson, run, type Exec } from './exec.ts';
import { droppingForwards, listChains } from './forward-chains.ts';
import { listSnatRules } from './snat-rules.ts';
import { nftScript, TABLE, tableOf, type NftList, type Table } from './nft-table.ts';

/** With the times where the kernel takes them; what lacks them is found at the next look. */
export async function writeTable(exec: Exec, table: Table): Promise<void> {
  const result = await exec('nft', nftScript(table, true));
  if (result.exit !== 0) await run(exec, 'nft', nftScript(table, false));
}

async function tableExists(exec: Exec): Promise<boolean> {
  return (await listTable(exec)) !== undefined;
}

async function listTable(exec: Exec): Promise<NftList | undefined> {
  const args = ['-j', 'list', 'table', TABLE.family, TABLE.name];
  const result = await exec('nft', args);
  if (result.exit === 0) return parseJson<NftList>(result.stdout, `nft ${args.join(' ')}`);
  if (/No such file or directory|does not exist/.test(result.stderr)) return undefined;
  throw commandFailed('nft', args, result);
}

/** The table as it stands; undefined when there is none. */
async function readTable(exec: Exec): Promise<MasqueradeTable | undefined> {
  const list = await listTable(exec);
  return list === undefined ? undefined : tableOf(list);
}

/**
 * gate64's table and, when looked at thoroughly, the chains of others that drop. With a direct way out there is hardly ever
 * a table, and one command does.
 */
export async function readNft(
  exec: Exec,
  { direct, thorough }: { readonly direct: boolean; readonly thorough: boolean },
): Promise<Pick<NodeFacts, 'masquerade' | 'droppingForwards' | 'snatRules'>> {
  if (!thorough) return { masquerade: await readTable(exec), droppingForwards: [], snatRules: [] };
  const chains = await listChains(exec);
  const others = chains.filter(({ family, table }) => family !== TABLE.family || table !== TABLE.name);
  const isThere = others.length < chains.length;
  return {
    masquerade: !direct || isThere ? await readTable(exec) : undefined,
    droppingForwards: await droppingForwards(exec, others),
    snatRules: direct ? await listSnatRules(exec, others) : [],
  };
}

/** True when there was a table. */
export async function removeTable(exec: Exec): Promise<boolean> {
  if (!(await tableExists(exec))) return false;
  await run(exec, 'nft', ['delete', 'table', TABLE.family, TABLE.name]);
  return true;
}
