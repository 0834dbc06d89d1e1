// SPDX-License-Identifier: Apache-2.0
// A map seen through codecs for its keys and values (usually generated from BTF).

import type { UpdateFlag } from './kinds.ts';
import type { BpfMap } from './map.ts';

/** Reads and writes one C value of `size` bytes at an offset. */
export interface Codec<T> {
  readonly size: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
}

export class TypedMap<K, V> {
  readonly map: BpfMap;
  readonly #key: Codec<K>;
  readonly #value: Codec<V>;

  constructor(map: BpfMap, key: Codec<K>, value: Codec<V>) {
    checkCodec(map, 'key', key.size, map.keySize);
    checkCodec(map, 'value', value.size, map.valueSize);
    this.map = map;
    this.#key = key;
    this.#value = value;
  }

  lookup(key: K): V | undefined {
    this.#requireSingle();
    const value = this.map.lookup(encode(this.#key, key));
    return value && decode(this.#value, value);
  }

  /** One value per possible CPU. */
  lookupPerCpu(key: K): V[] | undefined {
    return this.map.lookupPerCpu(encode(this.#key, key))?.map((value) => decode(this.#value, value));
  }

  update(key: K, value: V, flag: UpdateFlag = 'any'): void {
    this.map.update(encode(this.#key, key), encode(this.#value, value), flag);
  }

  /** False where the flag's condition does not hold. */
  tryUpdate(key: K, value: V, flag: UpdateFlag): boolean {
    return this.map.tryUpdate(encode(this.#key, key), encode(this.#value, value), flag);
  }

  delete(key: K): boolean {
    return this.map.delete(encode(this.#key, key));
  }

  /** Queues and stacks. */
  push(value: V): void {
    this.map.push(encode(this.#value, value));
  }

  /** Queues and stacks. */
  pop(): V | undefined {
    const value = this.map.pop();
    return value && decode(this.#value, value);
  }

  /** Whole map, read in batches. */
  *entries(batchSize?: number): IterableIterator<[K, V]> {
    this.#requireSingle();
    for (const { keys, values, count } of this.map.lookupBatch(batchSize)) {
      const keyView = viewOf(keys);
      const valueView = viewOf(values);
      for (let i = 0; i < count; i++) {
        yield [this.#key.read(keyView, i * this.#key.size), this.#value.read(valueView, i * this.#value.size)];
      }
    }
  }

  #requireSingle(): void {
    if (this.map.isPerCpu) throw new TypeError(`map ${this.map.name} has per-CPU values: use lookupPerCpu`);
  }
}

function checkCodec(map: BpfMap, what: string, codec: number, size: number): void {
  if (codec !== size) {
    throw new RangeError(`${what} codec for map ${map.name} has ${codec} bytes: the map has ${size}`);
  }
}

function encode<T>(codec: Codec<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.write(viewOf(bytes), 0, value);
  return bytes;
}

function decode<T>(codec: Codec<T>, bytes: Uint8Array): T {
  return codec.read(viewOf(bytes), 0);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
