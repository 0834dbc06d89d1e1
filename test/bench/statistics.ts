// SPDX-License-Identifier: Apache-2.0
// Samples of a run, by figure and system, and what is said of them.

/** Throws RangeError for no values. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('median of nothing');
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] as number)
    : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export interface FigureRow {
  readonly system: string;
  readonly median: number;
  /** To the figure's base system, of medians. */
  readonly ratio: number;
  readonly samples: readonly number[];
}

export class Samples {
  readonly #values = new Map<string, Map<string, number[]>>();

  add(figure: string, system: string, value: number): void {
    const systems = this.#values.get(figure) ?? new Map<string, number[]>();
    this.#values.set(figure, systems);
    systems.set(system, [...(systems.get(system) ?? []), value]);
  }

  /** One row a system in the order of their first sample; empty when the figure was not measured. */
  rows(figure: string, base: string): FigureRow[] {
    const systems = this.#values.get(figure) ?? new Map<string, number[]>();
    const baseValues = systems.get(base);
    const reference = baseValues ? median(baseValues) : Number.NaN;
    return [...systems].map(([system, samples]) => {
      const middle = median(samples);
      return { system, median: middle, ratio: middle / reference, samples };
    });
  }
}
