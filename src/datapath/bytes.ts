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

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

/**
 * Makes a map's content exactly `wanted`: first adds, then removes, so that nothing wanted is ever missing. A map that has
 * no room for both at once loses first what is not wanted. What is right already is not written; `beforeWriting` is called
 * where something is not.
 */
export function replaceAll(
  map: BpfMap,
  wanted: readonly { key: Uint8Array; value: Uint8Array }[],
  beforeWriting?: () => void,
): void {
  const hex = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
  const keep = new Set<string>();
  for (const { key } of wanted) keep.add(hex(key));
  const present = new Map([...map.entries()].map(([key, value]) => [hex(key), { key, value }]));
  const stale = [...present].filter(([name]) => !keep.has(name)).map(([, { key }]) => key);
  const wrong = wanted.filter(({ key, value }) => {
    const there = present.get(hex(key));
    return there === undefined || !sameBytes(there.value, value);
  });
  if (stale.length + wrong.length > 0) beforeWriting?.();
  const removeFirst = wanted.length + stale.length > map.maxEntries;
  const remove = () => {
    for (const key of stale) map.delete(key);
  };
  if (removeFirst) remove();
  for (const { key, value } of wrong) map.update(key, value);
  if (!removeFirst) remove();
}
