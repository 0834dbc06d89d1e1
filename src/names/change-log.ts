// SPDX-License-Identifier: Apache-2.0
// Which items of a table changed after a version: for others that follow the table a little behind.

interface Change<T> {
  readonly item: T;
  readonly version: number;
}

export interface Changes<T> {
  /** Each once, in the order of their latest change. */
  readonly items: readonly T[];
  /** What to ask with the next time. */
  readonly version: number;
  /** There are more by now. */
  readonly isMore: boolean;
}

/** Beyond twice the items that are there, changes that others followed are thrown away. */
const MIN_ROOM = 1024;

export class ChangeLog<T> {
  readonly #latest = new Map<T, number>();
  #changes: Change<T>[] = [];
  #version = 0;

  /** Changes held, those that are no item's latest included. */
  get length(): number {
    return this.#changes.length;
  }

  note(item: T): void {
    this.#version++;
    this.#latest.set(item, this.#version);
    this.#changes.push({ item, version: this.#version });
    if (this.#changes.length > 2 * this.#latest.size + MIN_ROOM) {
      this.#changes = this.#changes.filter((change) => this.#isLatest(change));
    }
  }

  forget(item: T): void {
    this.#latest.delete(item);
  }

  /** `limit`: items at most. */
  after(version: number, limit: number): Changes<T> {
    const items: T[] = [];
    for (let at = this.#firstAfter(version); at < this.#changes.length; at++) {
      const change = this.#changes[at] as Change<T>;
      if (!this.#isLatest(change)) continue;
      if (items.length === limit) return { items, version, isMore: true };
      items.push(change.item);
      version = change.version;
    }
    return { items, version: this.#version, isMore: false };
  }

  #isLatest({ item, version }: Change<T>): boolean {
    return this.#latest.get(item) === version;
  }

  /** The versions stand in order. */
  #firstAfter(version: number): number {
    let [low, high] = [0, this.#changes.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#changes[middle] as Change<T>).version <= version) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
