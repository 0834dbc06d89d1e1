// SPDX-License-Identifier: Apache-2.0
// The message IDs of one socket or connection that are free, given out in an order nobody can guess (RFC 5452 §9.2).

import { randomInt } from 'node:crypto';

const IDS = 0x10000;

/**
 * A shuffle of all IDs of which only the exceptions are written down. The first `free` slots hold the free IDs, each
 * its own number; a slot whose number is taken holds a free ID from beyond them instead. So there are never more
 * exceptions than taken IDs, and both `take` and `give` touch a few slots only.
 */
export class IdPool {
  #free = IDS;
  /** Slot → the ID in it, where that is not the slot's own number; and the same from the ID. */
  readonly #idIn = new Map<number, number>();
  readonly #slotOf = new Map<number, number>();

  get free(): number {
    return this.#free;
  }

  /** How many exceptions are written down. */
  get kept(): number {
    return this.#idIn.size;
  }

  /** A random one of the free IDs; undefined when all are taken. */
  take(): number | undefined {
    if (this.#free === 0) return undefined;
    const slot = randomInt(this.#free);
    const id = this.#empty(slot);
    const last = --this.#free;
    if (slot !== last) this.#put(slot, this.#empty(last));
    return id;
  }

  /** Gives back an ID that `take` returned; once. */
  give(id: number): void {
    const added = this.#free++;
    // An ID below moves into its own slot; what stood there, or the ID itself, now needs another one.
    const spare = id < added ? this.#empty(id) : id;
    if (spare === added) return;
    // The added slot is its own number's, if that is free: then the slot that held it has room.
    const slot = this.#slotOf.get(added) ?? added;
    this.#empty(slot);
    this.#put(slot, spare);
  }

  #empty(slot: number): number {
    const id = this.#idIn.get(slot);
    if (id === undefined) return slot;
    this.#idIn.delete(slot);
    this.#slotOf.delete(id);
    return id;
  }

  #put(slot: number, id: number): void {
    this.#idIn.set(slot, id);
    this.#slotOf.set(id, slot);
  }
}
