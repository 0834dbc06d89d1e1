// SPDX-License-Identifier: Apache-2.0
// What a process has counted since it last told another one: sums by label values, as data.

import { BucketCounts, observe } from '../telemetry/bucket-counts.ts';
import { Cells } from '../telemetry/cells.ts';
import type { DnsObserver, PassthroughReason, Transport } from './observer.ts';
import { RequestCells } from './request-cells.ts';

/** CoreDNS's buckets, so that its latency and ours can stand in one panel: 0.25 ms, doubling, to 8.192 s. */
export const BUCKETS = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);

export const COUNTERS = [
  'requests',
  'responses',
  'synthesized',
  'passthrough',
  'upstreamRequests',
  'cacheHits',
  'cacheMisses',
  'clientsRefused',
  'rateLimited',
] as const;

export type Counter = (typeof COUNTERS)[number];

/** Keys are label values in order, with newlines between. */
export interface DnsSums {
  readonly counts: Readonly<Record<Counter, ReadonlyMap<string, number>>>;
  readonly duration: BucketCounts;
  readonly upstreamDuration: ReadonlyMap<string, BucketCounts>;
  /** The last client that was refused. */
  readonly refusedClient: string | undefined;
}

export class SummingObserver implements DnsObserver {
  readonly #onFirst: () => void;
  readonly #cells = byCounter(() => new Cells());
  readonly #requests = new RequestCells(this.#cells.requests);
  #duration = new BucketCounts(BUCKETS);
  #upstreamDuration = new Map<string, BucketCounts>();
  #refusedClient: string | undefined;
  #isEmpty = true;

  /** `onFirst` is called when something is counted after `take`. */
  constructor(onFirst: () => void) {
    this.#onFirst = onFirst;
  }

  /** Undefined when nothing was counted since the last time. */
  take(): DnsSums | undefined {
    if (this.#isEmpty) return undefined;
    const sums = {
      counts: byCounter((name) => this.#cells[name].take()),
      duration: this.#duration,
      upstreamDuration: this.#upstreamDuration,
      refusedClient: this.#refusedClient,
    };
    this.#duration = new BucketCounts(BUCKETS);
    this.#upstreamDuration = new Map();
    this.#refusedClient = undefined;
    this.#isEmpty = true;
    return sums;
  }

  request(transport: Transport, type: string): void {
    this.#requests.of(transport, type).count++;
    this.#note();
  }

  response(rcode: string, seconds: number): void {
    this.#count(this.#cells.responses, rcode);
    observe(this.#duration, BUCKETS, seconds);
  }

  synthesized(): void {
    this.#count(this.#cells.synthesized, '');
  }

  passthrough(reason: PassthroughReason): void {
    this.#count(this.#cells.passthrough, reason);
  }

  upstream(to: string, rcode: string, seconds: number): void {
    this.#count(this.#cells.upstreamRequests, `${to}\n${rcode}`);
    let buckets = this.#upstreamDuration.get(to);
    if (buckets === undefined) this.#upstreamDuration.set(to, (buckets = new BucketCounts(BUCKETS)));
    observe(buckets, BUCKETS, seconds);
  }

  cacheHit(): void {
    this.#count(this.#cells.cacheHits, '');
  }

  cacheMiss(): void {
    this.#count(this.#cells.cacheMisses, '');
  }

  clientRefused(transport: Transport, address: string): void {
    this.#refusedClient = address;
    this.#count(this.#cells.clientsRefused, transport);
  }

  rateLimited(action: 'truncated' | 'dropped'): void {
    this.#count(this.#cells.rateLimited, action);
  }

  #count(cells: Cells, key: string): void {
    cells.add(key);
    this.#note();
  }

  #note(): void {
    if (!this.#isEmpty) return;
    this.#isEmpty = false;
    this.#onFirst();
  }
}

function byCounter<T>(of: (name: Counter) => T): Record<Counter, T> {
  return Object.fromEntries(COUNTERS.map((name) => [name, of(name)])) as Record<Counter, T>;
}
