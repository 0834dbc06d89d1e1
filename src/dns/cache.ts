// SPDX-License-Identifier: Apache-2.0
// Answers by question, bounded, least recently used first out; kept past their time for when upstream fails (RFC 8767).

import type { Answer, Served } from './answer.ts';

/** Milliseconds on a clock that only counts forward. */
export type Clock = () => number;

interface Entry {
  readonly answer: Answer;
  readonly storedAtMs: number;
  readonly expiresAtMs: number;
  usedAtMs: number;
  /** Until then a stale answer is served without asking upstream (RFC 8767 §5, failure recheck timer). */
  recheckAtMs: number;
}

/** RFC 8767 §5 speaks of one to three days; an address an hour old is most likely still right. */
const MAX_STALE_MS = 3600_000;
const RECHECK_MS = 5000;
/** Larger messages are rare, and would let `maxEntries` mean much memory. */
const MAX_OCTETS = 8192;
/** Order of use is kept to this accuracy, so that a hot entry is not moved at each hit. */
const TOUCH_MS = 1000;

export class AnswerCache {
  readonly #entries = new Map<string, Entry>();
  #maxEntries: number;
  readonly #now: Clock;

  constructor(maxEntries: number, now: Clock) {
    this.#maxEntries = maxEntries;
    this.#now = now;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Those least recently used go if fewer fit. */
  resize(maxEntries: number): void {
    this.#maxEntries = maxEntries;
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= maxEntries) break;
      this.#entries.delete(key);
    }
  }

  /**
   * A cache with those of these answers that `isKept` says. What still writes into this one, because it was asked before
   * something changed, does not reach the new one.
   */
  successor(isKept: (answer: Answer) => boolean): AnswerCache {
    const next = new AnswerCache(this.#maxEntries, this.#now);
    for (const [key, entry] of this.#entries) if (isKept(entry.answer)) next.#entries.set(key, entry);
    return next;
  }

  /** An answer within its time, or a stale one right after upstream has failed; else undefined. */
  get(key: string): Served | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = this.#now();
    if (now >= entry.expiresAtMs) return now < entry.recheckAtMs ? this.#stale(key, entry, now) : undefined;
    if (now - entry.usedAtMs > TOUCH_MS) this.#touch(key, entry, now);
    return { answer: entry.answer, ageSeconds: Math.floor((now - entry.storedAtMs) / 1000), isStale: false };
  }

  /** For when upstream has just failed: what is kept, however old; it is then served at once for a while. */
  getStale(key: string): Served | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const now = this.#now();
    if (now >= entry.expiresAtMs) entry.recheckAtMs = now + RECHECK_MS;
    return this.#stale(key, entry, now);
  }

  #stale(key: string, entry: Entry, now: number): Served | undefined {
    if (now < entry.expiresAtMs) return this.get(key);
    if (now - entry.expiresAtMs > MAX_STALE_MS || !isWorthKeeping(entry.answer)) {
      this.#entries.delete(key);
      return undefined;
    }
    return { answer: entry.answer, ageSeconds: 0, isStale: true };
  }

  put(key: string, answer: Answer): void {
    if (answer.lifetimeSeconds <= 0 || answer.body.length > MAX_OCTETS || this.#maxEntries <= 0) return;
    const now = this.#now();
    this.#entries.delete(key);
    if (this.#entries.size >= this.#maxEntries) {
      const oldest = this.#entries.keys().next();
      if (!oldest.done) this.#entries.delete(oldest.value);
    }
    this.#entries.set(key, {
      answer,
      storedAtMs: now,
      expiresAtMs: now + answer.lifetimeSeconds * 1000,
      usedAtMs: now,
      recheckAtMs: 0,
    });
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
