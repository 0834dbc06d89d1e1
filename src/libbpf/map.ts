// SPDX-License-Identifier: Apache-2.0
// A BPF map behind a descriptor: lookup, update, delete, queues, per-CPU values, iteration. Every buffer's size is
// checked here, because nobody below does: a short one would let the kernel write past its end.

import { closeSync } from 'node:fs';
import { checkInt, checkRoom, checkSized, checkString, checkU32 } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { infoOf, openPinnedFd, pinFd } from './fd.ts';
import type { MapTypeName } from './kinds.ts';
import { mapTypes } from './kinds.ts';
import { mapCreateOpts, mapInfo, StructBuffer } from './layouts.ts';
import type { UpdateFlag } from './kinds.ts';
import type { MapBatch } from './map-batch.ts';
import { deleteBatch, lookupBatch, updateBatch } from './map-batch.ts';

export interface MapShape {
  name: string;
  /** `enum bpf_map_type`. */
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
}

export interface MapCreateOptions {
  type: MapTypeName | number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  /** `map_flags`, see `mapFlags`. */
  flags?: number;
  /** At most 15 characters, the kernel's limit. */
  name?: string;
  /** Template of the values of a map of maps. */
  innerMap?: BpfMap;
}

const updateFlags: Readonly<Record<UpdateFlag, number>> = { any: 0, noexist: 1, exist: 2 };
const perCpuTypes = new Set<number>([mapTypes.perCpuHash, mapTypes.perCpuArray, mapTypes.lruPerCpuHash]);
const EEXIST = 17;
const ENOENT = 2;

/**
 * A map. Made by `create`, `openPinned`, `fromId` (these own their descriptor: dispose them) or `BpfObject.map`
 * (the object owns it). Failing calls throw LibbpfError with the errno's name as code.
 */
export class BpfMap implements Disposable {
  protected shape: MapShape;
  #fd: number;
  #id = 0;
  readonly #owned: boolean;

  /** Use the factories; `owned` says whether dispose closes the descriptor. */
  protected constructor(shape: MapShape, fd: number, owned: boolean) {
    this.shape = shape;
    this.#fd = fd;
    this.#owned = owned;
  }

  /** Creates a map of its own, without an object. */
  static create(options: MapCreateOptions): BpfMap {
    const type = typeof options.type === 'string' ? mapTypes[options.type] : options.type;
    checkInt('map type', type, 1, 0xffff);
    checkU32('keySize', options.keySize);
    checkU32('valueSize', options.valueSize);
    checkU32('maxEntries', options.maxEntries);
    const name = options.name ?? null;
    if (name !== null && checkString('map name', name).length > 15) {
      throw new RangeError(`map name ${name} has ${name.length} characters: the kernel takes 15`);
    }
    const opts = new StructBuffer(mapCreateOpts).set('map_flags', checkU32('flags', options.flags ?? 0));
    if (options.innerMap) opts.set('inner_map_fd', options.innerMap.fd);
    const { keySize, valueSize, maxEntries } = options;
    const fd = libbpf().mapCreate(type, name, keySize, valueSize, maxEntries, opts.bytes);
    if (fd < 0) throw systemError(`cannot create map ${name ?? '(unnamed)'}`, fd);
    return BpfMap.#fromFd(fd, 'new map');
  }

  /** Opens a map pinned in a bpffs. */
  static openPinned(path: string): BpfMap {
    return BpfMap.#fromFd(openPinnedFd(path, 'map'), `map pinned at ${path}`);
  }

  /** Opens a map by the kernel's id, as in the values of a map of maps. */
  static fromId(id: number): BpfMap {
    const fd = libbpf().mapFdById(checkU32('map id', id));
    if (fd < 0) throw systemError(`cannot open map with id ${id}`, fd);
    return BpfMap.#fromFd(fd, `map with id ${id}`);
  }

