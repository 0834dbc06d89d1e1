// SPDX-License-Identifier: Apache-2.0
// The metric registry: the metrics of metric-list.ts, made once, and Node's own. What the data plane counts is read when
// it is scraped, never on events.

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { METRICS, type MetricDefinition, type MetricLabel, type MetricName } from './metric-list.ts';
import { ALLOCATION_FAILURES, type BlockFill, type MetricsSource } from './metrics-source.ts';

/** Gauges of prom-client that are named as counters, which Prometheus's lint refuses. */
const MISNAMED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

export interface MetricsOptions {
  readonly version: string;
  /** Told of a part of the NAT64 source that could not be read. */
  readonly onSourceError?: (error: unknown) => void;
}

type Instance = Counter | Gauge | Histogram;
type Set = (labels: Record<string, string>, value: number) => void;

export class Metrics {
  readonly registry = new Registry();
  readonly #instances = new Map<string, Instance>();
  readonly #onSourceError: (error: unknown) => void;
  readonly #flushes: (() => void)[] = [];
  #source: MetricsSource | undefined;
  /** The source during one scrape. */
  #scrape: MetricsSource | undefined;
  #cacheEntries: (() => number) | undefined;

  constructor(options: MetricsOptions) {
    this.#onSourceError = options.onSourceError ?? (() => undefined);
    collectDefaultMetrics({ register: this.registry });
    for (const name of MISNAMED_DEFAULTS) this.registry.removeSingleMetric(name);
    for (const definition of METRICS) this.#instances.set(definition.name, this.#make(definition));
    this.gauge('gate64_build_info').set({ version: options.version, nodejs: process.version }, 1);
  }

  counter<N extends MetricName<'counter'>>(name: N): Counter<MetricLabel<N>> {
    return this.#get(name, Counter);
  }

  gauge<N extends MetricName<'gauge'>>(name: N): Gauge<MetricLabel<N>> {
    return this.#get(name, Gauge);
  }

  histogram<N extends MetricName<'histogram'>>(name: N): Histogram<MetricLabel<N>> {
    return this.#get(name, Histogram);
  }

  /** Where the NAT64 metrics are read from; undefined while that half is off or down. */
  setSource(source: MetricsSource | undefined): void {
    this.#source = source;
  }

  /** Where the number of cached DNS answers is read from; undefined while that half is off. */
  setCacheEntries(read: (() => number) | undefined): void {
    this.#cacheEntries = read;
  }

  /** Notes the outcome of reading the configuration. */
  configReloaded(successful: boolean, atMs: number = Date.now()): void {
    this.gauge('gate64_config_last_reload_successful').set(successful ? 1 : 0);
    if (successful) this.gauge('gate64_config_last_reload_success_timestamp_seconds').set(atMs / 1000);
  }

  /** `flush` brings counts that are kept elsewhere into their counters; it runs before every reading. */
  onRead(flush: () => void): void {
    this.#flushes.push(flush);
  }

  /** Prometheus's text format. */
  async text(): Promise<string> {
    for (const flush of this.#flushes) flush();
    const scrape = this.#source && readOnce(this.#source);
    // Every metric's collect() runs before metrics() waits for anything.
    this.#scrape = scrape;
    try {
      return await this.registry.metrics();
    } finally {
      if (this.#scrape === scrape) this.#scrape = undefined;
    }
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  #get<T extends Instance>(name: string, kind: new (...args: never[]) => T): T {
    const instance = this.#instances.get(name);
    if (!(instance instanceof kind)) throw new TypeError(`${name} is no ${kind.name}`);
    return instance;
  }

  #make(definition: MetricDefinition): Instance {
    const { name, help } = definition;
    const common = { name, help, labelNames: [...definition.labels], registers: [this.registry] };
    const read = name === 'gate64_dns_cache_entries' ? this.#readCacheEntries : READERS.get(name);
    const readSource = (metric: { reset(): void }, set: Set) => {
      metric.reset();
      this.#read(name, () => read?.(this.#scrape ?? this.#source, set));
    };
    // prom-client calls collect with the metric as `this`. A counter is set by starting it anew.
    if (definition.type === 'counter') {
      const counter: Counter = new Counter({
        ...common,
        ...(read === undefined
          ? {}
          : { collect: () => readSource(counter, (labels, value) => counter.inc(labels, value)) }),
      });
      return counter;
    }
    if (definition.type === 'gauge') {
      const gauge: Gauge = new Gauge({
        ...common,
        ...(read === undefined
          ? {}
          : { collect: () => readSource(gauge, (labels, value) => gauge.set(labels, value)) }),
      });
      return gauge;
    }
    return new Histogram({ ...common, buckets: [...(definition.buckets ?? [])] });
  }

  readonly #readCacheEntries: Reader = (_, set) => {
    if (this.#cacheEntries !== undefined) set({}, this.#cacheEntries());
  };

  /** A map that cannot be read must not cost the rest of the scrape. */
  #read(name: string, read: () => void): void {
    try {
      read();
    } catch (cause) {
      this.#onSourceError(new Error(`${name} could not be read`, { cause }));
    }
  }
}

