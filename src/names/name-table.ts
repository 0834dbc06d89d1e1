// SPDX-License-Identifier: Apache-2.0
// Which name led whom to which IPv4 address: what the DNS half hands out, for listings, metrics and policy. Bounded; a name
// counts for its TTL and a grace, since resolvers and programs on the way hold answers longer than they should.

import { OldestKeys } from '../model/oldest.ts';

/** Milliseconds on a clock that only counts forward. */
export type Clock = () => number;

export interface NameTableOptions {
  /** Records kept at most: one is a name that one client was told for one address. */
  readonly maxRecords?: number;
  /** Of them, of one address at most. */
  readonly maxRecordsPerAddress?: number;
  /** How long after its TTL a name still counts. Connections begin after the answers that opened them ran out. */
  readonly graceSeconds?: number;
  readonly now?: Clock;
}

/** One name that led one client to one address. Times are milliseconds since the epoch. */
export interface NameRecord {
  /** As dns/wire.ts writes names: lower case, odd octets as \DDD. */
  readonly name: string;
  readonly v4: number;
  /** IPv6 as text; empty where the asker is no pod, or not known to be one. */
  readonly client: string;
  readonly firstAt: number;
  readonly lastAt: number;
  /** TTL and grace are over. */
  readonly countsUntil: number;
}

export interface NameFound {
  readonly name: string;
  /** It was told to somebody else, or this client was told several for the address. */
  readonly isGuess: boolean;
}

/** A record while it is in the table. Times are of the table's clock. */
export interface HeldName {
  readonly name: string;
  readonly v4: number;
  readonly client: string;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly countsUntil: number;
}

/** Who is told what changes in a table. */
export interface NameWatcher {
  /** It is new, or was told again. */
  changed(held: HeldName): void;
  forgotten(held: HeldName): void;
}

type Entry = { -readonly [Key in keyof HeldName]: HeldName[Key] };

/** Some 200 octets each. */
const DEFAULT_MAX_RECORDS = 32_768;
/** A load balancer of a provider may stand behind thousands of names, asked for by every pod. */
const DEFAULT_MAX_RECORDS_PER_ADDRESS = 256;
const DEFAULT_GRACE_SECONDS = 3600;
/** What is told again so soon, by the same name to the same client, changes nothing. */
const SAME_MS = 1000;
/** Sessions are dated by the kernel's clock, and an answer is on its way before it is noted. */
const SLACK_MS = 2000;

export class NameTable {
  /** Address → client and name → entry. All in order of use, oldest first. */
  readonly #byAddress = new Map<number, Map<string, Entry>>();
  readonly #oldest = new OldestKeys(this.#byAddress);
  readonly #maxRecords: number;
  readonly #maxPerAddress: number;
  readonly #graceMs: number;
  readonly #now: Clock;
  #latest: Entry | undefined;
  #watcher: NameWatcher | undefined;
  #size = 0;
  #version = 0;

  constructor(options: NameTableOptions = {}) {
    this.#maxRecords = options.maxRecords ?? DEFAULT_MAX_RECORDS;
    this.#maxPerAddress = options.maxRecordsPerAddress ?? DEFAULT_MAX_RECORDS_PER_ADDRESS;
    this.#graceMs = (options.graceSeconds ?? DEFAULT_GRACE_SECONDS) * 1000;
    this.#now = options.now ?? performance.now.bind(performance);
  }

  /** Records held, those that no longer count included: sessions that began with them may still run. */
  get size(): number {
    return this.#size;
  }

  /** Another number after every change. */
  get version(): number {
    return this.#version;
  }

  /** Notes that `client` was answered `v4` for `name`, good for `ttlSeconds`. Never shortens what was said before. */
  remember(name: string, v4: number, ttlSeconds: number, client = ''): void {
    const now = this.#now();
    const latest = this.#latest;
    const countsUntil = now + ttlSeconds * 1000 + this.#graceMs;
    if (latest?.v4 === v4 && now - latest.lastAt < SAME_MS) {
      const isMore = countsUntil > latest.countsUntil + SAME_MS;
      if (latest.name === name && latest.client === client && !isMore) return;
    }
    this.#put({ name, v4, client, firstAt: now, lastAt: now, countsUntil });
  }

