// SPDX-License-Identifier: Apache-2.0
// The metrics of the DNS half, and who counts for them.

import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import type { MetricDefinition, Metrics } from '../telemetry/metrics.ts';
import { DurationTally } from '../telemetry/duration-tally.ts';
import type { SummedHistogram } from '../telemetry/summed-histogram.ts';
import { Tally } from '../telemetry/tally.ts';
import type { DnsStats } from './dns.ts';
import type { DnsObserver, PassthroughReason, Transport } from './observer.ts';
import { RequestCells } from './request-cells.ts';
import { BUCKETS, COUNTERS, type Counter, type DnsSums } from './sums.ts';

const TELL_MS = 3_600_000;

/** docs/metrics.md has an entry for each, which a test keeps so. */
export const DNS_METRICS = {
  requests: {
    name: 'gate64_dns_requests_total',
    type: 'counter',
    help: 'DNS requests received, by transport and query type.',
    labels: ['proto', 'type'],
  },
  responses: {
    name: 'gate64_dns_responses_total',
    type: 'counter',
    help: 'DNS responses sent, by response code.',
    labels: ['rcode'],
  },
  duration: {
    name: 'gate64_dns_request_duration_seconds',
    type: 'histogram',
    help: 'Time from a DNS request to its response.',
    labels: [],
    buckets: BUCKETS,
  },
  synthesized: {
    name: 'gate64_dns64_synthesized_total',
    type: 'counter',
    help: 'Responses whose AAAA records were synthesized from A records.',
    labels: [],
  },
  passthrough: {
    name: 'gate64_dns64_passthrough_total',
    type: 'counter',
    help:
      'Responses that were passed on as they came, by why nothing was synthesized: aaaaExists, nxdomain, noA, notMappable ' +
      '(RFC 6052 keeps its IPv4 addresses from the prefix), refused (they are in nat64.deny, of the node or of the pool), ' +
      'aError, aaaaError, bogus, checkingDisabled, class.',
    labels: ['reason'],
  },
  upstreamRequests: {
    name: 'gate64_dns_upstream_requests_total',
    type: 'counter',
    help: 'Requests to upstream resolvers, by upstream and by response code or failure.',
    labels: ['to', 'rcode'],
  },
  upstreamDuration: {
    name: 'gate64_dns_upstream_duration_seconds',
    type: 'histogram',
    help: 'Time an upstream resolver took to answer.',
    labels: ['to'],
    buckets: BUCKETS,
  },
  cacheHits: {
    name: 'gate64_dns_cache_hits_total',
    type: 'counter',
    help: 'Requests answered from the cache.',
    labels: [],
  },
  cacheMisses: {
    name: 'gate64_dns_cache_misses_total',
    type: 'counter',
    help: 'Requests that the cache held no answer to.',
    labels: [],
  },
  cacheBytes: {
    name: 'gate64_dns_cache_bytes',
    type: 'gauge',
    help: 'Octets of memory that the answers in the cache take; dns.cache.maxBytes at most in each process that answers.',
    labels: [],
  },
  kernelAnswers: {
    name: 'gate64_dns_kernel_answers_total',
    type: 'counter',
    help: 'Responses given by the kernel (dns.kernelCache). They count nowhere else.',
    labels: [],
  },
  kernelEntries: {
    name: 'gate64_dns_kernel_entries',
    type: 'gauge',
    help: 'Answers that the kernel gives.',
    labels: [],
  },
  cacheEntries: { name: 'gate64_dns_cache_entries', type: 'gauge', help: 'Answers in the cache.', labels: [] },
  clientsRefused: {
    name: 'gate64_dns_clients_refused_total',
    type: 'counter',
    help: 'Requests of clients that dns.allowClients has not, by transport. They count nowhere else.',
    labels: ['proto'],
  },
  rateLimited: {
    name: 'gate64_dns_rate_limited_total',
    type: 'counter',
    help: 'Requests by UDP beyond dns.maxRate, by what became of them: truncated or dropped. They count nowhere else.',
    labels: ['action'],
  },
  corednsTranslated: {
    name: 'coredns_dns64_requests_translated_total',
    type: 'counter',
    help: "Synthesized responses under the name of CoreDNS's dns64 plugin, for dashboards made for it.",
    labels: ['server'],
  },
} as const satisfies Record<string, MetricDefinition>;

