// SPDX-License-Identifier: Apache-2.0
// The one nftables table of masquerade mode: packets that carry a pool address leave with the uplink's (RFC 3022 NAPT by
// the kernel). The table is gate64's own and is written whole, in one transaction.

import { formatIp4, formatIp4Net, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { MasqueradeTable, NodeFacts } from '../model/facts.ts';
import { commandFailed, parseJson, run, type Exec } from './exec.ts';
import { droppingForwards, listChains } from './forward-chains.ts';

const TABLE = { family: 'ip', name: 'gate64' } as const;
const CHAIN = 'postrouting';
/** Before srcnat (100), so that no masquerade rule of somebody else sees the packet first. */
const PRIORITY = 90;

interface NftList {
  nftables: {
    chain?: { name: string; hook?: string; prio?: number; type?: string };
    rule?: { chain: string; comment?: string; expr: object[] };
  }[];
}

/** Comment of the rule of one pool network; tells what the rule was made for, whatever way nft prints the rest. */
function ruleComment(net: Ip4Net, device: string): string {
  return `gate64: ${formatIp4Net(net)} by any but ${device}`;
}
const RULE_COMMENT = /^gate64: ([\d.]+\/\d+) by any but (\S+)$/;

/**
 * The table as nft takes it, as arguments that it joins: in one Linux takes 128 KiB, some 400 networks. Replaces an older
 * table in the same transaction.
 */
export function nftScript(nets: readonly Ip4Net[], device: string): string[] {
  const chain = { ...TABLE, table: TABLE.name, name: CHAIN };
  const steps = [
    // Adding first makes the deletion succeed when there is no table.
    { add: { table: TABLE } },
    { delete: { table: TABLE } },
    { add: { table: TABLE } },
    { add: { chain: { ...chain, type: 'nat', hook: 'postrouting', prio: PRIORITY, policy: 'accept' } } },
    ...nets.map((net) => ({
      add: {
        rule: {
          family: TABLE.family,
          table: TABLE.name,
          chain: CHAIN,
          comment: ruleComment(net, device),
          expr: [
            {
              match: {
                op: '==',
                left: { payload: { protocol: 'ip', field: 'saddr' } },
                right: net.length === 32 ? formatIp4(net.v4) : { prefix: { addr: formatIp4(net.v4), len: net.length } },
              },
            },
            { match: { op: '!=', left: { meta: { key: 'oifname' } }, right: device } },
            { masquerade: null },
          ],
        },
      },
    })),
  ];
  return ['{"nftables":[', ...steps.map((step, i) => `${i === 0 ? '' : ','}${JSON.stringify(step)}`), ']}'];
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
 * gate64's table and, when looked at thoroughly, the chains of others that drop. With a direct way out no table is wanted:
 * that a chain of one is there says enough, and one command does.
 */
export async function readNft(
  exec: Exec,
  { direct, thorough }: { readonly direct: boolean; readonly thorough: boolean },
): Promise<Pick<NodeFacts, 'masquerade' | 'droppingForwards'>> {
  if (!thorough) return { masquerade: await readTable(exec), droppingForwards: [] };
  const chains = await listChains(exec);
  const others = chains.filter(({ family, table }) => family !== TABLE.family || table !== TABLE.name);
  const isThere = others.length < chains.length;
  return {
    masquerade: !direct ? await readTable(exec) : isThere ? { nets: undefined, device: undefined } : undefined,
    droppingForwards: await droppingForwards(exec, others),
  };
}

function tableOf({ nftables }: NftList): MasqueradeTable {
  const other = { nets: undefined, device: undefined };
  const chain = nftables.find((item) => item.chain?.name === CHAIN)?.chain;
  if (chain?.hook !== 'postrouting' || chain.type !== 'nat' || chain.prio !== PRIORITY) return other;
  const nets: Ip4Net[] = [];
  const devices = new Set<string>();
  for (const { rule } of nftables) {
    if (rule?.chain !== CHAIN) continue;
    const match = RULE_COMMENT.exec(rule.comment ?? '');
    if (match === null || !rule.expr.some((part) => 'masquerade' in part)) return other;
    nets.push(parseIp4Net(match[1] ?? ''));
    devices.add(match[2] ?? '');
  }
  const [device] = devices;
  return devices.size === 1 ? { nets, device } : other;
}

/** True when there was a table. */
export async function removeTable(exec: Exec): Promise<boolean> {
  if (!(await tableExists(exec))) return false;
  await run(exec, 'nft', ['delete', 'table', TABLE.family, TABLE.name]);
  return true;
}
