// SPDX-License-Identifier: Apache-2.0
// Batched map calls (BPF_MAP_*_BATCH), each with the key-by-key way for map types the kernel has no batches for.

import { checkRoom } from './check.ts';
import { systemError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { batchOpts, StructBuffer } from './layouts.ts';
import type { UpdateFlag } from './kinds.ts';

/** What these calls need of a map. */
export interface BatchMap {
  readonly name: string;
  readonly fd: number;
  readonly maxEntries: number;
  readonly keySize: number;
  readonly valueBytes: number;
  entries(): IterableIterator<[Uint8Array, Uint8Array]>;
  update(key: Uint8Array, value: Uint8Array, flag: UpdateFlag): void;
  delete(key: Uint8Array): boolean;
}

/** `count` keys of `keySize` and values of `valueBytes`, each lying one after another. */
export interface MapBatch {
  keys: Uint8Array;
  values: Uint8Array;
  count: number;
}

const ENOENT = 2;
const ENOSPC = 28;
const EINVAL = 22;
const EOPNOTSUPP = 95;
const ENOTSUPP = 524;

const unsupported = (result: number): boolean => result === -EINVAL || result === -EOPNOTSUPP || result === -ENOTSUPP;

/** Whole map; each batch has memory of its own. */
export function* lookupBatch(map: BatchMap, batchSize: number): IterableIterator<MapBatch> {
  const { keySize, valueBytes } = map;
  let size = Math.max(1, Math.min(batchSize, map.maxEntries));
  // The cursor is a bucket number or a whole key, depending on the type; 8 bytes is the least the kernel writes into.
  let cursor = Buffer.alloc(Math.max(8, keySize));
  let next = Buffer.alloc(cursor.length);
  let first = true;
  // A hash map's cursor only moves forward; where it is a key (tries), one deleted meanwhile restarts the walk, so the
  // total is bounded.
  for (let total = 0; total <= 2 * map.maxEntries;) {
    const keys = Buffer.allocUnsafe(size * keySize);
    const values = Buffer.allocUnsafe(size * valueBytes);
    const count = new Uint32Array([size]);
    const result = libbpf().mapLookupBatch(map.fd, first ? null : cursor, next, keys, values, count, null);
    if (result === -ENOSPC && size <= map.maxEntries) {
      // One hash bucket holds more than fits: take it again with more room.
      size *= 2;
      continue;
    }
    if (first && unsupported(result)) {
      yield* lookupSingly(map, size);
      return;
    }
    // ENOENT marks the end and still comes with a valid count.
    if (result < 0 && result !== -ENOENT) throw systemError(`cannot read map ${map.name} in batches`, result);
    const got = count[0] ?? 0;
    total += got;
    if (got > 0)
      yield { keys: keys.subarray(0, got * keySize), values: values.subarray(0, got * valueBytes), count: got };
    if (result === -ENOENT) return;
    [cursor, next] = [next, cursor];
    first = false;
  }
}

export function updateBatch(
  map: BatchMap,
  keys: Uint8Array,
  values: Uint8Array,
  count: number,
  flag: UpdateFlag,
): void {
  const { keySize, valueBytes } = map;
  checkRoom(`keys for map ${map.name}`, keys, count * keySize);
  checkRoom(`values for map ${map.name}`, values, count * valueBytes);
  if (count === 0) return;
  const opts = new StructBuffer(batchOpts).set('elem_flags', { any: 0, noexist: 1, exist: 2 }[flag]);
  const done = new Uint32Array([count]);
  const result = libbpf().mapUpdateBatch(map.fd, keys, values, done, opts.bytes);
  if (result >= 0) return;
  if (!unsupported(result)) {
    throw systemError(`cannot update map ${map.name} in a batch (${done[0]} of ${count} written)`, result);
  }
  for (let i = 0; i < count; i++) {
    map.update(slice(keys, i, keySize), slice(values, i, valueBytes), flag);
  }
}

export function deleteBatch(map: BatchMap, keys: Uint8Array, count: number): number {
  const { keySize } = map;
  checkRoom(`keys for map ${map.name}`, keys, count * keySize);
  let deleted = 0;
  // The kernel stops at the first absent key; go on behind it. Each round passes at least one key.
  for (let at = 0; at < count;) {
    const done = new Uint32Array([count - at]);
    const result = libbpf().mapDeleteBatch(map.fd, keys.subarray(at * keySize, count * keySize), done, null);
    if (result < 0 && unsupported(result)) {
      for (; at < count; at++) if (map.delete(slice(keys, at, keySize))) deleted++;
      return deleted;
    }
    if (result < 0 && result !== -ENOENT) throw systemError(`cannot delete from map ${map.name} in a batch`, result);
    const got = Math.min(done[0] ?? 0, count - at);
    deleted += got;
    at += result < 0 ? got + 1 : count - at;
  }
  return deleted;
}

function* lookupSingly(map: BatchMap, size: number): IterableIterator<MapBatch> {
  let keys: Uint8Array[] = [];
  let values: Uint8Array[] = [];
  for (const [key, value] of map.entries()) {
    keys.push(key);
    values.push(value);
    if (keys.length < size) continue;
    yield { keys: Buffer.concat(keys), values: Buffer.concat(values), count: keys.length };
    keys = [];
    values = [];
  }
  if (keys.length > 0) yield { keys: Buffer.concat(keys), values: Buffer.concat(values), count: keys.length };
}

function slice(bytes: Uint8Array, index: number, size: number): Uint8Array {
  return bytes.subarray(index * size, (index + 1) * size);
}
