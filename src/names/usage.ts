// SPDX-License-Identifier: Apache-2.0
// Which pod went by NAT64 to which name: sums over sessions, for the report of what still needs IPv4. Bounded.

import { OldestKeys } from '../model/oldest.ts';

/** Sessions of one pod to one name; where no name is known, to one IPv4 address. Times are milliseconds since the epoch. */
export interface Usage {
  /** IPv6 as text. */
  readonly pod: string;
  readonly name: string | undefined;
  /** IPv4 as text, the last one; an address of a name may change. */
  readonly destination: string;
  /** Of some of the sessions the name is a guess. */
  readonly isGuess: boolean;
  readonly sessions: number;
  /** From the pod, and to it. */
  readonly bytesOut: number;
  readonly bytesIn: number;
  /** When the first of the sessions began, and the last was used last. */
  readonly firstAt: number;
  readonly lastAt: number;
}

/** Some 300 octets each. */
const DEFAULT_MAX_ROWS = 8192;

export class UsageTable {
  /** In order of use, oldest first. */
  readonly #rows = new Map<string, Usage>();
  readonly #oldest = new OldestKeys(this.#rows);
  readonly #maxRows: number;
  #version = 0;

  constructor(maxRows: number = DEFAULT_MAX_ROWS) {
    this.#maxRows = maxRows;
  }

  /** Another number after every change. */
  get version(): number {
    return this.#version;
  }

  /** Beyond the bound the pod and name that were noted longest ago are forgotten. */
  add(usage: Usage): void {
    this.#version++;
    const key = `${usage.pod} ${usage.name ?? usage.destination}`;
    const before = this.#rows.get(key);
    this.#rows.delete(key);
    this.#rows.set(key, before === undefined ? usage : sum(before, usage));
    if (this.#rows.size <= this.#maxRows) return;
    this.#rows.delete(this.#oldest.next() as string);
  }

  rows(): Usage[] {
    return [...this.#rows.values()];
  }
}

function sum(a: Usage, b: Usage): Usage {
  const later = b.lastAt >= a.lastAt ? b : a;
  return {
    ...later,
    isGuess: a.isGuess || b.isGuess,
    sessions: a.sessions + b.sessions,
    bytesOut: a.bytesOut + b.bytesOut,
    bytesIn: a.bytesIn + b.bytesIn,
    firstAt: Math.min(a.firstAt, b.firstAt),
  };
}

/** Sums over sessions that have ended and those that run, those with the most sessions first. */
export function mergeUsage(ended: readonly Usage[], running: readonly Usage[]): Usage[] {
  const table = new UsageTable(Infinity);
  for (const usage of [...ended, ...running]) table.add(usage);
  return table
    .rows()
    .sort(
      (a, b) =>
        b.sessions - a.sessions ||
        b.bytesOut + b.bytesIn - a.bytesOut - a.bytesIn ||
        a.pod.localeCompare(b.pod) ||
        (a.name ?? a.destination).localeCompare(b.name ?? b.destination),
    );
}
