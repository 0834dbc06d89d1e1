// SPDX-License-Identifier: Apache-2.0
// Questions that were answered from the cache before, octet for octet but for their ID: what was read out of them, and the
// octets they were answered with, so that neither is worked out again. Whether there is an answer is for the cache to say.

import { answerRcode, render, type Served } from './answer.ts';
import { rcodeLabel, typeLabel } from './observer.ts';
import { HEADER_LENGTH } from './wire.ts';
import type { Query } from './query.ts';

/** A power of two. */
const SETS = 2048;
/** Questions of one set; the oldest makes room. */
const WAYS = 4;
/** Longer ones are rare. */
const MAX_OCTETS = 128;
/** What a client is told again so soon changes nothing. */
const TOLD_MS = 1000;

export class Repeat {
  /** Of its own octets, with the ID of the one that was found last. */
  readonly query: Query;
  /** Of the cache. */
  readonly key: string;
  readonly typeLabel: string;
  rcodeLabel = '';
  #image: Buffer | undefined;
  #served: Served | undefined;
  #limit = 0;
  #client = '';
  #toldAt = -Infinity;

  constructor(query: Query, key: string) {
    this.query = { ...query, bytes: Buffer.from(query.bytes) };
    this.key = key;
    this.typeLabel = typeLabel(query.type);
  }

  /** What render() rendered last. */
  get served(): Served | undefined {
    return this.#served;
  }

  /** As render(); lent until the next call. */
  render(served: Served, limit: number): Buffer {
    let image = this.#image;
    if (image === undefined || served !== this.#served || limit !== this.#limit) {
      this.#image = image = render(served, this.query, limit);
      this.#served = served;
      this.#limit = limit;
      this.#toldAt = -Infinity;
      this.rcodeLabel = rcodeLabel(answerRcode(served.answer));
    } else {
      const { bytes } = this.query;
      image[0] = bytes[0] as number;
      image[1] = bytes[1] as number;
    }
    return image;
  }

  /** Whether `client` was the last to be told of what render() gave, within a second; it counts as told from then on. */
  isTold(client: string, now: number): boolean {
    if (this.#client === client && now - this.#toldAt < TOLD_MS) return true;
    this.#toldAt = now;
    this.#client = client;
    return false;
  }
}

export class Repeats {
  readonly #hashes = new Int32Array(SETS * WAYS);
  readonly #repeats: (Repeat | undefined)[] = Array.from({ length: SETS * WAYS }, () => undefined);
  #nextWay = 0;

  find(bytes: Buffer): Repeat | undefined {
    if (bytes.length > MAX_OCTETS) return undefined;
    const hash = hashOf(bytes);
    const first = (hash & (SETS - 1)) * WAYS;
    for (let i = first; i < first + WAYS; i++) {
      if (this.#hashes[i] !== hash) continue;
      const repeat = this.#repeats[i];
      if (repeat === undefined || !isSame(repeat.query.bytes, bytes)) continue;
      const own = repeat.query.bytes;
      own[0] = bytes[0] as number;
      own[1] = bytes[1] as number;
      return repeat;
    }
    return undefined;
  }

  /** `key`: of the cache, for what `query` is decided as. */
  add(query: Query, key: string): void {
    const { bytes } = query;
    if (bytes.length > MAX_OCTETS || isMixedCase(query)) return;
    const hash = hashOf(bytes);
    this.#nextWay = (this.#nextWay + 1) % WAYS;
    const at = (hash & (SETS - 1)) * WAYS + this.#nextWay;
    this.#hashes[at] = hash;
    this.#repeats[at] = new Repeat(query, key);
  }
}

/** FNV-1a behind the ID, its upper half mixed into the lower one. */
function hashOf(bytes: Buffer): number {
  let hash = 0x811c9dc5;
  for (let i = 2; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return hash ^ (hash >>> 15);
}

function isSame(a: Buffer, b: Buffer): boolean {
  if (a.length !== b.length) return false;
  for (let i = 2; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Resolvers that mix cases against forged answers (DNS 0x20) hardly ask the same octets twice. */
function isMixedCase({ bytes, nameEnd }: Query): boolean {
  for (let i = HEADER_LENGTH; i < nameEnd; i++) {
    const octet = bytes[i] as number;
    if (octet >= 65 && octet <= 90) return true;
  }
  return false;
}
