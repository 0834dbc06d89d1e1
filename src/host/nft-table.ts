// SPDX-License-Identifier: Apache-2.0
// The text of gate64's own nftables table, and what is read of it again. Masquerade mode: packets that carry a pool address
// leave with the uplink's (RFC 3022 NAPT by the kernel), or the one that the route names, and none of them is for the node
// itself. Either mode: an interface that forwards for gate64's sake alone forwards to nobody else.

import { formatIp4, formatIp4Net, parseIp4, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { LeavingSource, MasqueradeTable, TrackingTimes } from '../model/facts.ts';

export const TABLE = { family: 'ip', name: 'gate64' } as const;
const CHAIN = 'postrouting';
const FORWARD = 'forward';
const INPUT = 'input';
const LEAVING = 'leaving';
/** Before srcnat (100), so that no masquerade rule of somebody else sees the packet first. */
const PRIORITY = 90;
/** When all sources are translated. */
const AFTER_NAT = 110;

export interface NftList {
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

/** What the table is made for. */
export interface Table {
  readonly nets: readonly Ip4Net[];
  readonly device: string;
  readonly times: TrackingTimes;
  readonly leaving: readonly LeavingSource[];
  readonly lost: readonly number[];
  readonly opened: readonly Ip4Net[];
  readonly closed: readonly string[];
}

/** Comment of the rule of one pool network; tells what the rule was made for, whatever way nft prints the rest. */
function ruleComment(net: Ip4Net, { device, times }: Table): string {
  const { udp, tcpEstablished, tcpTransitory } = times;
  return `gate64: ${formatIp4Net(net)} by any but ${device}; ${udp} ${tcpEstablished} ${tcpTransitory} s`;
}
const RULE_COMMENT = /^gate64: ([\d.]+\/\d+) by any but (\S+); (\d+) (\d+) (\d+) s$/;

function sourceComment({ device, dst, source }: LeavingSource): string {
  return `gate64: ${formatIp4Net(dst)} by ${device}${source === undefined ? '' : ` from ${formatIp4(source)}`}`;
}
const SOURCE_COMMENT = /^gate64: ([\d.]+\/\d+) by (\S+?)(?: from ([\d.]+))?$/;

const CLOSED_COMMENT = /^gate64: (\S+) forwards to (\S+) alone$/;
const INPUT_COMMENT = /^gate64: nothing of (\S+) is for the node$/;
const OPENED_COMMENT = /^gate64: ([\d.]+\/\d+) of the node is open$/;
const LOST_COMMENT = /^gate64: nothing of (\S+) leaves from ([\d.]+), which is lost$/;

/**
 * An interface's name as nftables takes it. Names are others' choice: a star at the end would stand for all that begin so,
 * and a quotation mark cannot be written. Throws Gate64Error.
 */
function nftName(name: string): string {
  if (name.includes('"')) {
    throw new Gate64Error('G64_HOST_STATE', `nftables has no way to name the interface ${name}`, {
      hint: 'Rename it, or name another one in nat64.uplink.',
    });
  }
  return `"${name.replace(/\*$/, '\\*')}"`;
}

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
export function nftScript(table: Table, withTimes: boolean): string[] {
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
      (name) =>
        `iifname ${nftName(name)} oifname != "${device}" drop comment "gate64: ${name} forwards to ${device} alone"\n`,
    ),
    ...(closed.length === 0 ? [] : ['}\n']),
    '}\n',
  ];
}

/**
 * Connection tracking ends what `masquerade` gave an address that the node loses, and not what `snat` did: what such
 * flows send is dropped, as somebody else may have the address. The chain of input is what keeps pods from addresses that
 * the node has had for moments only, until the programs know them: there the kernel's own table decides what is local.
 * Answers to the node's own connections to a pod pass.
 */
function masqueradeChains(table: Table, kept: readonly string[]): string[] {
  const { nets, device, leaving, lost, opened } = table;
  return [
    `chain ${OURS} {\n`,
    ...kept.map((protocol) => `meta l4proto ${protocol} ct timeout set "${TIMES}${protocol}"\n`),
    ...leaving.map((one) => `${sourceRule(one)}\n`),
    'masquerade\n}\n',
    `chain ${CHAIN} {\ntype nat hook postrouting priority ${PRIORITY}; policy accept;\n`,
    ...nets.map(
      (net) =>
        `ip saddr ${formatIp4Net(net)} oifname != "${device}" goto ${OURS} comment "${ruleComment(net, table)}"\n`,
    ),
    '}\n',
    ...(lost.length === 0
      ? []
      : [
          `chain ${LEAVING} {\ntype filter hook postrouting priority ${AFTER_NAT}; policy accept;\n`,
          ...lost
            .map(formatIp4)
            .map(
              (v4) =>
                `iifname "${device}" ip saddr ${v4} drop comment "gate64: nothing of ${device} leaves from ${v4}, which is lost"\n`,
            ),
          '}\n',
        ]),
    `chain ${INPUT} {\ntype filter hook input priority 0; policy accept;\n`,
    // What the pod asked for decides, whoever serves it (hostPort); of a network no broadcast address is meant.
    ...opened
      .map(formatIp4Net)
      .map(
        (net) =>
          `iifname "${device}" ct original ip daddr ${net} fib daddr type local accept comment "gate64: ${net} of the node is open"\n`,
      ),
    `iifname "${device}" ct state != { established, related } drop comment "gate64: nothing of ${device} is for the node"\n`,
    '}\n',
  ];
}

