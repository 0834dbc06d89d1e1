// SPDX-License-Identifier: Apache-2.0
// The one nftables table of masquerade mode: packets that carry a pool address leave with the uplink's (RFC 3022 NAPT by
// the kernel). The table is gate64's own and is written whole, in one transaction.

import { formatIp4, formatIp4Net, type Ip4Net } from '../addr/ip.ts';
import { commandFailed, parseJson, run, type Exec } from './exec.ts';
import type { Change } from './links.ts';

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

/** The table as nft takes it; replaces an older one in the same transaction. */
export function nftScript(nets: readonly Ip4Net[], device: string): string {
  const chain = { ...TABLE, table: TABLE.name, name: CHAIN };
  return JSON.stringify({
    nftables: [
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
                  right:
                    net.length === 32 ? formatIp4(net.v4) : { prefix: { addr: formatIp4(net.v4), len: net.length } },
                },
              },
              { match: { op: '!=', left: { meta: { key: 'oifname' } }, right: device } },
              { masquerade: null },
            ],
          },
        },
      })),
    ],
  });
}

export async function tableExists(exec: Exec): Promise<boolean> {
  return (await listTable(exec)) !== undefined;
}

async function listTable(exec: Exec): Promise<NftList | undefined> {
  const args = ['-j', 'list', 'table', TABLE.family, TABLE.name];
  const result = await exec('nft', args);
  if (result.exit === 0) return parseJson<NftList>(result.stdout, `nft ${args.join(' ')}`);
  if (/No such file or directory|does not exist/.test(result.stderr)) return undefined;
  throw commandFailed('nft', args, result);
}

/** Masquerade mode: the table when it is not there or not right. Otherwise (`nets` empty): its removal. */
export async function nftChanges(exec: Exec, nets: readonly Ip4Net[], device: string): Promise<Change[]> {
  const present = await listTable(exec);
  const remove = async () => void (await removeTable(exec));
  if (nets.length === 0) {
    if (present === undefined) return [];
    const undo = async () => {
      // Its rules name a pool that is no more.
    };
    return [{ what: 'old nftables table ip gate64', make: remove, undo }];
  }
  if (present !== undefined && isRight(present, nets, device)) return [];
  return [
    {
      what: 'nftables table ip gate64',
      make: async () => void (await run(exec, 'nft', ['-j', nftScript(nets, device)])),
      undo:
        present === undefined
          ? remove
          : async () => {
              // The new table serves the old pool no worse than none.
            },
    },
  ];
}

function isRight(list: NftList, nets: readonly Ip4Net[], device: string): boolean {
  const chain = list.nftables.find((item) => item.chain?.name === CHAIN)?.chain;
  if (chain?.hook !== 'postrouting' || chain.type !== 'nat' || chain.prio !== PRIORITY) return false;
  const rules = list.nftables.flatMap((item) => (item.rule?.chain === CHAIN ? [item.rule] : []));
  return (
    rules.length === nets.length &&
    nets.every((net, i) => rules[i]?.comment === ruleComment(net, device)) &&
    rules.every((rule) => rule.expr.some((part) => 'masquerade' in part))
  );
}

/** True when there was a table. */
export async function removeTable(exec: Exec): Promise<boolean> {
  if (!(await tableExists(exec))) return false;
  await run(exec, 'nft', ['delete', 'table', TABLE.family, TABLE.name]);
  return true;
}
