// SPDX-License-Identifier: Apache-2.0
// What pods, names and destinations carry now: the difference of two readings of the session table.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import type { SessionRow } from '../datapath/datapath.ts';
import type { NameFound } from '../names/name-table.ts';

export type TrafficBy = 'pods' | 'names' | 'destinations';

export interface Traffic {
  /** IPv6 as text; undefined where sums are by something else, as are the two below. */
  readonly pod: string | undefined;
  readonly name: string | undefined;
  /** IPv4 as text; where sums are by name, that of sessions without one. */
  readonly destination: string | undefined;
  /** Of some of the sessions the name is a guess. */
  readonly isGuess: boolean;
  /** From pods, and to them. */
  readonly bytesOutPerSecond: number;
  readonly bytesInPerSecond: number;
  readonly newSessionsPerSecond: number;
  /** That are there at the end. */
  readonly sessions: number;
}

interface Sum {
  pod: string | undefined;
  name: string | undefined;
  destination: string | undefined;
  isGuess: boolean;
  bytesOut: number;
  bytesIn: number;
  begun: number;
  sessions: number;
}

interface Seen {
  readonly createdAt: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
}

/** The wall clock may be set between two readings, by a little. */
const SAME_MS = 1000;

/** The session table at one time. `atMs`: since the epoch; `ticksMs`: on a clock that nobody sets. */
export class TrafficReading {
  readonly #sessions = new Map<string, Seen>();
  readonly #rows: readonly SessionRow[];
  readonly #atMs: number;
  readonly #ticksMs: number;

  constructor(rows: readonly SessionRow[], atMs: number, ticksMs: number) {
    this.#rows = rows;
    this.#atMs = atMs;
    this.#ticksMs = ticksMs;
    for (const row of rows) {
      const { createdAt, bytesOut, bytesIn } = row;
      this.#sessions.set(keyOf(row), { createdAt, bytesOut, bytesIn });
    }
  }

  secondsSince(before: TrafficReading): number {
    return Math.max(1, this.#ticksMs - before.#ticksMs) / 1000;
  }

  /**
   * Sums by what is asked for; without `by` for each pod, name and destination. What sessions carried that ended meanwhile is
   * not in it. Busiest first: by bytes, then by new sessions.
   */
  since(
    before: TrafficReading,
    nameOf: (row: SessionRow) => NameFound | undefined,
    by: TrafficBy | undefined,
    order: 'bytes' | 'new' = 'bytes',
  ): Traffic[] {
    const sums = new Map<string, Sum>();
    for (const row of this.#rows) {
      const sum = sumOf(sums, row, nameOf(row), by);
      const seen = before.#seen(row);
      sum.sessions++;
      // An entry that the reading before has missed is no new session, and what it carried since is not known.
      if (seen === undefined && row.createdAt < before.#atMs - SAME_MS) continue;
      sum.bytesOut += row.bytesOut - (seen?.bytesOut ?? 0);
      sum.bytesIn += row.bytesIn - (seen?.bytesIn ?? 0);
      if (seen === undefined) sum.begun++;
    }
    const seconds = this.secondsSince(before);
    const traffic = Array.from(sums.values(), ({ bytesOut, bytesIn, begun, ...rest }): Traffic => {
      return {
        ...rest,
        bytesOutPerSecond: bytesOut / seconds,
        bytesInPerSecond: bytesIn / seconds,
        newSessionsPerSecond: begun / seconds,
      };
    });
    const bytes = (row: Traffic) => row.bytesOutPerSecond + row.bytesInPerSecond;
    const begun = (row: Traffic) => row.newSessionsPerSecond;
    const [first, second] = order === 'bytes' ? [bytes, begun] : [begun, bytes];
    return traffic.sort((a, b) => first(b) - first(a) || second(b) - second(a) || b.sessions - a.sessions);
  }

  /** The same session in this reading; its ports may have been another's then. */
  #seen(row: SessionRow): Seen | undefined {
    const seen = this.#sessions.get(keyOf(row));
    if (seen === undefined || Math.abs(seen.createdAt - row.createdAt) > SAME_MS) return undefined;
    return seen.bytesOut > row.bytesOut || seen.bytesIn > row.bytesIn ? undefined : seen;
  }
}

function keyOf({ protocol, source, destination6, destination }: SessionRow): string {
  const ends = Buffer.concat([source.v6, destination6]).toString('latin1');
  return `${protocol} ${source.port} ${destination.port} ${ends}`;
}

function sumOf(sums: Map<string, Sum>, row: SessionRow, found: NameFound | undefined, by: TrafficBy | undefined): Sum {
  const pod = by === undefined || by === 'pods' ? formatIp6(row.source.v6) : undefined;
  const name = by === undefined || by === 'names' ? found?.name : undefined;
  const isShown = by === undefined || by === 'destinations' || (by === 'names' && name === undefined);
  const destination = isShown ? formatIp4(row.destination.v4) : undefined;
  const key = `${pod ?? ''} ${name ?? ''} ${destination ?? ''}`;
  const sum = sums.get(key) ?? {
    pod,
    name,
    destination,
    isGuess: false,
    bytesOut: 0,
    bytesIn: 0,
    begun: 0,
    sessions: 0,
  };
  sum.isGuess ||= name !== undefined && found?.isGuess === true;
  sums.set(key, sum);
  return sum;
}