function sourceRule(one: LeavingSource): string {
  const { device, dst, source } = one;
  const to = dst.length === 0 ? '' : ` ip daddr ${formatIp4Net(dst)}`;
  const action = source === undefined ? 'masquerade' : `snat to ${formatIp4(source)}`;
  return `oifname ${nftName(device)}${to} ${action} comment "${sourceComment(one)}"`;
}

const NOTHING: MasqueradeTable = {
  nets: [],
  device: undefined,
  guardsNode: false,
  closed: [],
  leaving: [],
  lost: [],
  opened: [],
  times: undefined,
  hasTimes: false,
};
const NOT_AS_MADE: MasqueradeTable = { ...NOTHING, nets: undefined };

type Rule = NonNullable<NftList['nftables'][number]['rule']>;
type Rules = (chain: string) => readonly Rule[];

function does(rule: Rule | undefined, what: string): boolean {
  return what in (rule?.expr.at(-1) ?? {});
}

/** What the table is for by its rules; `nets` undefined where they are not as they were made. */
export function tableOf({ nftables }: NftList): MasqueradeTable {
  const chains = new Map(nftables.flatMap(({ chain }) => (chain === undefined ? [] : [[chain.name, chain] as const])));
  const rules: Rules = (name) => nftables.flatMap(({ rule }) => (rule?.chain === name ? rule : []));
  const isAsMade = ([name, hook, type, prio]: readonly [string, string, string, number]) => {
    const chain = chains.get(name);
    return chain === undefined || (chain.hook === hook && chain.type === type && chain.prio === prio);
  };
  const made = [
    [CHAIN, 'postrouting', 'nat', PRIORITY] as const,
    [LEAVING, 'postrouting', 'filter', AFTER_NAT] as const,
    [INPUT, 'input', 'filter', 0] as const,
    [FORWARD, 'forward', 'filter', 0] as const,
  ];
  if (!made.every(isAsMade)) return NOT_AS_MADE;
  const leaving = chains.has(CHAIN) ? leavingOf(rules) : NOTHING;
  const dropping = (chain: string, comment: RegExp) =>
    rules(chain).map((rule) => (rule.expr.some((part) => 'drop' in part) ? comment.exec(rule.comment ?? '') : null));
  const opened = rules(INPUT)
    .slice(0, -1)
    .map((rule) => (does(rule, 'accept') ? OPENED_COMMENT.exec(rule.comment ?? '') : null));
  if (opened.includes(null)) return NOT_AS_MADE;
  const input = dropping(INPUT, INPUT_COMMENT).slice(-1);
  const lost = dropping(LEAVING, LOST_COMMENT);
  const closed = dropping(FORWARD, CLOSED_COMMENT);
  const devices = new Set([
    ...(chains.has(CHAIN) ? [leaving.device] : []),
    ...[...input, ...lost].map((match) => match?.[1]),
    ...closed.map((match) => match?.[2]),
  ]);
  const [device] = devices;
  if (devices.size !== 1 || device === undefined) return NOT_AS_MADE;
  return {
    ...leaving,
    device,
    guardsNode: input.length === 1,
    closed: closed.map((match) => match?.[1] ?? ''),
    opened: opened.map((match) => parseIp4Net(match?.[1] ?? '')),
    lost: lost.map((match) => parseIp4(match?.[2] ?? '')),
  };
}

/** What leaves with the uplink's address. */
function leavingOf(rules: Rules): MasqueradeTable {
  const ours = rules(OURS);
  if (!does(ours.at(-1), 'masquerade')) return NOT_AS_MADE;
  const timed = ours.filter((rule) => does(rule, 'ct timeout'));
  const leaving = ours.slice(timed.length, -1).map((rule) => {
    const [, dst = '', name = '', source] = SOURCE_COMMENT.exec(rule.comment ?? '') ?? [];
    if (dst === '' || !does(rule, source === undefined ? 'masquerade' : 'snat')) return undefined;
    return { device: name, dst: parseIp4Net(dst), source: source === undefined ? undefined : parseIp4(source) };
  });
  if (leaving.includes(undefined)) return NOT_AS_MADE;
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
  return {
    ...NOTHING,
    nets,
    device,
    times,
    leaving: leaving.flatMap((one) => one ?? []),
    hasTimes: timed.length === 2,
  };
}
