// SPDX-License-Identifier: Apache-2.0
// Counts what the DNS half reports. The shape is that of the DNS half's observer, which lies above this room.

import type { Metrics } from './metrics.ts';

export interface DnsCounters {
  request(transport: string, type: string): void;
  response(rcode: string, seconds: number): void;
  synthesized(): void;
  passthrough(reason: string): void;
  upstream(to: string, rcode: string, seconds: number): void;
  cacheHit(): void;
  cacheMiss(): void;
}

/**
 * Counts by label values in a plain map, and brings them into the counter when it is read: prom-client hashes the labels at
 * every increment, which together took a sixth of the processor time of a cached answer.
 */
class Tally<L extends string> {
  readonly #labels: readonly L[];
  readonly #counts = new Map<string, number>();

  constructor(
    counter: { inc(labels: Partial<Record<L, string>>, value: number): void },
    labels: readonly L[],
    metrics: Metrics,
  ) {
    this.#labels = labels;
    metrics.onRead(() => {
      for (const [key, count] of this.#counts) counter.inc(this.#split(key), count);
      this.#counts.clear();
    });
  }

  /** `key`: the label values in order, with newlines between. */
  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  #split(key: string): Partial<Record<L, string>> {
    const values = key.split('\n');
    return Object.fromEntries(this.#labels.map((label, i) => [label, values[i] ?? ''])) as Record<L, string>;
  }
}

/** `server` is the label that CoreDNS's dns64 plugin gives its counter, such as "dns://127.0.0.1:5364". */
export function dnsCounters(metrics: Metrics, server: string): DnsCounters {
  const requests = new Tally(metrics.counter('gate64_dns_requests_total'), ['proto', 'type'], metrics);
  const responses = new Tally(metrics.counter('gate64_dns_responses_total'), ['rcode'], metrics);
  const synthesized = new Tally(metrics.counter('gate64_dns64_synthesized_total'), [], metrics);
  const translated = new Tally(metrics.counter('coredns_dns64_requests_translated_total'), ['server'], metrics);
  const passthrough = new Tally(metrics.counter('gate64_dns64_passthrough_total'), ['reason'], metrics);
  const upstreamRequests = new Tally(metrics.counter('gate64_dns_upstream_requests_total'), ['to', 'rcode'], metrics);
  const hits = new Tally(metrics.counter('gate64_dns_cache_hits_total'), [], metrics);
  const misses = new Tally(metrics.counter('gate64_dns_cache_misses_total'), [], metrics);
  const durations = metrics.histogram('gate64_dns_request_duration_seconds');
  const upstreamDurations = metrics.histogram('gate64_dns_upstream_duration_seconds');
  return {
    request: (proto, type) => requests.add(`${proto}\n${type}`),
    response(rcode, seconds) {
      responses.add(rcode);
      durations.observe(seconds);
    },
    synthesized() {
      synthesized.add('');
      translated.add(server);
    },
    passthrough: (reason) => passthrough.add(reason),
    upstream(to, rcode, seconds) {
      upstreamRequests.add(`${to}\n${rcode}`);
      upstreamDurations.observe({ to }, seconds);
    },
    cacheHit: () => hits.add(''),
    cacheMiss: () => misses.add(''),
  };
}
