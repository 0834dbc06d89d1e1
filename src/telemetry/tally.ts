// SPDX-License-Identifier: Apache-2.0
// A counter for hot paths.

import type { MetricDefinition, Metrics } from './metrics.ts';

/**
 * Counts by label values in a plain map, and brings them into the counter when it is scraped: prom-client hashes the labels
 * at every increment, which together took a sixth of the processor time of a cached DNS answer.
 */
export class Tally {
  readonly #labels: readonly string[];
  readonly #counts = new Map<string, number>();

  /** Registers the counter. Throws when its name is taken. */
  constructor(metrics: Metrics, definition: MetricDefinition<'counter'>) {
    this.#labels = definition.labels;
    const counter = metrics.counter(definition);
    const read = () => {
      for (const [key, count] of this.#counts) counter.inc(this.#split(key), count);
      this.#counts.clear();
    };
    metrics.onScrape({ into: [], read });
  }

  /** `key`: the label values in order, with newlines between. */
  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  #split(key: string): Record<string, string> {
    const values = key.split('\n');
    return Object.fromEntries(this.#labels.map((label, i) => [label, values[i] ?? '']));
  }
}
