// SPDX-License-Identifier: Apache-2.0
// Answers by question, bounded in number and octets, least recently used first out; kept past their time for when upstream
// fails (RFC 8767).

import { OldestKeys } from '../model/oldest.ts';
import type { Answer, Kept, Served } from './answer.ts';
import { keptOctets, pack, unpack, type Packed } from './packed.ts';

/** Milliseconds on a clock that only counts forward. */
export type Clock = () => number;

/** Times are whole milliseconds, which need no memory of their own. */
interface Entry extends Kept {
  readonly packed: Packed;
  readonly octets: number;
  readonly expiresAtMs: number;
  usedAtMs: number;
  /** Until then a stale answer is served without asking upstream (RFC 8767 §5, failure recheck timer). */
  recheckAtMs: number;
}

/** RFC 8767 §5 speaks of one to three days; an address an hour old is most likely still right. */
const MAX_STALE_MS = 3600_000;
const RECHECK_MS = 5000;
/** Larger messages are rare. */
const MAX_OCTETS = 8192;
/** Order of use is kept to this accuracy, so that a hot entry is not moved at each hit. */
const TOUCH_MS = 1000;
/** While new answers come so fast that an entry unmoved for so long would be out: to the time in which an eighth is new. */
const LEAST_TOUCH_MS = 50;
const EIGHTH_SHIFT = 3;

export interface CacheBounds {
  readonly maxEntries: number;
  /** Octets that the entries take in memory, questions and what manages them included. */
  readonly maxBytes: number;
}

export class AnswerCache {
  readonly #entries = new Map<string, Entry>();
  readonly #oldest = new OldestKeys(this.#entries);
  readonly #clock: Clock;
  #bounds: CacheBounds;
  #bytes = 0;
  #touchMs = TOUCH_MS;
  /** Answers put since. */
  #puts = 0;
  #putsSinceMs = 0;

  constructor(bounds: CacheBounds, now: Clock) {
    this.#bounds = bounds;
    this.#clock = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Never above `maxBytes`. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Those least recently used go if fewer fit. */
  resize(bounds: CacheBounds): void {
    this.#bounds = bounds;
    this.#makeRoom(0, 0);
  }

  /**
   * A cache with those of these answers that `isKept` says. What still writes into this one, because it was asked before
   * something changed, does not reach the new one.
   */
  successor(isKept: (answer: Answer) => boolean): AnswerCache {
    const next = new AnswerCache(this.#bounds, this.#clock);
    for (const [key, entry] of this.#entries) if (isKept(unpack(entry.packed))) next.#add(key, entry);
    return next;
  }

  /**
   * An answer within its time, or a stale one right after upstream has failed; else undefined. `at`: of the cache's clock.
   * Where `last`, of the same question, still stands it is not unpacked again.
   */
  get(key: string, at = this.#clock(), last?: Served): Served | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = Math.floor(at);
    if (now >= entry.expiresAtMs) return now < entry.recheckAtMs ? this.#stale(key, entry, now) : undefined;
    if (now - entry.usedAtMs > this.#touchMs) this.#touch(key, entry, now);
    const ageSeconds = Math.floor((now - entry.storedAtMs) / 1000);
    if (last?.kept !== entry) return { answer: unpack(entry.packed), kept: entry, ageSeconds, isStale: false };
    return last.ageSeconds === ageSeconds ? last : { answer: last.answer, kept: entry, ageSeconds, isStale: false };
  }

  /** For when upstream has just failed: what is kept, however old; it is then served at once for a while. */
  getStale(key: string): Served | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = this.#now;
    if (now >= entry.expiresAtMs) entry.recheckAtMs = now + RECHECK_MS;
    return this.#stale(key, entry, now);
  }

  /** It has been given again, though not from here. */
  use(key: string): void {
    const entry = this.#entries.get(key);
    if (entry) this.#touch(key, entry, this.#now);
  }

  put(key: string, answer: Answer): void {
    if (answer.lifetimeSeconds <= 0 || answer.body.length > MAX_OCTETS) return;
    this.#remove(key);
    const packed = pack(answer);
    const octets = keptOctets(key, packed);
    if (this.#bounds.maxEntries <= 0 || octets > this.#bounds.maxBytes) return;
    this.#makeRoom(1, octets);
    const now = this.#now;
    this.#countPut(now);
    const expiresAtMs = now + answer.lifetimeSeconds * 1000;
    this.#add(key, { key, packed, octets, storedAtMs: now, expiresAtMs, usedAtMs: now, recheckAtMs: 0 });
  }

  get #now(): number {
    return Math.floor(this.#clock());
  }

  #stale(key: string, entry: Entry, now: number): Served | undefined {
    if (now < entry.expiresAtMs) return this.get(key);
    const answer = unpack(entry.packed);
    if (now - entry.expiresAtMs > MAX_STALE_MS || !isWorthKeeping(answer)) {
      this.#remove(key);
      return undefined;
    }
    return { answer, ageSeconds: 0, isStale: true };
  }

  #makeRoom(entries: number, octets: number): void {
    const { maxEntries, maxBytes } = this.#bounds;
    while (this.#entries.size + entries > maxEntries || this.#bytes + octets > maxBytes) {
      const key = this.#oldest.next();
      if (key === undefined) return;
      this.#remove(key);
    }
  }

  #add(key: string, entry: Entry): void {
    this.#entries.set(key, entry);
    this.#bytes += entry.octets;
  }

  #remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.octets;
  }

  #countPut(now: number): void {
    if (++this.#puts < this.#entries.size >> EIGHTH_SHIFT) return;
    this.#touchMs = Math.min(TOUCH_MS, Math.max(LEAST_TOUCH_MS, now - this.#putsSinceMs));
    this.#puts = 0;
    this.#putsSinceMs = now;
  }

  #touch(key: string, entry: Entry, now: number): void {
    entry.usedAtMs = now;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }
}

/** Errors are never served beyond their time. */
function isWorthKeeping(answer: Answer): boolean {
  const rcode = (answer.body[3] as number) & 15;
  return rcode === 0 || rcode === 3;
}