  /** The names that lead to `v4` now, the latest first. */
  namesOf(v4: number): string[] {
    const now = this.#now();
    const entries = [...(this.#byAddress.get(v4)?.values() ?? [])].filter(({ countsUntil }) => countsUntil > now);
    return [...new Set(entries.toReversed().map(({ name }) => name))];
  }

  /** True while some name's answer with `v4` counts. */
  has(v4: number): boolean {
    return this.namesOf(v4).length > 0;
  }

  /** The name by which `client` came to `v4` with a session that is `ageMs` old. */
  nameFor(client: string, v4: number, ageMs: number): NameFound | undefined {
    const begunAt = this.#now() - ageMs;
    const possible = [...(this.#byAddress.get(v4)?.values() ?? [])].filter(
      ({ firstAt, countsUntil }) => firstAt <= begunAt + SLACK_MS && begunAt < countsUntil,
    );
    const own = possible.filter((entry) => entry.client === client);
    const best = latestBefore(own.length > 0 ? own : possible, begunAt);
    return best && { name: best.name, isGuess: own.length !== 1 };
  }

  /** All that is held, in order of use; `wallMs` is what the time is now, since the epoch. */
  records(wallMs: number): NameRecord[] {
    return [...this.#byAddress.values()].flatMap((entries) =>
      Array.from(entries.values(), (entry) => this.recordOf(entry, wallMs)),
    );
  }

  /** `wallMs` is what the time is now, since the epoch. */
  recordOf({ name, v4, client, firstAt, lastAt, countsUntil }: HeldName, wallMs: number): NameRecord {
    const offset = wallMs - this.#now();
    return {
      name,
      v4,
      client,
      firstAt: Math.round(firstAt + offset),
      lastAt: Math.round(lastAt + offset),
      countsUntil: Math.round(countsUntil + offset),
    };
  }

  /** Tells one watcher of all that is held, and from now on of every change. */
  watch(watcher: NameWatcher): void {
    this.#watcher = watcher;
    for (const entries of this.#byAddress.values()) for (const entry of entries.values()) watcher.changed(entry);
  }

  /** Takes up what records() gave, of an earlier process too. */
  restore(records: Iterable<NameRecord>, wallMs: number): void {
    const offset = this.#now() - wallMs;
    for (const { name, v4, client, firstAt, lastAt, countsUntil } of records) {
      this.#put({
        name,
        v4,
        client,
        firstAt: firstAt + offset,
        lastAt: lastAt + offset,
        countsUntil: countsUntil + offset,
      });
    }
  }

  #put(entry: Entry): void {
    const { v4 } = entry;
    this.#version++;
    const entries = this.#byAddress.get(v4) ?? new Map<string, Entry>();
    const key = `${entry.client} ${entry.name}`;
    const before = entries.get(key);
    const merged = before === undefined ? entry : before;
    if (before === undefined) {
      this.#size++;
    } else {
      before.lastAt = Math.max(before.lastAt, entry.lastAt);
      before.countsUntil = Math.max(before.countsUntil, entry.countsUntil);
      entries.delete(key);
    }
    entries.set(key, merged);
    this.#byAddress.delete(v4);
    this.#byAddress.set(v4, entries);
    this.#latest = merged;
    this.#watcher?.changed(merged);
    if (entries.size > this.#maxPerAddress) this.#forget([dropFirst(entries)]);
    while (this.#size > this.#maxRecords) {
      const oldest = this.#oldest.next() as number;
      const dropped = this.#byAddress.get(oldest);
      this.#byAddress.delete(oldest);
      this.#forget(dropped?.values() ?? []);
    }
  }

  #forget(entries: Iterable<Entry | undefined>): void {
    for (const entry of entries) {
      if (entry === undefined) continue;
      this.#size--;
      this.#watcher?.forgotten(entry);
    }
  }
}

/** What was told last before `begunAt`; of names told before and after, the one told again latest. */
function latestBefore(entries: readonly Entry[], begunAt: number): Entry | undefined {
  let best: Entry | undefined;
  for (const entry of entries) {
    const [a, b] = [Math.min(entry.lastAt, begunAt), Math.min(best?.lastAt ?? -Infinity, begunAt)];
    if (a > b || (a === b && entry.lastAt >= (best?.lastAt ?? -Infinity))) best = entry;
  }
  return best;
}

function dropFirst<K, V>(map: Map<K, V>): V | undefined {
  const first = map.entries().next();
  if (first.done) return undefined;
  map.delete(first.value[0]);
  return first.value[1];
}
