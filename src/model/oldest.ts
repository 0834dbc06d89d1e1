// SPDX-License-Identifier: Apache-2.0
// The oldest key of a map that is kept in order of use, asked for again and again.

/** A new iterator would have to pass, each time, all the places at the front that keys have left: thousands in a flood. */
export class OldestKeys<K> {
  readonly #map: ReadonlyMap<K, unknown>;
  #keys: Iterator<K>;

  constructor(map: ReadonlyMap<K, unknown>) {
    this.#map = map;
    this.#keys = map.keys();
  }

  /** Undefined where there is none. The caller deletes it, or puts it to the end, before the next call. */
  next(): K | undefined {
    const { done, value } = this.#keys.next();
    if (done !== true) return value;
    // At its end an iterator stays there, whatever has come since.
    this.#keys = this.#map.keys();
    const again = this.#keys.next();
    return again.done === true ? undefined : again.value;
  }
}
