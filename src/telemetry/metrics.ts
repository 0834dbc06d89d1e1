// SPDX-License-Identifier: Apache-2.0
// The metric registry, with Node's own metrics in it. It knows no other metric: each half registers those that it has, and
// says how values are read that nobody counts by events.

import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { SummedHistogram } from './summed-histogram.ts';

/** Gauges of prom-client that are named as counters, which Prometheus's lint refuses. */
const MISNAMED_DEFAULTS = [
  'nodejs_active_handles_total',
  'nodejs_active_requests_total',
  'nodejs_active_resources_total',
];

export type MetricType = 'counter' | 'gauge' | 'histogram';

/** Names follow Prometheus's rules: base units, `_total` on counters, labels of few values. */
export interface MetricDefinition<T extends MetricType = MetricType, L extends string = string> {
  readonly name: string;
  readonly type: T;
  readonly help: string;
  readonly labels: readonly L[];
  /** Of a histogram: upper bounds. */
  readonly buckets?: readonly number[];
}

/** Values that are brought into their metrics when those are scraped. */
export interface Reading {
  /** Emptied before each reading. A metric without labels is 0 then, others have no sample. */
  readonly into: readonly (Counter | Gauge)[];
  /** When it throws, `into` stays empty in that scrape. */
  readonly read: () => void;
}

export interface MetricsOptions {
  /** Told of a reading that threw, once a scrape. */
  readonly onSourceError?: (error: unknown) => void;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #names = new Map<Counter | Gauge | Histogram, string>();
  readonly #readings = new Set<Reading>();
  readonly #onSourceError: (error: unknown) => void;

  constructor(options: MetricsOptions = {}) {
    this.#onSourceError = options.onSourceError ?? (() => undefined);
    collectDefaultMetrics({ register: this.#registry });
    for (const name of MISNAMED_DEFAULTS) this.#registry.removeSingleMetric(name);
  }

  /** Registers a metric, as the two below do. Throws when its name is taken. */
  counter<L extends string>(definition: MetricDefinition<'counter', L>): Counter<L> {
    return this.#note(definition, new Counter(this.#common(definition)));
  }

  gauge<L extends string>(definition: MetricDefinition<'gauge', L>): Gauge<L> {
    return this.#note(definition, new Gauge(this.#common(definition)));
  }

  histogram<L extends string>(definition: MetricDefinition<'histogram', L>): Histogram<L> {
    const buckets = [...(definition.buckets ?? [])];
    return this.#note(definition, new Histogram({ ...this.#common(definition), buckets }));
  }

  /** Registers a histogram without labels that is counted elsewhere: values by bucket, the last one beyond all bounds. */
  histogramOf(
    { name, help, buckets = [] }: MetricDefinition<'histogram', never>,
    read: () => { readonly counts: ArrayLike<number>; readonly sum: number },
  ): void {
    const get = () => {
      const { counts, sum } = read();
      let count = 0;
      const values = [...buckets, '+Inf'].map((le, i) => {
        count += counts[i] ?? 0;
        return { metricName: `${name}_bucket`, labels: { le }, value: count };
      });
      const total = { metricName: `${name}_count`, labels: {}, value: count };
      const all = [...values, { metricName: `${name}_sum`, labels: {}, value: sum }, total];
      return Promise.resolve({ name, help, type: 'histogram', aggregator: 'sum', values: all });
    };
    // Of a metric the registry uses these two.
    this.#registry.registerMetric({ name, get } as unknown as Histogram);
  }

  /** A histogram with labels that others' counts can be added to. */
  summed(definition: MetricDefinition<'histogram'>): SummedHistogram {
    const buckets = [...(definition.buckets ?? [])];
    return this.#note(definition, new SummedHistogram({ ...this.#common(definition), buckets }));
  }

  /** Carries `reading` out at every scrape. What it returns ends that, and empties its metrics. */
  onScrape(reading: Reading): () => void {
    this.#readings.add(reading);
    return () => {
      if (this.#readings.delete(reading)) empty(reading);
    };
  }

  /** Prometheus's text format. */
  async text(): Promise<string> {
    for (const reading of this.#readings) this.#read(reading);
    // It takes every value before it waits for anything: a scrape at the same time empties none of this one's.
    return await this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #common<L extends string>({ name, help, labels }: MetricDefinition<MetricType, L>) {
    return { name, help, labelNames: labels, registers: [this.#registry] };
  }

  #note<M extends Counter | Gauge | Histogram>({ name }: MetricDefinition, metric: M): M {
    this.#names.set(metric, name);
    return metric;
  }

  /** What cannot be read must not cost the rest of the scrape. */
  #read(reading: Reading): void {
    empty(reading);
    try {
      reading.read();
    } catch (cause) {
      empty(reading);
      const names = reading.into.map((metric) => this.#names.get(metric)).join(', ');
      this.#onSourceError(new Error(`${names} could not be read`, { cause }));
    }
  }
}

function empty({ into }: Reading): void {
  for (const metric of into) metric.reset();
}
