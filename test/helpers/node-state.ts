// SPDX-License-Identifier: Apache-2.0
// All of a node that gate64 may touch, to be compared before and after.

import { existsSync, readdirSync } from 'node:fs';
import type { Namespace, Topology } from './topology.ts';

type Row = Record<string, unknown>;

/** Keys that tell nothing of what is configured: numbers given in order, clocks, statistics. */
const VOLATILE = new Set([
  'handle',
  'ifindex',
  'link_index',
  'stats',
  'stats64',
  'expires',
  'cacheinfo',
  'used',
  'metainfo',
]);

/** Values that the kernel counts or makes up, and those that come with a module once it is loaded. */
const VOLATILE_SYSCTL =
  /^net\.(?:netfilter\.|nf_conntrack|ipv4\.(?:tcp_fastopen_key|tcp_child_ehash)|core\.netdev_rss_key|ipv[46]\.neigh\.|ipv6\.conf\.[^.]+\.stable_secret|bridge\.|mpls\.)/;

/** What is not part of this is neighbours that traffic makes known, and the sandbox's own pins. */
export interface NodeState {
  readonly links: unknown;
  readonly routes4: unknown;
  readonly routes6: unknown;
  readonly rules: unknown;
  readonly proxies: unknown;
  readonly nft: unknown;
  readonly filters: string;
  readonly sysctls: readonly string[];
  readonly pins: readonly string[];
  readonly stateFile: boolean;
}

export function nodeState(topology: Topology, namespace: Namespace = 'node'): Promise<NodeState> {
  return readState((command) => topology.sh(namespace, command), {
    pins: existsSync('/sys/fs/bpf/gate64')
      ? readdirSync('/sys/fs/bpf/gate64', { recursive: true }).map(String).toSorted()
      : [],
    stateFile: existsSync('/run/gate64/host.json'),
  });
}

/** The state of the node where `text` runs a shell command; what is held in files is read by who calls. */
export async function readState(
  text: (command: string) => Promise<string>,
  held: Pick<NodeState, 'pins' | 'stateFile'>,
): Promise<NodeState> {
  const json = async (command: string) => ordered(JSON.parse((await text(command)) || '[]'));
  const [links, routes4, routes6, rules4, rules6, proxies4, proxies6, nft, filters, sysctls] = await Promise.all([
    json('ip -j link show'),
    json('ip -j -4 route show table all'),
    json('ip -j -6 route show table all'),
    json('ip -j -4 rule show'),
    json('ip -j -6 rule show'),
    json('ip -j -4 neighbour show proxy'),
    json('ip -j -6 neighbour show proxy'),
    json('nft -j list ruleset'),
    text(
      'for i in $(ls /sys/class/net 2>/dev/null; ip -o link | cut -d: -f2 | cut -d@ -f1); do tc qdisc show dev $i 2>/dev/null | grep clsact || true; done',
    ),
    text('sysctl -a 2>/dev/null'),
  ]);
  return {
    links,
    routes4,
    routes6,
    rules: [rules4, rules6],
    proxies: [proxies4, proxies6],
    nft,
    filters,
    sysctls: sysctls
      .split('\n')
      .filter((line) => line.startsWith('net.') && !VOLATILE_SYSCTL.test(line))
      .toSorted(),
    ...held,
  };
}

function ordered(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(ordered).toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value as Row).flatMap(([key, entry]) => (VOLATILE.has(key) ? [] : [[key, ordered(entry)]])),
  );
}

/** What is another or missing after, in words; empty when all is the same. */
export function differences(before: NodeState, after: NodeState): string[] {
  return (Object.keys(before) as (keyof NodeState)[]).flatMap((key) => {
    const [old, now] = [lines(before[key]), lines(after[key])];
    return [
      ...old.filter((line) => !now.includes(line)).map((line) => `${key}, gone: ${line}`),
      ...now.filter((line) => !old.includes(line)).map((line) => `${key}, new: ${line}`),
    ];
  });
}

function lines(value: unknown): string[] {
  if (!Array.isArray(value)) return [JSON.stringify(value)];
  return value.flat().map((entry) => JSON.stringify(entry));
}
