// SPDX-License-Identifier: Apache-2.0
// Pure functions over rows of the data plane, for the command line, the metrics and the page.

import type { DropReason } from '../model/drops.gen.ts';
import { formatEndpoint, formatIp4, formatIp6 } from '../addr/ip.ts';
import type { NameFound } from '../names/name-table.ts';
import type { Usage } from '../names/usage.ts';
import type { Protocol } from '../model/binding.ts';
import type { BlockRow, BlockState, DropRow, DropSample, SessionRow, SessionState } from '../datapath/datapath.ts';
import { isWanted, type SessionsWanted } from '../datapath/wanted.ts';

export interface SessionFilter extends SessionsWanted {
  readonly state?: SessionState;
  /** Any further condition, such as the name that led to the destination. */
  readonly where?: (row: SessionRow) => boolean;
  readonly limit?: number;
}

/** Rows that match, the most recently used first. */
export function filterSessions(rows: readonly SessionRow[], filter: SessionFilter): SessionRow[] {
  const { state, where, limit } = filter;
  return rows
    .filter(
      (row) =>
        isWanted(filter, row.source.v6, row.destination.v4, row.protocol) &&
        (state === undefined || row.state === state) &&
        (where === undefined || where(row)),
    )
    .sort((a, b) => b.lastSeenAt - a.lastSeenAt)
    .slice(0, limit);
}

/** One session as the record of usage takes it. */
export function usageOf(row: SessionRow, name: NameFound | undefined): Usage {
  return {
    pod: formatIp6(row.source.v6),
    name: name?.name,
    destination: formatIp4(row.destination.v4),
    isGuess: name?.isGuess ?? false,
    sessions: 1,
    bytesOut: row.bytesOut,
    bytesIn: row.bytesIn,
    firstAt: Math.round(row.createdAt),
    lastAt: Math.round(row.lastSeenAt),
  };
}

export interface AddressUsage {
  readonly v4: number;
  readonly slot: number;
  /** Ports per protocol; every protocol has as many. Blocks that are retired count as used while they empty. */
  readonly ports: { readonly total: number; readonly used: Readonly<Record<Protocol, number>> };
  readonly blocks: Readonly<Record<BlockState, number>>;
}

/** Per pool address, in order of addresses. */
export function poolUsage(blocks: readonly BlockRow[]): AddressUsage[] {
  const byAddress = new Map<number, BlockRow[]>();
  for (const block of blocks) {
    if (block.state === 'retired' && blockIsEmpty(block)) continue;
    const list = byAddress.get(block.v4);
    if (list === undefined) byAddress.set(block.v4, [block]);
    else list.push(block);
  }
  return [...byAddress]
    .sort(([a], [b]) => a - b)
    .map(([v4, rows]) => {
      const ports = { total: 0, used: { tcp: 0, udp: 0, icmp: 0 } };
      const states: Record<BlockState, number> = { offered: 0, leased: 0, resting: 0, retired: 0 };
      for (const row of rows) {
        states[row.state]++;
        if (row.state !== 'retired') ports.total += row.size;
        ports.used.tcp += row.used.tcp;
        ports.used.udp += row.used.udp;
        ports.used.icmp += row.used.icmp;
      }
      return { v4, slot: rows[0]?.slot ?? 0, ports, blocks: states };
    });
}

/** How many pods have blocks of more than one address (RFC 6888 REQ-2 asks for one, where it has enough). */
export function unpairedPods(blocks: Iterable<Pick<BlockRow, 'state' | 'holder' | 'v4'>>): number {
  const first = new Map<string, number>();
  const unpaired = new Set<string>();
  for (const { state, holder, v4 } of blocks) {
    if (state !== 'leased' || holder === undefined) continue;
    const pod = Buffer.from(holder).toString('hex');
    if ((first.get(pod) ?? v4) !== v4) unpaired.add(pod);
    first.set(pod, v4);
  }
  return unpaired.size;
}

export function blockIsEmpty(block: BlockRow): boolean {
  return block.used.tcp + block.used.udp + block.used.icmp === 0;
}

/** Reasons that a new flow is refused for when there is no room (RFC 6888 REQ-11). */
const ALLOCATION_FAILURES = ['pool_exhausted', 'pod_quota', 'sessions_full'] as const satisfies readonly DropReason[];

/** Flows that found no port or no room for a session, by reason. */
export function allocationFailures(drops: readonly DropRow[]): Record<(typeof ALLOCATION_FAILURES)[number], number> {
  const counts = { pool_exhausted: 0, pod_quota: 0, sessions_full: 0 };
  for (const reason of ALLOCATION_FAILURES) {
    for (const row of drops) if (row.reason === reason) counts[reason] += row.count;
  }
  return counts;
}

const PROTOCOL_NAMES: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmp6' };

/** "tcp [2001:db8::5]:40000 -> [64:ff9b::a9fe:a9fe]:80" */
export function packetText(sample: DropSample): string {
  const protocol = PROTOCOL_NAMES[sample.protocol] ?? `protocol ${sample.protocol}`;
  const icmp = sample.icmpType === null ? '' : ` type ${sample.icmpType} code ${sample.icmpCode ?? 0}`;
  const source = sideText(sample.source, sample.sourcePort);
  return `${protocol} ${source} -> ${sideText(sample.destination, sample.destinationPort)}${icmp}`;
}

function sideText(address: string, port: number): string {
  return port === 0 ? address : formatEndpoint({ host: address, port });
}
