// SPDX-License-Identifier: Apache-2.0
// How often a network is answered by UDP: a source may be forged, and each answer then goes to a bystander (RFC 5358).

import { isIPv6 } from 'node:net';
import { parseIp6 } from '../addr/ip.ts';
import { OldestKeys } from '../model/oldest.ts';

/** Octets of an IPv6 address that tell one network from another: a /56, as one site has. Of IPv4 it is a /24. */
const PREFIX6_OCTETS = 7;
const MAX_BUCKETS = 10_000;

export type Verdict = 'answer' | 'truncate' | 'drop';

interface Bucket {
  tokens: number;
  /** Milliseconds. */
  at: number;
  /** Whether the next one over the rate is told to come by TCP. */
  truncates: boolean;
}

export class RateLimit {
  /** Answers a second a network; 0: no limit. */
  readonly rate: number;
  readonly #now: () => number;
  /** The one that was used last stands last. */
  readonly #buckets = new Map<string, Bucket>();
  readonly #oldest = new OldestKeys(this.#buckets);

  /** `now`: milliseconds on a monotonic clock. */
  constructor(rate: number, now: () => number = () => performance.now()) {
    this.rate = rate;
    this.#now = now;
  }

  /** Networks that are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** What becomes of a query from `address`; over the rate, every second one is truncated. */
  judge(address: string): Verdict {
    if (this.rate === 0) return 'answer';
    const bucket = this.#bucket(networkOf(address));
    if (bucket.tokens >= 1) {
      bucket.tokens--;
      return 'answer';
    }
    const verdict = bucket.truncates ? 'truncate' : 'drop';
    bucket.truncates = !bucket.truncates;
    return verdict;
  }

  /** Filled up to now. */
  #bucket(key: string): Bucket {
    const now = this.#now();
    const bucket = this.#buckets.get(key) ?? { tokens: this.rate, at: now, truncates: true };
    bucket.tokens = Math.min(this.rate, bucket.tokens + ((now - bucket.at) * this.rate) / 1000);
    bucket.at = now;
    this.#buckets.delete(key);
    // Who has been silent longest has the fullest bucket, and loses least by being forgotten.
    if (this.#buckets.size >= MAX_BUCKETS) this.#buckets.delete(this.#oldest.next() as string);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}

function networkOf(address: string): string {
  const bare = address.split('%', 1)[0] as string;
  if (!isIPv6(bare)) return bare.slice(0, bare.lastIndexOf('.'));
  return Buffer.from(parseIp6(bare).subarray(0, PREFIX6_OCTETS)).toString('hex');
}
