// SPDX-License-Identifier: Apache-2.0
// A histogram without labels for hot paths.

import type { MetricDefinition, Metrics } from './metrics.ts';

/**
 * Counts in plain numbers, which are read when the metric is scraped: prom-client finds a histogram's values by hashing
 * labels and its bucket by name at every observation.
 */
export class DurationTally {
  readonly #bounds: readonly number[];
  /** By bound; the last is of what lies beyond. */
  readonly #counts: Float64Array;
  #sum = 0;

  /** Registers the histogram. Throws when its name is taken. */
  constructor(metrics: Metrics, definition: MetricDefinition<'histogram', never>) {
    this.#bounds = definition.buckets ?? [];
    this.#counts = new Float64Array(this.#bounds.length + 1);
    metrics.histogramOf(definition, () => ({ counts: this.#counts, sum: this.#sum }));
  }

  observe(value: number): void {
    const bounds = this.#bounds;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    this.#counts[i] = (this.#counts[i] as number) + 1;
    this.#sum += value;
  }
}