/** Made once a process, since counts go on when the configuration changes. */
export class DnsMetrics implements DnsObserver {
  readonly #tallies: Readonly<Record<Counter, Tally>>;
  readonly #requests: RequestCells;
  readonly #duration: DurationTally;
  readonly #upstreamDuration: SummedHistogram;
  readonly #corednsTranslated: Tally;
  readonly #onClientRefused: ((address: string) => void) | undefined;
  #toldAt = -Infinity;
  #server = 'dns://';

  /** `stats` is asked at every scrape; `onClientRefused` is called once an hour at most. */
  constructor(metrics: Metrics, stats: () => DnsStats | undefined, onClientRefused?: (address: string) => void) {
    this.#onClientRefused = onClientRefused;
    const tallies = COUNTERS.map((name) => [name, new Tally(metrics, DNS_METRICS[name])]);
    this.#tallies = Object.fromEntries(tallies) as Record<Counter, Tally>;
    this.#requests = new RequestCells(this.#tallies.requests);
    this.#duration = new DurationTally(metrics, DNS_METRICS.duration);
    this.#upstreamDuration = metrics.summed(DNS_METRICS.upstreamDuration);
    this.#expose(metrics, stats);
    this.#corednsTranslated = new Tally(metrics, DNS_METRICS.corednsTranslated);
  }

  #expose(metrics: Metrics, stats: () => DnsStats | undefined): void {
    const entries = metrics.gauge(DNS_METRICS.cacheEntries);
    const bytes = metrics.gauge(DNS_METRICS.cacheBytes);
    const kernelEntries = metrics.gauge(DNS_METRICS.kernelEntries);
    const kernelAnswers = metrics.counter(DNS_METRICS.kernelAnswers);
    let given = 0;
    metrics.onScrape({
      into: [entries, bytes, kernelEntries, kernelAnswers],
      read: () => {
        const { cacheEntries = 0, cacheBytes = 0, kernel } = stats() ?? {};
        entries.set(cacheEntries);
        bytes.set(cacheBytes);
        kernelEntries.set(kernel?.entries ?? 0);
        given = Math.max(given, kernel?.answered ?? 0);
        kernelAnswers.inc(given);
      },
    });
  }

  /** The first of these is the label that CoreDNS's dns64 plugin gives its counter, such as "dns://127.0.0.1:5364". */
  setListen([first]: readonly Endpoint[]): void {
    this.#server = first === undefined ? 'dns://' : `dns://${formatEndpoint(first)}`;
  }

  /** What another process has counted. */
  merge({ counts, duration, upstreamDuration, refusedClient }: DnsSums): void {
    for (const name of COUNTERS) {
      for (const [key, count] of counts[name]) this.#tallies[name].add(key, count);
    }
    this.#corednsTranslated.add(this.#server, counts.synthesized.get('') ?? 0);
    this.#duration.merge(duration.counts, duration.sum);
    for (const [to, buckets] of upstreamDuration) this.#upstreamDuration.merge(to, buckets);
    if (refusedClient !== undefined) this.#tellRefused(refusedClient);
  }

  request(transport: Transport, type: string): void {
    this.#requests.of(transport, type).count++;
  }

  response(rcode: string, seconds: number): void {
    this.#tallies.responses.add(rcode);
    this.#duration.observe(seconds);
  }

  synthesized(): void {
    this.#tallies.synthesized.add('');
    this.#corednsTranslated.add(this.#server);
  }

  passthrough(reason: PassthroughReason): void {
    this.#tallies.passthrough.add(reason);
  }

  upstream(to: string, rcode: string, seconds: number): void {
    this.#tallies.upstreamRequests.add(`${to}\n${rcode}`);
    this.#upstreamDuration.add(to, seconds);
  }

  cacheHit(): void {
    this.#tallies.cacheHits.add('');
  }

  cacheMiss(): void {
    this.#tallies.cacheMisses.add('');
  }

  rateLimited(action: 'truncated' | 'dropped'): void {
    this.#tallies.rateLimited.add(action);
  }

  clientRefused(transport: Transport, address: string): void {
    this.#tallies.clientsRefused.add(transport);
    this.#tellRefused(address);
  }

  #tellRefused(address: string): void {
    const now = performance.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    this.#onClientRefused?.(address);
  }
}
