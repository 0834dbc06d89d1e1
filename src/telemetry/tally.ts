// SPDX-License-Identifier: Apache-2.0
// A counter for hot paths.

import { Cells } from './cells.ts';
import type { MetricDefinition, Metrics } from './metrics.ts';

/**
 * Counts by label values in a plain map, and brings them into the counter when it is scraped: prom-client hashes the labels
 * at every increment, which together took a sixth of the processor time of a cached DNS answer.
 */
export class Tally extends Cells {
  readonly #labels: readonly string[];

  /** Registers the counter. Throws when its name is taken. */
  constructor(metrics: Metrics, definition: MetricDefinition<'counter'>) {
    super();
    this.#labels = definition.labels;
    const counter = metrics.counter(definition);
    const read = () => {
      for (const [key, count] of this.take()) counter.inc(this.#split(key), count);
    };
    metrics.onScrape({ into: [], read });
  }

  #split(key: string): Record<string, string> {
    const values = key.split('\n');
    return Object.fromEntries(this.#labels.map((label, i) => [label, values[i] ?? '']));
  }
}
