// SPDX-License-Identifier: Apache-2.0
// Destinations that DNS64 has handed out, told to the programs (nat64.admit). It writes one pinned map, so that a process
// which only answers DNS can do it as well as the one that owns the data plane.

import { statSync } from 'node:fs';
import { BpfMap, LibbpfError } from '../libbpf/mod.ts';
import { encode, viewOf } from './bytes.ts';
import { monotonicNs } from './clock.ts';
import { be32Codec, u64Codec } from '../model/codecs.ts';
import { Pins } from './pins.ts';

/** What was written so lately is not looked at again, and the pin neither. */
const REST_MS = 10_000;
/** An end that moves by less is not written. */
const SAME_NS = 5_000_000_000n;
/** Of the addresses that were told since the last look at the pin. */
const MAX_RECENT = 16_384;
/** A full map gives back so much of itself at once: a walk over it takes milliseconds. */
const FREED_PART = 8;
const MIN_WALK_MS = 1000;

/** The programs' map is missing, cannot be written, or is full of others; said once until it changes. */
export type AdmissionProblem = 'missing' | 'refused' | 'full';

export interface AdmissionsOptions {
  readonly pinRoot?: string;
  readonly onProblem?: (problem: AdmissionProblem, error: unknown) => void;
}

export class Admissions implements Disposable {
  readonly #path: string;
  readonly #onProblem: AdmissionsOptions['onProblem'];
  #map: BpfMap | undefined;
  /** Of the pin that #map was opened by: another data plane may have taken its place. */
  #inode = 0;
  #lookedAt = -Infinity;
  #walkedAt = -Infinity;
  /** Address → until when it is admitted, as this process saw it in the map since it looked at the pin. */
  readonly #recent = new Map<number, bigint>();
  #problem: AdmissionProblem | undefined;

  constructor({ pinRoot, onProblem }: AdmissionsOptions = {}) {
    this.#path = new Pins(pinRoot).map('n64_admitted');
    this.#onProblem = onProblem;
  }

  /** Sessions with `v4` may begin for so long, or for as long as somebody said before. Never throws. */
  admit(v4: number, seconds: number): void {
    const now = performance.now();
    if (now - this.#lookedAt > REST_MS || this.#recent.size > MAX_RECENT) this.#look(now);
    if (this.#map === undefined) return;
    const until = monotonicNs() + BigInt(Math.ceil(seconds)) * 1_000_000_000n;
    const known = this.#recent.get(v4);
    if (known !== undefined && until - known < SAME_NS) return;
    try {
      this.#write(this.#map, v4, until, now);
    } catch (error) {
      this.#say('refused', error);
    }
  }

  #write(map: BpfMap, v4: number, until: bigint, now: number): void {
    const key = encode(be32Codec, v4);
    const there = map.lookup(key);
    const before = there === undefined ? 0n : u64Codec.read(viewOf(there), 0);
    if (until - before < SAME_NS) {
      this.#recent.set(v4, before);
      return;
    }
    const value = encode(u64Codec, until);
    try {
      map.update(key, value);
    } catch (error) {
      if (!isFull(error)) throw error;
      if (now - this.#walkedAt < MIN_WALK_MS) return;
      this.#walkedAt = now;
      this.#say('full', error);
      makeRoom(map);
      this.#recent.clear();
      map.update(key, value);
    }
    this.#recent.set(v4, until);
  }

  /** Opens what is pinned now. */
  #look(now: number): void {
    this.#lookedAt = now;
    this.#recent.clear();
    try {
      const { ino } = statSync(this.#path);
      if (this.#map !== undefined && ino === this.#inode) return;
      this.#close();
      this.#map = BpfMap.openPinned(this.#path);
      this.#inode = ino;
      this.#problem = undefined;
    } catch (error) {
      this.#close();
      this.#say(error instanceof Error && 'code' in error && error.code === 'ENOENT' ? 'missing' : 'refused', error);
    }
  }

  #say(problem: AdmissionProblem, error: unknown): void {
    if (problem === this.#problem) return;
    this.#problem = problem;
    this.#onProblem?.(problem, error);
  }

  #close(): void {
    this.#map?.close();
    this.#map = undefined;
  }

  [Symbol.dispose](): void {
    this.#close();
  }
}

function isFull(error: unknown): boolean {
  return error instanceof LibbpfError && error.code === 'E2BIG';
}

/** Removes what has ended; if that is little, what ends next. */
function makeRoom(map: BpfMap): void {
  const entries: { key: Uint8Array; until: bigint }[] = [];
  for (const { keys, values, count } of map.lookupBatch()) {
    const view = viewOf(values);
    for (let i = 0; i < count; i++) {
      entries.push({ key: keys.subarray(i * 4, (i + 1) * 4), until: u64Codec.read(view, i * 8) });
    }
  }
  const now = monotonicNs();
  entries.sort((a, b) => Number(a.until - b.until));
  const ended = entries.findIndex(({ until }) => until > now);
  const least = Math.ceil(map.maxEntries / FREED_PART);
  const gone = entries.slice(0, Math.max(least, ended < 0 ? entries.length : ended));
  map.deleteBatch(Buffer.concat(gone.map(({ key }) => key)), gone.length);
}