  static #fromFd(fd: number, what: string): BpfMap {
    try {
      return new BpfMap(shapeOf(fd, what), fd, true);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  get name(): string {
    return this.shape.name;
  }

  /** `enum bpf_map_type`. */
  get type(): number {
    return this.shape.type;
  }

  get keySize(): number {
    return this.shape.keySize;
  }

  /** Size of one value; a per-CPU map moves `valueBytes` at a time. */
  get valueSize(): number {
    return this.shape.valueSize;
  }

  get maxEntries(): number {
    return this.shape.maxEntries;
  }

  get isPerCpu(): boolean {
    return perCpuTypes.has(this.shape.type);
  }

  /** Bytes of one value as the kernel copies it: per CPU rounded up to 8 in a per-CPU map. */
  get valueBytes(): number {
    return this.isPerCpu ? perCpuStride(this.valueSize) * possibleCpus() : this.valueSize;
  }

  /** Open descriptor. Throws LibbpfError `LIBBPF_STATE` before load and after close. */
  get fd(): number {
    if (this.#fd < 0) throw new LibbpfError('LIBBPF_STATE', `map ${this.name} is not loaded or already closed`);
    return this.#fd;
  }

  /** Kernel's id of the map. */
  get id(): number {
    if (this.#id === 0) this.#id = infoOf(this.fd, mapInfo, `map ${this.name}`).u32('id');
    return this.#id;
  }

  /** Copy of the value, undefined if there is none. Per-CPU maps: all CPUs' values, `valueBytes` long. */
  lookup(key: Uint8Array): Uint8Array | undefined {
    const value = Buffer.alloc(this.valueBytes);
    return this.#lookup(key, value) ? value : undefined;
  }

  /** Writes the value to the start of `out` (at least `valueBytes` long); false if there is none. */
  lookupInto(key: Uint8Array, out: Uint8Array): boolean {
    return this.#lookup(key, checkRoom(`output for map ${this.name}`, out, this.valueBytes));
  }

  /** One value per possible CPU, each `valueSize` long. Throws TypeError for a map without per-CPU values. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | undefined {
    if (!this.isPerCpu) throw new TypeError(`map ${this.name} has no per-CPU values: use lookup`);
    const all = this.lookup(key);
    if (!all) return undefined;
    const stride = perCpuStride(this.valueSize);
    return Array.from({ length: possibleCpus() }, (_, cpu) =>
      all.subarray(cpu * stride, cpu * stride + this.valueSize),
    );
  }

  /** Throws LibbpfError: `EEXIST` ('noexist' and present), `ENOENT` ('exist' and absent), `E2BIG` (full), … */
  update(key: Uint8Array | null, value: Uint8Array, flag: UpdateFlag = 'any'): void {
    const result = this.#update(key, value, flag);
    if (result < 0) throw systemError(`cannot update map ${this.name}`, result);
  }

  /** As `update`, but false where the flag's condition ('noexist', 'exist') does not hold; other failures throw. */
  tryUpdate(key: Uint8Array | null, value: Uint8Array, flag: UpdateFlag): boolean {
    const result = this.#update(key, value, flag);
    if (result >= 0) return true;
    if ((flag === 'noexist' && result === -EEXIST) || (flag === 'exist' && result === -ENOENT)) return false;
    throw systemError(`cannot update map ${this.name}`, result);
  }

  /** False if there was no such key. */
  delete(key: Uint8Array): boolean {
    const result = libbpf().mapDelete(this.fd, this.#key(key));
    if (result === -ENOENT) return false;
    if (result < 0) throw systemError(`cannot delete from map ${this.name}`, result);
    return true;
  }

  /** Takes a value out in one step: hash maps since Linux 5.14; undefined if there is none. */
  lookupAndDelete(key: Uint8Array): Uint8Array | undefined {
    return this.#take(this.#key(key));
  }

  /** Adds to a queue or stack. Throws LibbpfError `E2BIG` when it is full. */
  push(value: Uint8Array): void {
    this.update(null, value);
  }

  /** Takes from a queue or stack; undefined when it is empty. */
  pop(): Uint8Array | undefined {
    this.#requireKeyless('pop');
    return this.#take(null);
  }

  /** The value `pop` would give, left in place. */
  peek(): Uint8Array | undefined {
    this.#requireKeyless('peek');
    const value = Buffer.alloc(this.valueBytes);
    return this.#lookup(null, value) ? value : undefined;
  }

  /** Key after `key`, the first one for null, undefined at the end. A key gone meanwhile restarts at the first. */
  nextKey(key: Uint8Array | null): Uint8Array | undefined {
    const next = Buffer.alloc(this.keySize);
    const result = libbpf().mapNextKey(this.fd, key === null ? null : this.#key(key), next);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw systemError(`cannot iterate map ${this.name}`, result);
    return next;
  }

  /**
   * All keys. The current key may be deleted while iterating. When others change the map meanwhile, keys may come
   * twice or be missed; the walk ends after twice `maxEntries` steps in any case.
   */
  *keys(): IterableIterator<Uint8Array> {
    let key = this.nextKey(null);
    for (let steps = 0; key && steps <= 2 * this.maxEntries; steps++) {
      const next = this.nextKey(key);
      yield key;
      key = next;
    }
  }

  /** Keys with their values; keys deleted between the two calls are left out. */
  *entries(): IterableIterator<[Uint8Array, Uint8Array]> {
    for (const key of this.keys()) {
      const value = this.lookup(key);
      if (value) yield [key, value];
    }
  }

  /** Whole map in batches of up to `batchSize`, key by key where the kernel has no batches for this type. */
  lookupBatch(batchSize = 4096): IterableIterator<MapBatch> {
    return lookupBatch(this, checkInt('batchSize', batchSize, 1, 1 << 20));
  }

  /** Writes `count` entries lying one after another. Throws after a partial update if one is refused. */
  updateBatch(keys: Uint8Array, values: Uint8Array, count: number, flag: UpdateFlag = 'any'): void {
    updateBatch(this, keys, values, checkInt('count', count, 0, 0x7fffffff), flag);
  }

  /** Deletes `count` keys lying one after another; absent ones are skipped. Gives the number deleted. */
  deleteBatch(keys: Uint8Array, count: number): number {
    return deleteBatch(this, keys, checkInt('count', count, 0, 0x7fffffff));
  }

  /** Pins below a mounted bpffs. Removing the pin is unlink(2). */
  pin(path: string): void {
    pinFd(this.fd, path, `map ${this.name}`);
  }

  /** Closes the descriptor if this instance owns it; further calls throw. */
  close(): void {
    if (this.#fd >= 0 && this.#owned) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** For the owning object: the descriptor after load, -1 after close. */
  protected bind(fd: number): void {
    this.#fd = fd;
    this.#id = 0;
  }

  #key(key: Uint8Array): Uint8Array {
    return checkSized(`key for map ${this.name}`, key, this.keySize);
  }

  #requireKeyless(call: string): void {
    if (this.keySize !== 0) throw new TypeError(`map ${this.name} has keys: ${call} is for queues and stacks`);
  }

  #lookup(key: Uint8Array | null, out: Uint8Array): boolean {
    const result = libbpf().mapLookup(this.fd, key === null ? null : this.#key(key), out);
    if (result === -ENOENT) return false;
    if (result < 0) throw systemError(`cannot look up in map ${this.name}`, result);
    return true;
  }

  #take(key: Uint8Array | null): Uint8Array | undefined {
    const value = Buffer.alloc(this.valueBytes);
    const result = libbpf().mapLookupAndDelete(this.fd, key, value);
    if (result === -ENOENT) return undefined;
    if (result < 0) throw systemError(`cannot take from map ${this.name}`, result);
    return value;
  }

  #update(key: Uint8Array | null, value: Uint8Array, flag: UpdateFlag): number {
    const bits = updateFlags[flag];
    if (bits === undefined) throw new TypeError(`update flag is ${flag}: expected 'any', 'noexist' or 'exist'`);
    if (key === null && this.keySize !== 0) throw new TypeError(`map ${this.name} has keys: null is for queues`);
    checkSized(`value for map ${this.name}`, value, this.valueBytes);
    return libbpf().mapUpdate(this.fd, key === null ? null : this.#key(key), value, bits);
  }
}

/** Number of possible CPUs, the count of values in a per-CPU map. */
export function possibleCpus(): number {
  if (cpus === 0) {
    const found = libbpf().possibleCpus();
    if (found < 1) throw systemError('cannot read the number of possible CPUs', found);
    cpus = found;
  }
  return cpus;
}
let cpus = 0;

function perCpuStride(valueSize: number): number {
  return Math.ceil(valueSize / 8) * 8;
}

/** Shape of the map behind a descriptor, from the kernel. */
export function shapeOf(fd: number, what: string): MapShape {
  const info = infoOf(fd, mapInfo, what);
  return {
    name: info.text('name'),
    type: info.u32('type'),
    keySize: info.u32('key_size'),
    valueSize: info.u32('value_size'),
    maxEntries: info.u32('max_entries'),
  };
}
