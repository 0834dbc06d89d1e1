// SPDX-License-Identifier: Apache-2.0
// Work on many items, a few in a turn of the event loop: what else waits there has its turn in between.

export class InTurns<T> {
  readonly #handle: (item: T) => void;
  readonly #perTurn: number;
  readonly #waiting: T[] = [];
  /** Of those waiting, the first that is not handled yet. */
  #at = 0;
  #isDue = false;

  constructor(perTurn: number, handle: (item: T) => void) {
    this.#perTurn = perTurn;
    this.#handle = handle;
  }

  /** In order, behind those that wait already. */
  add(items: Iterable<T>): void {
    for (const item of items) this.#waiting.push(item);
    this.#schedule();
  }

  /** All that wait, now. */
  flush(): void {
    this.#take(Infinity);
  }

  #schedule(): void {
    if (this.#isDue || this.#waiting.length === 0) return;
    this.#isDue = true;
    setImmediate(() => {
      this.#isDue = false;
      this.#take(this.#perTurn);
      this.#schedule();
    });
  }

  #take(count: number): void {
    const end = Math.min(this.#waiting.length, this.#at + count);
    while (this.#at < end) this.#handle(this.#waiting[this.#at++] as T);
    if (this.#at < this.#waiting.length) return;
    this.#waiting.length = 0;
    this.#at = 0;
  }
}
