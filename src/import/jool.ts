// SPDX-License-Identifier: Apache-2.0
// Jool's JSON, as `jool file handle` takes it ("atomic configuration"): global, pool4 and bib of a NAT64 instance.

import { JsonError, parseJson, showJson, type JsonNode } from './json.ts';
import { Reading } from './reading.ts';
import type { SettingKey } from './reading.ts';

type Members = ReadonlyMap<string, JsonNode>;

const NONE: Members = new Map();
const membersOf = (node: JsonNode | undefined): Members => (node?.value instanceof Map ? node.value : NONE);
const itemsOf = (node: JsonNode | undefined): readonly JsonNode[] => (Array.isArray(node?.value) ? node.value : []);

export function readJool(text: string): Reading {
  const reading = new Reading();
  try {
    readInstance(parseJson(text), reading);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    reading.lost(error.line, 'the file', error.message, 'mend it; `jool file check` says more');
  }
  return reading;
}

function readInstance(root: JsonNode, reading: Reading): void {
  const members = membersOf(root);
  if (!(root.value instanceof Map)) reading.lost(root.line, showJson(root), 'expected an object');
  for (const [name, node] of members) {
    const what = `${name}: ${showJson(node)}`;
    if (name === 'comment') continue;
    if (name === 'global') readGlobal(membersOf(node), node.line, reading);
    else if (name === 'pool6') readPool6(node, reading);
    else if (name === 'pool4') readPool4(itemsOf(node), reading);
    else if (name === 'bib') for (const entry of itemsOf(node)) readBinding(entry, reading);
    else if (name === 'instance') reading.aside(node.line, what, 'one gate64 runs on a node, without a name');
    else if (name === 'framework') {
      reading.aside(node.line, what, 'gate64 hangs on routes', 'remove rules with the target JOOL, if there are any');
    } else if (name === 'eamt' || /^(?:deny|black)list4$/.test(name)) {
      reading.lost(node.line, what, 'this is SIIT; gate64 is a stateful NAT64');
    } else reading.lost(node.line, what, 'it is not known', 'see docs/configuration.md');
  }
  // Jool without pool4 takes the node's own addresses with ports 61001-65535, as "direct" does.
  if (root.value instanceof Map && itemsOf(members.get('pool4')).length === 0) {
    reading.carry(members.get('pool4')?.line ?? root.line, 'nat64.egress', 'direct');
  }
}

/** A string, or an object with the prefix in it, as Jool 3 had it. */
function readPool6(node: JsonNode, reading: Reading): void {
  const inner = node.value instanceof Map ? (membersOf(node).get('prefix') ?? node) : node;
  if (inner.value !== null) reading.carry(inner.line, 'prefix', plain(inner));
}

/** What the schema judges; a list or an object is no value of any key that Jool has. */
function plain(node: JsonNode): unknown {
  return typeof node.value === 'object' ? showJson(node) : node.value;
}

const TIMEOUTS: Readonly<Record<string, readonly SettingKey[]>> = {
  'udp-timeout': ['nat64.timeouts.udp'],
  'tcp-est-timeout': ['nat64.timeouts.tcpEstablished'],
  'tcp-trans-timeout': ['nat64.timeouts.tcpTransitory', 'nat64.timeouts.tcpClosing'],
  'icmp-timeout': ['nat64.timeouts.icmp'],
};

/** What matters when it is true, and why it cannot be carried. */
const LOST_WHEN_TRUE: Readonly<Record<string, readonly [why: string, instead: string]>> = {
  'drop-icmpv6-info': ['gate64 translates pings', 'a rule of the firewall'],
  'drop-externally-initiated-tcp': [
    'gate64 has no such switch',
    'nat64.filtering: addressDependent lets only those in that a pod wrote to',
  ],
  'override-tos': ['gate64 copies the traffic class', 'a rule of the firewall that sets it'],
  'ss-enabled': ['sessions of one node do not move to another', ''],
  'logging-bib': ['bindings are not logged', '`gate64 bindings` shows them'],
  'logging-session': ['sessions are not logged', '`gate64 sessions` shows them'],
};

