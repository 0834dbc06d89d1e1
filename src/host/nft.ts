// SPDX-License-Identifier: Apache-2.0
// The one nftables table of masquerade mode: packets that carry a pool address leave with the uplink's (RFC 3022 NAPT by
// the kernel). The table is gate64's own and is written whole, in one transaction.

import { formatIp4Net, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { MasqueradeTable, NodeFacts, TrackingTimes } from '../model/facts.ts';
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

const OURS = 'ours';
const TIMES = 'gate64-';
/**
 * A closed TCP connection is no longer than this in the node's connection tracking (2 minutes by default): its table of
 * 262144 would be full of them at 2200 connections a second. Its port is not given to others before the session's own end.
 */
const TIME_WAIT = 10;

interface Table {
  readonly nets: readonly Ip4Net[];
  readonly device: string;
  readonly times: TrackingTimes;
}

/** Comment of the rule of one pool network; tells what the rule was made for, whatever way nft prints the rest. */
function ruleComment(net: Ip4Net, { device, times }: Table): string {
  const { udp, tcpEstablished, tcpTransitory } = times;
  return `gate64: ${formatIp4Net(net)} by any but ${device}; ${udp} ${tcpEstablished} ${tcpTransitory} s`;
}
const RULE_COMMENT = /^gate64: ([\d.]+\/\d+) by any but (\S+); (\d+) (\d+) (\d+) s$/;

/** What connection tracking is to keep flows for, so that `nat64.timeouts` holds behind it too. */
function policies({ udp, tcpEstablished, tcpTransitory }: TrackingTimes): Record<'tcp' | 'udp', object> {
  return {
    tcp: {
      syn_sent: tcpTransitory,
      syn_recv: tcpTransitory,
      established: tcpEstablished,
      // Half closed is open: RFC 6146 §3.5.2.2 keeps such sessions as long.
      fin_wait: tcpEstablished,
      close_wait: tcpEstablished,
      time_wait: TIME_WAIT,
      close: TIME_WAIT,
    },
    udp: { unreplied: udp, replied: udp },
  };
}

/**
 * The table as nft takes it, as arguments that it joins: in one Linux takes 128 KiB, some 400 networks. Replaces an older
 * table in the same transaction. As text: nft 1.0.6 loses the times of JSON.
 */
function nftScript(table: Table, withTimes: boolean): string[] {
  const of = `${TABLE.family} ${TABLE.name}`;
  const kept = Object.entries(withTimes ? policies(table.times) : {});
  const times = (policy: object) => Object.entries(policy).map(([state, seconds]) => `${state}: ${seconds}`);
  return [
    // Adding first makes the deletion succeed when there is no table.
    `add table ${of}\n`,
    `delete table ${of}\n`,
    `table ${of} {\n`,
    ...kept.map(
      ([protocol, policy]) =>
        `ct timeout ${TIMES}${protocol} {\nprotocol ${protocol}\nl3proto ip\npolicy = { ${times(policy).join(', ')} }\n}\n`,
    ),
    `chain ${OURS} {\n`,
    ...kept.map(([protocol]) => `meta l4proto ${protocol} ct timeout set "${TIMES}${protocol}"\n`),
    'masquerade\n}\n',
    `chain ${CHAIN} {\ntype nat hook postrouting priority ${PRIORITY}; policy accept;\n`,
    ...table.nets.map(
      (net) =>
        `ip saddr ${formatIp4Net(net)} oifname != "${table.device}" goto ${OURS} comment "${ruleComment(net, table)}"\n`,
    ),
    '}\n}\n',
  ];
}

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
    masquerade: !direct ? await readTable(exec) : isThere ? NOT_AS_MADE : undefined,
    droppingForwards: await droppingForwards(exec, others),
  };
}

const NOT_AS_MADE: MasqueradeTable = { nets: undefined, device: undefined, times: undefined, hasTimes: false };

function tableOf({ nftables }: NftList): MasqueradeTable {
  const chain = nftables.find((item) => item.chain?.name === CHAIN)?.chain;
  if (chain?.hook !== 'postrouting' || chain.type !== 'nat' || chain.prio !== PRIORITY) return NOT_AS_MADE;
  const rules = (name: string) => nftables.flatMap(({ rule }) => (rule?.chain === name ? rule : []));
  const ours = rules(OURS).map(({ expr }) => expr.at(-1) ?? {});
  if (!('masquerade' in (ours.at(-1) ?? {}))) return NOT_AS_MADE;
  const made = rules(CHAIN).map(({ comment, expr }) => {
    return expr.some((part) => 'goto' in part) ? RULE_COMMENT.exec(comment ?? '') : null;
  });
  const [first] = made;
  if (first === null || first === undefined) return NOT_AS_MADE;
  const [, , device, ...seconds] = first;
  const nets: Ip4Net[] = [];
  for (const match of made) {
    if (match === null || match.slice(2).join() !== first.slice(2).join()) return NOT_AS_MADE;
    nets.push(parseIp4Net(match[1] ?? ''));
  }
  const [udp, tcpEstablished, tcpTransitory] = seconds.map(Number) as [number, number, number];
  const times = { udp, tcpEstablished, tcpTransitory };
  return { nets, device, times, hasTimes: ours.filter((part) => 'ct timeout' in part).length === 2 };
}

/** True when there was a table. */
export async function removeTable(exec: Exec): Promise<boolean> {
  if (!(await tableExists(exec))) return false;
  await run(exec, 'nft', ['delete', 'table', TABLE.family, TABLE.name]);
  return true;
}
