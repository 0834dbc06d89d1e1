// SPDX-License-Identifier: Apache-2.0
// A histogram with labels for hot paths, to which what other processes have counted can be added: prom-client's own takes values one
// at a time and hashes their labels.

import { Histogram, type HistogramConfiguration } from 'prom-client';
import { BucketCounts, merge, observe } from './bucket-counts.ts';

export class SummedHistogram extends Histogram {
  readonly #definition: HistogramConfiguration<string>;
  readonly #bounds: readonly number[];
  /** By label values in order, with newlines between. */
  readonly #series = new Map<string, BucketCounts>();

  constructor(definition: HistogramConfiguration<string> & { readonly buckets: readonly number[] }) {
    super({ ...definition, buckets: [...definition.buckets] });
    this.#definition = definition;
    this.#bounds = definition.buckets;
  }

  add(key: string, value: number): void {
    observe(this.#of(key), this.#bounds, value);
  }

  merge(key: string, { counts, sum }: BucketCounts): void {
    merge(this.#of(key), counts, sum);
  }

  override get(): ReturnType<Histogram['get']> {
    const { name, help } = this.#definition;
    const values = [...this.#series].flatMap(([key, { counts, sum }]) => {
      const labels = this.#labels(key);
      let below = 0;
      const buckets = Array.from(counts, (count, i) => {
        below += count;
        return { metricName: `${name}_bucket`, labels: { le: this.#bounds[i] ?? '+Inf', ...labels }, value: below };
      });
      return [
        ...buckets,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: below },
      ];
    });
    return Promise.resolve({ name, help, type: 'histogram', aggregator: 'sum', values }) as unknown as ReturnType<
      Histogram['get']
    >;
  }

  /** What the registry asks for its text. */
  getForPromString(): ReturnType<Histogram['get']> {
    return this.get();
  }

  #of(key: string): BucketCounts {
    let series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, (series = new BucketCounts(this.#bounds)));
    return series;
  }

  #labels(key: string): Record<string, string> {
    const values = key.split('\n');
    return Object.fromEntries((this.#definition.labelNames ?? []).map((label, i) => [label, values[i] ?? '']));
  }
}