function readGlobal(members: Members, line: number, reading: Reading): void {
  for (const [name, node] of members) {
    const what = `${name}: ${showJson(node)}`;
    const timeouts = Object.hasOwn(TIMEOUTS, name) ? TIMEOUTS[name] : undefined;
    const lost = Object.hasOwn(LOST_WHEN_TRUE, name) ? LOST_WHEN_TRUE[name] : undefined;
    if (name === 'comment') continue;
    if (name === 'pool6') readPool6(node, reading);
    else if (timeouts !== undefined) for (const key of timeouts) reading.carry(node.line, key, seconds(node));
    else if (name === 'manually-enabled') reading.carry(node.line, 'nat64.enabled', plain(node));
    else if (name === 'lowest-ipv6-mtu') reading.carry(node.line, 'nat64.lowestIpv6Mtu', plain(node));
    else if (name === 'address-dependent-filtering') {
      const filtering = node.value === true ? 'addressDependent' : 'endpointIndependent';
      reading.carry(node.line, 'nat64.filtering', filtering);
    } else if (lost !== undefined && node.value === true) reading.lost(node.line, what, ...lost);
    else reading.aside(node.line, what, 'gate64 has no such switch');
  }
  if (!members.has('address-dependent-filtering')) {
    const why = 'it is off in Jool unless set; gate64 lets only those in that a pod wrote to';
    reading.aside(line, 'no address-dependent-filtering', why, 'nat64.filtering: endpointIndependent for all');
  }
}

/** "1:00:00", "5:30.500" or a number, in seconds. What is none of it stays as it is, for the schema to refuse. */
function seconds(node: JsonNode): unknown {
  const match =
    typeof node.value === 'string' ? /^(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9})(?:\.\d{1,9})?$/.exec(node.value) : null;
  if (match === null) return plain(node);
  return Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3]);
}

interface Range {
  readonly line: number;
  readonly protocol: string;
  readonly first: number;
  readonly last: number;
}

/** Jool has ranges a protocol, gate64 has one for all; ICMP identifiers follow the ports. */
function readPool4(entries: readonly JsonNode[], reading: Reading): void {
  const byPrefix = new Map<string, Range[]>();
  for (const entry of entries) {
    const members = membersOf(entry);
    const prefix = members.get('prefix');
    if (prefix === undefined) {
      reading.lost(entry.line, 'an entry of pool4', 'it has no prefix');
      continue;
    }
    const mark = members.get('mark');
    if (mark !== undefined && mark.value !== 0) {
      const why = 'gate64 gives any pod any address of the pool';
      reading.lost(mark.line, `mark: ${showJson(mark)}`, why);
    }
    const range = /^(\d{1,5})(?:\s*-\s*(\d{1,5}))?$/.exec(
      String(plain(members.get('port range') ?? { line: 0, value: '61001-65535' })),
    );
    if (range === null) {
      reading.lost(entry.line, 'port range', 'it is not a range of ports', 'nat64.pool');
      continue;
    }
    const protocol = String(plain(members.get('protocol') ?? { line: 0, value: 'TCP' })).toUpperCase();
    const key = String(plain(prefix));
    const [first, last] = [Number(range[1]), Number(range[2] ?? range[1])];
    byPrefix.set(key, [...(byPrefix.get(key) ?? []).slice(0, 64), { line: entry.line, protocol, first, last }]);
  }
  if (byPrefix.size > 0) reading.carry(entries[0]?.line ?? 1, 'nat64.egress', 'direct');
  for (const [prefix, ranges] of byPrefix) readPoolPrefix(prefix, ranges, reading);
}

function readPoolPrefix(prefix: string, ranges: readonly Range[], reading: Reading): void {
  const line = ranges[0]?.line ?? 1;
  const written = (protocol: string) => [
    ...new Set(
      ranges.filter((range) => range.protocol === protocol).map(({ first, last }) => `${Math.max(first, 1)}-${last}`),
    ),
  ];
  const [tcp, udp] = [written('TCP'), written('UDP')];
  const ports = tcp.length > 0 ? tcp : udp;
  if (ports.length === 0) {
    reading.lost(line, prefix, 'it is for ICMP alone; gate64 has one range of ports for all protocols', 'nat64.pool');
    return;
  }
  if (tcp.join() !== udp.join()) {
    const why = `gate64 has the same ports for all protocols, and ${tcp.length > 0 ? "TCP's" : "UDP's"} were taken`;
    reading.lost(
      line,
      `${prefix}: ports of TCP ${tcp.join(', ') || 'none'}, of UDP ${udp.join(', ') || 'none'}`,
      why,
      'look at nat64.pool',
    );
  }
  reading.carry(line, 'nat64.pool', { addresses: [prefix], ports });
}

function readBinding(entry: JsonNode, reading: Reading): void {
  const members = membersOf(entry);
  const text = (name: string) => String(plain(members.get(name) ?? { line: 0, value: '' }));
  const [v6 = '', port6 = ''] = text('ipv6 address').split('#');
  const [v4 = '', port4 = ''] = text('ipv4 address').split('#');
  const protocol = text('protocol').toLowerCase();
  reading.carry(entry.line, 'nat64.static', { protocol, ipv6: `[${v6}]:${port6}`, ipv4: `${v4}:${port4}` });
}
