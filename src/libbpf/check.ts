// SPDX-License-Identifier: Apache-2.0
// Argument checks in front of every C call: koffi lets 1.5 pass as int and short buffers corrupt memory silently.

import { inspect } from 'node:util';

/** Throws TypeError unless `value` is an integer, RangeError unless it lies in min..max. */
export function checkInt(what: string, value: number, min: number, max: number): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    // Not String(): an object may have no way to become one.
    throw new TypeError(`${what} is ${inspect(value, { depth: 0 })}: expected an integer`);
  }
  if (value < min || value > max) throw new RangeError(`${what} is ${value}: expected ${min} to ${max}`);
  return value;
}

export function checkFd(what: string, value: number): number {
  return checkInt(what, value, 0, 0x7fffffff);
}

export function checkU32(what: string, value: number): number {
  return checkInt(what, value, 0, 0xffffffff);
}

/** Throws TypeError unless `value` is a Uint8Array (or Buffer). */
export function checkBytes(what: string, value: Uint8Array): Uint8Array {
  if (!(value instanceof Uint8Array)) throw new TypeError(`${what} is ${typeof value}: expected a Uint8Array`);
  return value;
}

/** Throws RangeError unless `value` has exactly `size` bytes. */
export function checkSized(what: string, value: Uint8Array, size: number): Uint8Array {
  if (checkBytes(what, value).length !== size) {
    throw new RangeError(`${what} has ${value.length} bytes: expected exactly ${size}`);
  }
  return value;
}

/** Throws RangeError if `value` has fewer than `size` bytes. */
export function checkRoom(what: string, value: Uint8Array, size: number): Uint8Array {
  if (checkBytes(what, value).length < size) {
    throw new RangeError(`${what} has ${value.length} bytes: at least ${size} are needed`);
  }
  return value;
}

/** Throws unless `value` is a non-empty string without NUL, which C would take for the end. */
export function checkString(what: string, value: string): string {
  if (typeof value !== 'string') throw new TypeError(`${what} is ${typeof value}: expected a string`);
  if (value === '' || value.includes('\0')) throw new RangeError(`${what} is empty or holds a NUL byte`);
  return value;
}

export function checkBoolean(what: string, value: boolean): boolean {
  if (typeof value !== 'boolean') throw new TypeError(`${what} is ${typeof value}: expected a boolean`);
  return value;
}
