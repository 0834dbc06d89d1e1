// SPDX-License-Identifier: Apache-2.0
// gate64's own nftables table, written whole in one transaction. Masquerade mode: packets that carry a pool address leave
// with the uplink's (RFC 3022 NAPT by the kernel), and none of them is for the node itself. Either mode: an interface that
// forwards for gate64's sake alone forwards to nobody else.

import { formatIp4Net, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { MasqueradeTable, NodeFacts, TrackingTimes } from '../model/facts.ts';
import { commandFailed, parseJson, run, type Exec } from './exec.ts';
import { droppingForwards, listChains } from './forward-chains.ts';

const TABLE = { family: 'ip', name: 'gate64' } as const;
const CHAIN = 'postrouting';
const FORWARD = 'forward';
const INPUT = 'input';
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
  readonly closed: readonly string[];
}

/** Comment of the rule of one pool network; tells what the rule was made for, whatever way nft prints the rest. */
function ruleComment(net: Ip4Net, { device, times }: Table): string {
  const { udp, tcpEstablished, tcpTransitory } = times;
  return `gate64: ${formatIp4Net(net)} by any but ${device}; ${udp} ${tcpEstablished} ${tcpTransitory} s`;
}
const RULE_COMMENT = /^gate64: ([\d.]+\/\d+) by any but (\S+); (\d+) (\d+) (\d+) s$/;

const CLOSED_COMMENT = /^gate64: (\S+) forwards to (\S+) alone$/;
const INPUT_COMMENT = /^gate64: nothing of (\S+) is for the node$/;

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
  const { nets, device, closed } = table;
  const kept = Object.entries(withTimes && nets.length > 0 ? policies(table.times) : {});
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
    ...(nets.length === 0
      ? []
      : masqueradeChains(
          table,
          kept.map(([protocol]) => protocol),
        )),
    ...(closed.length === 0 ? [] : [`chain ${FORWARD} {\ntype filter hook forward priority 0; policy accept;\n`]),
    ...closed.map(
      (name) => `iifname "${name}" oifname != "${device}" drop comment "gate64: ${name} forwards to ${device} alone"\n`,
    ),
    ...(closed.length === 0 ? [] : ['}\n']),
    '}\n',
  ];
}

/**
 * The chain of input is what keeps pods from addresses that the node has had for moments only, until the programs know them:
 * there the kernel's own table decides what is local. Answers to the node's own connections to a pod pass.
 */
function masqueradeChains(table: Table, kept: readonly string[]): string[] {
  const { nets, device } = table;
  return [
    `chain ${OURS} {\n`,
    ...kept.map((protocol) => `meta l4proto ${protocol} ct timeout set "${TIMES}${protocol}"\n`),
    'masquerade\n}\n',
    `chain ${CHAIN} {\ntype nat hook postrouting priority ${PRIORITY}; policy accept;\n`,
    ...nets.map(
      (net) =>
        `ip saddr ${formatIp4Net(net)} oifname != "${device}" goto ${OURS} comment "${ruleComment(net, table)}"\n`,
    ),
    '}\n',
    `chain ${INPUT} {\ntype filter hook input priority 0; policy accept;\n`,
    `iifname "${device}" ct state != { established, related } drop comment "gate64: nothing of ${device} is for the node"\n`,
    '}\n',
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
 * gate64's table and, when looked at thoroughly, the chains of others that drop. With a direct way out there is hardly ever
 * a table, and one command does.
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
    masquerade: !direct || isThere ? await readTable(exec) : undefined,
    droppingForwards: await droppingForwards(exec, others),
  };
}

const NOTHING: MasqueradeTable = {
  nets: [],
  device: undefined,
  guardsNode: false,
  closed: [],
  times: undefined,
  hasTimes: false,
};
const NOT_AS_MADE: MasqueradeTable = { ...NOTHING, nets: undefined };

type Rules = (chain: string) => readonly NonNullable<NftList['nftables'][number]['rule']>[];

function tableOf({ nftables }: NftList): MasqueradeTable {
  const chains = new Map(nftables.flatMap(({ chain }) => (chain === undefined ? [] : [[chain.name, chain] as const])));
  const rules: Rules = (name) => nftables.flatMap(({ rule }) => (rule?.chain === name ? rule : []));
  const isAsMade = ([name, type, prio]: readonly [string, string, number]) => {
    const chain = chains.get(name);
    return chain === undefined || (chain.hook === name && chain.type === type && chain.prio === prio);
  };
  const made = [[CHAIN, 'nat', PRIORITY] as const, [INPUT, 'filter', 0] as const, [FORWARD, 'filter', 0] as const];
  if (!made.every(isAsMade)) return NOT_AS_MADE;
  const leaving = chains.has(CHAIN) ? leavingOf(rules) : NOTHING;
  const dropping = (chain: string, comment: RegExp) =>
    rules(chain).map((rule) => (rule.expr.some((part) => 'drop' in part) ? comment.exec(rule.comment ?? '') : null));
  const input = dropping(INPUT, INPUT_COMMENT);
  const closed = dropping(FORWARD, CLOSED_COMMENT);
  const devices = new Set([
    ...(chains.has(CHAIN) ? [leaving.device] : []),
    ...input.map((match) => match?.[1]),
    ...closed.map((match) => match?.[2]),
  ]);
  const [device] = devices;
  if (devices.size !== 1 || device === undefined) return NOT_AS_MADE;
  return { ...leaving, device, guardsNode: input.length === 1, closed: closed.map((match) => match?.[1] ?? '') };
}

/** What leaves with the uplink's address. */
function leavingOf(rules: Rules): MasqueradeTable {
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
  return { ...NOTHING, nets, device, times, hasTimes: ours.filter((part) => 'ct timeout' in part).length === 2 };
}

/** True when there was a table. */
export async function removeTable(exec: Exec): Promise<boolean> {
  if (!(await tableExists(exec))) return false;
  await run(exec, 'nft', ['delete', 'table', TABLE.family, TABLE.name]);
  return true;
}
