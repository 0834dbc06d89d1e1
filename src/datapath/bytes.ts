// SPDX-License-Identifier: Apache-2.0
// Structs to bytes and back, for calls that take raw keys and values.

import type { BpfMap } from '../libbpf/mod.ts';

interface Encoder<T> {
  readonly size: number;
  write(view: DataView, offset: number, value: T): void;
}

export function encode<T>(codec: Encoder<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.write(viewOf(bytes), 0, value);
  return bytes;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Makes a map's content exactly `wanted`: first adds, then removes, so that nothing wanted is ever missing. A map that has
 * no room for both at once loses first what is not wanted.
 */
export function replaceAll(map: BpfMap, wanted: readonly { key: Uint8Array; value: Uint8Array }[]): void {
  const keep = new Set<string>();
  for (const { key } of wanted) keep.add(Buffer.from(key).toString('hex'));
  const stale = [...map.keys()].filter((key) => !keep.has(Buffer.from(key).toString('hex')));
  const removeFirst = wanted.length + stale.length > map.maxEntries;
  const remove = () => {
    for (const key of stale) map.delete(key);
  };
  if (removeFirst) remove();
  for (const { key, value } of wanted) map.update(key, value);
  if (!removeFirst) remove();
}
