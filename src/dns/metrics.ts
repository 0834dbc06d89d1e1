// SPDX-License-Identifier: Apache-2.0
// The metrics of the DNS half, and who counts for them.

import type { Histogram } from 'prom-client';
import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import type { MetricDefinition, Metrics } from '../telemetry/metrics.ts';
import { DurationTally } from '../telemetry/duration-tally.ts';
import { Tally, type Cell } from '../telemetry/tally.ts';
import type { DnsStats } from './dns.ts';
import type { DnsObserver, PassthroughReason, Transport } from './observer.ts';

/** CoreDNS's buckets, so that its latency and ours can stand in one panel: 0.25 ms, doubling, to 8.192 s. */
const BUCKETS = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);

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
    help: 'Octets of memory that the answers in the cache take; dns.cache.maxBytes at most.',
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
  readonly #requests: Tally;
  /** By type, so that no key is made for a request. */
  readonly #requestCells = { udp: new Map<string, Cell>(), tcp: new Map<string, Cell>() };
  readonly #responses: Tally;
  readonly #duration: DurationTally;
  readonly #synthesized: Tally;
  readonly #passthrough: Tally;
  readonly #upstreamRequests: Tally;
  readonly #upstreamDuration: Histogram<'to'>;
  readonly #cacheHits: Tally;
  readonly #cacheMisses: Tally;
  readonly #clientsRefused: Tally;
  readonly #rateLimited: Tally;
  readonly #corednsTranslated: Tally;
  readonly #onClientRefused: ((address: string) => void) | undefined;
  #toldAt = -Infinity;
  #server = 'dns://';

  /** `stats` is asked at every scrape; `onClientRefused` is called once an hour at most. */
  constructor(metrics: Metrics, stats: () => DnsStats | undefined, onClientRefused?: (address: string) => void) {
    this.#onClientRefused = onClientRefused;
    this.#clientsRefused = new Tally(metrics, DNS_METRICS.clientsRefused);
    this.#rateLimited = new Tally(metrics, DNS_METRICS.rateLimited);
    this.#requests = new Tally(metrics, DNS_METRICS.requests);
    this.#responses = new Tally(metrics, DNS_METRICS.responses);
    this.#duration = new DurationTally(metrics, DNS_METRICS.duration);
    this.#synthesized = new Tally(metrics, DNS_METRICS.synthesized);
    this.#passthrough = new Tally(metrics, DNS_METRICS.passthrough);
    this.#upstreamRequests = new Tally(metrics, DNS_METRICS.upstreamRequests);
    this.#upstreamDuration = metrics.histogram(DNS_METRICS.upstreamDuration);
    this.#cacheHits = new Tally(metrics, DNS_METRICS.cacheHits);
    this.#cacheMisses = new Tally(metrics, DNS_METRICS.cacheMisses);
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

  request(transport: Transport, type: string): void {
    const cells = this.#requestCells[transport];
    let cell = cells.get(type);
    if (cell === undefined) cells.set(type, (cell = this.#requests.cell(`${transport}\n${type}`)));
    cell.count++;
  }

  response(rcode: string, seconds: number): void {
    this.#responses.add(rcode);
    this.#duration.observe(seconds);
  }

  synthesized(): void {
    this.#synthesized.add('');
    this.#corednsTranslated.add(this.#server);
  }

  passthrough(reason: PassthroughReason): void {
    this.#passthrough.add(reason);
  }

  upstream(to: string, rcode: string, seconds: number): void {
    this.#upstreamRequests.add(`${to}\n${rcode}`);
    this.#upstreamDuration.observe({ to }, seconds);
  }

  cacheHit(): void {
    this.#cacheHits.add('');
  }

  cacheMiss(): void {
    this.#cacheMisses.add('');
  }

  rateLimited(action: 'truncated' | 'dropped'): void {
    this.#rateLimited.add(action);
  }

  clientRefused(transport: Transport, address: string): void {
    this.#clientsRefused.add(transport);
    const now = performance.now();
    if (now - this.#toldAt < TELL_MS) return;
    this.#toldAt = now;
    this.#onClientRefused?.(address);
  }
}
