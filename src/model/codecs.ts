// SPDX-License-Identifier: Apache-2.0
// Codecs of single numbers in maps, and what the generated codecs of structs are made with.

interface Codec<T> {
  readonly size: number;
  read(view: DataView, offset: number): T;
  write(view: DataView, offset: number, value: T): void;
}

export const u8Codec: Codec<number> = {
  size: 1,
  read: (view, offset) => view.getUint8(offset),
  write: (view, offset, value) => view.setUint8(offset, value),
};

export const u32Codec: Codec<number> = {
  size: 4,
  read: (view, offset) => view.getUint32(offset, true),
  write: (view, offset, value) => view.setUint32(offset, value, true),
};

export const u64Codec: Codec<bigint> = {
  size: 8,
  read: (view, offset) => view.getBigUint64(offset, true),
  write: (view, offset, value) => view.setBigUint64(offset, value, true),
};

export const s64Codec: Codec<bigint> = { ...u64Codec, read: (view, offset) => view.getBigInt64(offset, true) };

/** Addresses in network order. */
export const be32Codec: Codec<number> = {
  size: 4,
  read: (view, offset) => view.getUint32(offset, false),
  write: (view, offset, value) => view.setUint32(offset, value, false),
};

export function clear(view: DataView, offset: number, size: number): void {
  new Uint8Array(view.buffer, view.byteOffset + offset, size).fill(0);
}

export function bytes(view: DataView, offset: number, size: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + offset, size).slice();
}

export function setBytes(view: DataView, offset: number, value: Uint8Array, size: number): void {
  if (value.length !== size) throw new RangeError(`${value.length} bytes where ${size} are wanted`);
  new Uint8Array(view.buffer, view.byteOffset + offset, size).set(value);
}

export function repeat<T>(count: number, element: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => element(i));
}
