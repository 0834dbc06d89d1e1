// SPDX-License-Identifier: Apache-2.0
// A histogram without labels for hot paths.

import { BucketCounts, merge, observe } from './bucket-counts.ts';
import type { MetricDefinition, Metrics } from './metrics.ts';

/**
 * Counts in plain numbers, which are read when the metric is scraped: prom-client finds a histogram's values by hashing
 * labels and its bucket by name at every observation.
 */
export class DurationTally {
  readonly #bounds: readonly number[];
  readonly #buckets: BucketCounts;

  /** Registers the histogram. Throws when its name is taken. */
  constructor(metrics: Metrics, definition: MetricDefinition<'histogram', never>) {
    this.#bounds = definition.buckets ?? [];
    this.#buckets = new BucketCounts(this.#bounds);
    metrics.histogramOf(definition, () => this.#buckets);
  }

  observe(value: number): void {
    observe(this.#buckets, this.#bounds, value);
  }

  /** What was counted elsewhere, by the same bounds. */
  merge(counts: Float64Array, sum: number): void {
    merge(this.#buckets, counts, sum);
  }
}
