// SPDX-License-Identifier: Apache-2.0
// Finds out what the page shows, by the functions that the command line and the metrics use.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import type { Datapath, SessionRow } from '../datapath/datapath.ts';
import { Gate64Error } from '../errors.ts';
import { PROTOCOLS } from '../model/binding.ts';
import { DROP_TEXTS } from '../model/drops.gen.ts';
import { mergeUsage, type Usage } from '../names/usage.ts';
import { packetText, poolUsage } from '../nat64/views.ts';
import type { Finding } from '../plan/findings.ts';
import { isReady, type ServiceStatus } from '../telemetry/status.ts';
import type { DatapathPart, LookPart, PageFacts, UsagePart } from './facts.ts';

/** What a data plane must show for the page. */
export type PageDatapath = Pick<
  Datapath,
  'counts' | 'blocks' | 'drops' | 'mapFill' | 'pods' | 'sessions' | 'drainingAddresses'
>;

export interface PageSources {
  readonly status: () => ServiceStatus;
  /** Undefined while there is none. */
  readonly datapath: () => PageDatapath | undefined;
  /** Of sessions that have ended. */
  readonly ended: () => readonly Usage[];
  /** One session that runs, as the record of usage takes it. */
  readonly running: (row: SessionRow) => Usage;
  /** What the last look at the node found; undefined when there was none. `at` in milliseconds since the epoch. */
  readonly look: () => { readonly at: number; readonly findings: readonly Finding[] } | undefined;
}

/** Walking a table holds up DNS; one of so many sessions takes some tens of milliseconds. */
const MAX_WALKED = 10_000;
const TOP = 10;

type Looked = Pick<PageFacts, 'datapath' | 'problem' | 'usage'>;

/** `now`: milliseconds since the epoch. */
export function gather(sources: PageSources, now: number): Omit<PageFacts, 'samples' | 'sampleSeconds'> {
  const service = sources.status();
  const look = sources.look();
  const rest = {
    at: new Date(now).toISOString(),
    ready: isReady(service),
    service,
    look: look ? lookPart(look) : null,
  };
  try {
    return { ...rest, ...readDatapath(sources, sources.datapath()) };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return { ...rest, ...readDatapath(sources, undefined), problem: error.message };
  }
}

function readDatapath(sources: PageSources, datapath: PageDatapath | undefined): Looked {
  if (datapath === undefined)
    return { datapath: null, problem: null, usage: usagePart(sources.ended(), new Map(), true) };
  const { sessions, bindings } = datapath.counts();
  const total = PROTOCOLS.reduce((sum, protocol) => sum + sessions[protocol], 0);
  const walked = total <= MAX_WALKED ? datapath.sessions().map((row) => sources.running(row)) : undefined;
  const nows = new Map(datapath.pods().map((row) => [formatIp6(row.pod), row.sessions]));
  return {
    datapath: { sessions, bindings, ...datapathPart(datapath) },
    problem: null,
    usage: usagePart(mergeUsage(sources.ended(), walked ?? []), nows, walked !== undefined),
  };
}

function datapathPart(datapath: PageDatapath): Pick<DatapathPart, 'table' | 'pool' | 'drops'> {
  const fill = datapath.mapFill().find(({ map }) => map === 'flow6');
  const draining = datapath.drainingAddresses();
  return {
    table: { entries: fill?.entries ?? 0, maxEntries: fill?.maxEntries ?? 0 },
    pool: poolUsage(datapath.blocks()).map(({ v4, ports, blocks }) => {
      return { address: formatIp4(v4), draining: draining.includes(v4), ports, blocks };
    }),
    drops: datapath.drops().map(({ reason, direction, count, last }) => ({
      reason,
      direction,
      count,
      explanation: DROP_TEXTS[reason],
      last: last === undefined ? null : { at: new Date(last.at).toISOString(), packet: packetText(last) },
    })),
  };
}

interface Sums {
  sessions: number;
  bytesOut: number;
  bytesIn: number;
  isGuess: boolean;
  readonly others: Set<string>;
}

function usagePart(rows: readonly Usage[], nows: ReadonlyMap<string, number>, hasRunning: boolean): UsagePart {
  const names = sumBy(
    rows,
    ({ name, destination }) => (name === undefined ? ` ${destination}` : name),
    ({ pod }) => pod,
  );
  const pods = sumBy(
    rows,
    ({ pod }) => pod,
    ({ name, destination }) => name ?? destination,
  );
  return {
    hasRunning,
    nameCount: names.length,
    podCount: pods.length,
    names: names.slice(0, TOP).map(([key, { others, ...sums }]) => {
      // A name has no space in front.
      const isAddress = key.startsWith(' ');
      return { ...sums, name: isAddress ? key.slice(1) : key, isAddress, pods: others.size };
    }),
    pods: pods.slice(0, TOP).map(([pod, { others, sessions, bytesOut, bytesIn }]) => {
      return { pod, sessionsNow: nows.get(pod) ?? 0, sessions, bytesOut, bytesIn, names: others.size };
    }),
  };
}

/** Those with the most sessions first. */
function sumBy(
  rows: readonly Usage[],
  keyOf: (row: Usage) => string,
  otherOf: (row: Usage) => string,
): [string, Sums][] {
  const found = new Map<string, Sums>();
  for (const row of rows) {
    const key = keyOf(row);
    let sums = found.get(key);
    if (sums === undefined)
      found.set(key, (sums = { sessions: 0, bytesOut: 0, bytesIn: 0, isGuess: false, others: new Set() }));
    sums.sessions += row.sessions;
    sums.bytesOut += row.bytesOut;
    sums.bytesIn += row.bytesIn;
    sums.isGuess ||= row.isGuess;
    sums.others.add(otherOf(row));
  }
  return [...found].sort(([a, one], [b, two]) => two.sessions - one.sessions || (a < b ? -1 : 1));
}

function lookPart({ at, findings }: { readonly at: number; readonly findings: readonly Finding[] }): LookPart {
  return {
    at: new Date(at).toISOString(),
    findings: findings.map(({ name, severity, message, remedy, command }) => {
      return { name, severity, message, remedy: remedy ?? null, command: command ?? null };
    }),
  };
}
