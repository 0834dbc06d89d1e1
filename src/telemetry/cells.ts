// SPDX-License-Identifier: Apache-2.0
// Counts by label values, for hot paths.

/** One of them, for who counts it so often that even the map is too much. */
export interface Cell {
  count: number;
}

/** Keys are label values in order, with newlines between. */
export class Cells {
  readonly #cells = new Map<string, Cell>();

  add(key: string, count = 1): void {
    this.cell(key).count += count;
  }

  /** Of one key; always the same. */
  cell(key: string): Cell {
    let cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, (cell = { count: 0 }));
    return cell;
  }

  /** What was counted since the last time. */
  take(): Map<string, number> {
    const counts = new Map<string, number>();
    for (const [key, cell] of this.#cells) {
      if (cell.count > 0) counts.set(key, cell.count);
      cell.count = 0;
    }
    return counts;
  }
}
