// SPDX-License-Identifier: Apache-2.0
// Rows of the data plane as the JSON that `-o json` prints: camelCase, ISO 8601 times, durations in seconds, addresses
// as text.

import { formatEndpoint, formatIp4, formatIp6 } from '../addr/ip.ts';
import type { TransportAddress4, TransportAddress6 } from '../model/binding.ts';
import type { BindingRow, BlockRow, DropRow, SessionRow } from '../datapath/datapath.ts';
import type { NameFound, NameTable } from '../names/name-table.ts';
import { isoTime } from './render.ts';

export function address4(at: TransportAddress4) {
  return { address: formatIp4(at.v4), port: at.port };
}

export function address6(at: TransportAddress6) {
  return { address: formatIp6(at.v6), port: at.port };
}

export function text4(at: TransportAddress4): string {
  return `${formatIp4(at.v4)}:${at.port}`;
}

export function text6(at: TransportAddress6): string {
  return formatEndpoint({ host: formatIp6(at.v6), port: at.port });
}

/** A session with the name that led its pod there, where that is known. */
export interface NamedSession extends SessionRow {
  readonly name: NameFound | undefined;
}

export function namedSession(row: SessionRow, names: NameTable | undefined, nowMs: number): NamedSession {
  return { ...row, name: names?.nameFor(formatIp6(row.source.v6), row.destination.v4, nowMs - row.createdAt) };
}

export function sessionJson(row: NamedSession, nowMs: number) {
  return {
    protocol: row.protocol,
    state: row.state,
    source: address6(row.source),
    name: row.name?.name ?? null,
    nameGuessed: row.name?.isGuess ?? false,
    destination6: formatIp6(row.destination6),
    pool: address4(row.pool),
    destination: address4(row.destination),
    createdAt: isoTime(row.createdAt),
    lastSeenAt: isoTime(row.lastSeenAt),
    expiresAt: isoTime(row.expiresAt),
    idleSeconds: seconds(nowMs - row.lastSeenAt),
    expiresInSeconds: seconds(row.expiresAt - nowMs),
    packetsOut: row.packetsOut,
    bytesOut: row.bytesOut,
    packetsIn: row.packetsIn,
    bytesIn: row.bytesIn,
  };
}

export function bindingJson(row: BindingRow) {
  return {
    protocol: row.protocol,
    source: address6(row.source),
    pool: address4(row.pool),
    sessions: row.sessions,
    static: row.isStatic,
    createdAt: isoTime(row.createdAt),
  };
}

export function blockJson(row: BlockRow) {
  return {
    index: row.index,
    address: formatIp4(row.v4),
    firstPort: row.firstPort,
    lastPort: row.firstPort + row.size - 1,
    state: row.state,
    holder: row.holder === undefined ? null : formatIp6(row.holder),
    since: row.since === undefined ? null : isoTime(row.since),
    used: row.used,
  };
}

export function dropJson(row: DropRow) {
  const { last } = row;
  return {
    reason: row.reason,
    direction: row.direction,
    count: row.count,
    last: last === undefined ? null : { ...last, at: isoTime(last.at) },
  };
}

/** Milliseconds → whole seconds, never below 0: an expired entry has 0 left until the sweep finds it. */
export function seconds(ms: number): number {
  return Math.max(0, Math.round(ms / 1000));
}