/** Several metrics come of one part, and reading a part may walk thousands of records. What failed is not tried again. */
function readOnce(source: MetricsSource): MetricsSource {
  const once = <T>(read: () => T): (() => T) => {
    let outcome: { value: T } | { error: unknown } | undefined;
    return () => {
      try {
        outcome ??= { value: read() };
      } catch (error) {
        outcome = { error };
      }
      if ('error' in outcome) throw outcome.error;
      return outcome.value;
    };
  };
  return {
    ready: once(() => source.ready()),
    info: once(() => source.info()),
    packetCounters: once(() => source.packetCounters()),
    drops: once(() => source.drops()),
    counts: once(() => source.counts()),
    blockFills: once(() => source.blockFills()),
    mapFill: once(() => source.mapFill()),
  };
}

type Reader = (source: MetricsSource | undefined, set: Set) => void;

/** How each metric that is not pushed is read. */
const READER_LIST: Partial<Record<MetricName, Reader>> = {
  gate64_nat64_packets_total: (source, set) => {
    for (const { direction, protocol, packets } of source?.packetCounters() ?? [])
      set({ direction, protocol }, packets);
  },
  gate64_nat64_bytes_total: (source, set) => {
    for (const { direction, protocol, bytes } of source?.packetCounters() ?? []) set({ direction, protocol }, bytes);
  },
  gate64_nat64_drops_total: (source, set) => {
    for (const { direction, reason, count } of source?.drops() ?? []) set({ direction, reason }, count);
  },
  gate64_nat64_allocation_failures_total: (source, set) => {
    if (source === undefined) return;
    const rows = source.drops();
    for (const reason of ALLOCATION_FAILURES) {
      set({ reason }, sum(rows.filter((row) => row.reason === reason).map((row) => row.count)));
    }
  },
  gate64_nat64_sessions: (source, set) => {
    for (const [protocol, count] of Object.entries(source?.counts().sessions ?? {})) set({ protocol }, count);
  },
  gate64_nat64_bindings: (source, set) => {
    for (const [protocol, count] of Object.entries(source?.counts().bindings ?? {})) set({ protocol }, count);
  },
  gate64_nat64_pool_ports: (source, set) => {
    for (const row of portSums(source?.blockFills() ?? [])) {
      set({ address: row.address, protocol: row.protocol, state: 'used' }, row.used);
      set({ address: row.address, protocol: row.protocol, state: 'free' }, row.size - row.used);
    }
  },
  gate64_nat64_blocks: (source, set) => {
    for (const { address, state, count } of blockSums(source?.blockFills() ?? [])) set({ address, state }, count);
  },
  gate64_nat64_map_entries: (source, set) => {
    for (const { map, entries } of source?.mapFill() ?? []) set({ map }, entries);
  },
  gate64_nat64_map_max_entries: (source, set) => {
    for (const { map, maxEntries } of source?.mapFill() ?? []) set({ map }, maxEntries);
  },
  gate64_nat64_ready: (source, set) => set({}, source?.ready() === true ? 1 : 0),
  gate64_nat64_info: (source, set) => {
    if (source !== undefined) set({ ...source.info() }, 1);
  },
};

const READERS: ReadonlyMap<string, Reader> = new Map(Object.entries(READER_LIST));

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function portSums(fills: readonly BlockFill[]): { address: string; protocol: string; used: number; size: number }[] {
  const addresses = new Map<string, { size: number; used: Record<string, number> }>();
  for (const { address, size, used } of fills) {
    let sums = addresses.get(address);
    if (sums === undefined) addresses.set(address, (sums = { size: 0, used: {} }));
    sums.size += size;
    for (const protocol in used) sums.used[protocol] = (sums.used[protocol] ?? 0) + (used[protocol] ?? 0);
  }
  return [...addresses].flatMap(([address, { size, used }]) =>
    Object.entries(used).map(([protocol, count]) => ({ address, protocol, used: count, size })),
  );
}

const BLOCK_STATES = ['offered', 'leased', 'held', 'retired'];

/** Every state of every address, so that a state that empties goes to 0 rather than away. */
function blockSums(fills: readonly BlockFill[]): { address: string; state: string; count: number }[] {
  const addresses = new Map<string, Record<string, number>>();
  for (const { address, state } of fills) {
    let counts = addresses.get(address);
    if (counts === undefined)
      addresses.set(address, (counts = Object.fromEntries(BLOCK_STATES.map((known) => [known, 0]))));
    counts[state] = (counts[state] ?? 0) + 1;
  }
  return [...addresses].flatMap(([address, counts]) =>
    Object.entries(counts).map(([state, count]) => ({ address, state, count })),
  );
}
