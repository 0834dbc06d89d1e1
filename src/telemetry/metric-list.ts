// SPDX-License-Identifier: Apache-2.0
// The one list of gate64's metrics; docs/metrics.md has an entry for each, which a test keeps so. Names follow
// Prometheus's rules: base units, `_total` on counters, labels of few values.

export interface MetricDefinition {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly labels: readonly string[];
  readonly buckets?: readonly number[];
}

/** CoreDNS's buckets, so that its latency and ours can stand in one panel: 0.25 ms, doubling, to 8.192 s. */
const DNS_BUCKETS = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);
/** 1 ms to 8.192 s. */
const SWEEP_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i);

export const METRICS = [
  {
    name: 'gate64_dns_requests_total',
    type: 'counter',
    help: 'DNS requests received, by transport and query type.',
    labels: ['proto', 'type'],
  },
  {
    name: 'gate64_dns_responses_total',
    type: 'counter',
    help: 'DNS responses sent, by response code.',
    labels: ['rcode'],
  },
  {
    name: 'gate64_dns_request_duration_seconds',
    type: 'histogram',
    help: 'Time from a DNS request to its response.',
    labels: [],
    buckets: DNS_BUCKETS,
  },
  {
    name: 'gate64_dns64_synthesized_total',
    type: 'counter',
    help: 'Responses whose AAAA records were synthesized from A records.',
    labels: [],
  },
  {
    name: 'gate64_dns64_passthrough_total',
    type: 'counter',
    help:
      'Responses that were passed on as they came, by why nothing was synthesized: aaaaExists, nxdomain, noA, notMappable ' +
      '(its IPv4 address may not be carried by the prefix), aError, aaaaError, bogus, checkingDisabled, class.',
    labels: ['reason'],
  },
  {
    name: 'gate64_dns_upstream_requests_total',
    type: 'counter',
    help: 'Requests to upstream resolvers, by upstream and by response code or failure.',
    labels: ['to', 'rcode'],
  },
  {
    name: 'gate64_dns_upstream_duration_seconds',
    type: 'histogram',
    help: 'Time an upstream resolver took to answer.',
    labels: ['to'],
    buckets: DNS_BUCKETS,
  },
  {
    name: 'gate64_dns_cache_hits_total',
    type: 'counter',
    help: 'Requests answered from the cache.',
    labels: [],
  },
  {
    name: 'gate64_dns_cache_misses_total',
    type: 'counter',
    help: 'Requests that the cache held no answer to.',
    labels: [],
  },
  { name: 'gate64_dns_cache_entries', type: 'gauge', help: 'Answers in the cache.', labels: [] },
  {
    name: 'coredns_dns64_requests_translated_total',
    type: 'counter',
    help: "Synthesized responses under the name of CoreDNS's dns64 plugin, for dashboards made for it.",
    labels: ['server'],
  },
  {
    name: 'gate64_nat64_packets_total',
    type: 'counter',
    help: 'Packets translated, by direction and protocol.',
    labels: ['direction', 'protocol'],
  },
  {
    name: 'gate64_nat64_bytes_total',
    type: 'counter',
    help: 'Bytes of translated packets from the IP header on, by direction and protocol.',
    labels: ['direction', 'protocol'],
  },
  {
    name: 'gate64_nat64_drops_total',
    type: 'counter',
    help: 'Packets refused, by direction and reason; `gate64 drops --explain` says what each reason means.',
    labels: ['direction', 'reason'],
  },
  { name: 'gate64_nat64_sessions', type: 'gauge', help: 'Sessions, by protocol.', labels: ['protocol'] },
  { name: 'gate64_nat64_bindings', type: 'gauge', help: 'Bindings, by protocol.', labels: ['protocol'] },
  {
    name: 'gate64_nat64_pool_ports',
    type: 'gauge',
    help: 'Ports of the pool, by address, protocol and whether a binding uses them (used, free).',
    labels: ['address', 'protocol', 'state'],
  },
  {
    name: 'gate64_nat64_blocks',
    type: 'gauge',
    help: 'Blocks of ports, by address and state (offered, leased, held, retired).',
    labels: ['address', 'state'],
  },
  {
    name: 'gate64_nat64_allocation_failures_total',
    type: 'counter',
    help: 'New flows refused for want of a port or a session, by reason.',
    labels: ['reason'],
  },
  { name: 'gate64_nat64_map_entries', type: 'gauge', help: 'Entries in a BPF map.', labels: ['map'] },
  { name: 'gate64_nat64_map_max_entries', type: 'gauge', help: 'Entries that a BPF map can hold.', labels: ['map'] },
  {
    name: 'gate64_nat64_sweep_duration_seconds',
    type: 'histogram',
    help: 'Time a sweep of the session table took.',
    labels: [],
    buckets: SWEEP_BUCKETS,
  },
  {
    name: 'gate64_nat64_ready',
    type: 'gauge',
    help: 'Whether the data plane is in place: 1, else 0.',
    labels: [],
  },
  {
    name: 'gate64_nat64_info',
    type: 'gauge',
    help: 'How the data plane is attached; the value is 1.',
    labels: ['egress', 'attach', 'kernel'],
  },
  {
    name: 'gate64_config_last_reload_successful',
    type: 'gauge',
    help: 'Whether the last reading of the configuration succeeded: 1, else 0 and the one before is in force.',
    labels: [],
  },
  {
    name: 'gate64_config_last_reload_success_timestamp_seconds',
    type: 'gauge',
    help: 'When the configuration in force was read, in seconds since the epoch.',
    labels: [],
  },
  {
    name: 'gate64_build_info',
    type: 'gauge',
    help: 'Versions of gate64 and of the Node it runs on; the value is 1.',
    labels: ['version', 'nodejs'],
  },
] as const satisfies readonly MetricDefinition[];

type Definition = (typeof METRICS)[number];
export type MetricType = MetricDefinition['type'];
export type MetricName<T extends MetricType = MetricType> = Extract<Definition, { type: T }>['name'];
export type MetricLabel<N extends MetricName> = Extract<Definition, { name: N }>['labels'][number];
