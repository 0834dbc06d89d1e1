// SPDX-License-Identifier: Apache-2.0
// The text of an address as Node's own sockets give it, made once for clients that are heard again and again.

import { socketCalls } from './ffi.ts';

export const AF_INET = 2;
export const AF_INET6 = 10;
/** A power of two. */
const SLOTS = 1024;
const WORDS = 5;

/** Words are those of an address in memory, read in this machine's order; IPv4 has the first alone. */
export class AddressTexts {
  readonly #family: number;
  readonly #words = new Uint32Array(SLOTS * WORDS);
  readonly #texts: (string | undefined)[] = Array.from({ length: SLOTS }, () => undefined);

  constructor(family: number) {
    this.#family = family;
  }

  /** One slot for each hash: who was heard last has it. */
  text(a: number, b: number, c: number, d: number, zone: number): string {
    let hash = a ^ Math.imul(b, 0x85ebca6b) ^ Math.imul(c, 0xc2b2ae35) ^ Math.imul(d, 0x9e3779b1) ^ zone;
    hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
    const slot = (hash ^ (hash >>> 16)) & (SLOTS - 1);
    const words = this.#words;
    const at = slot * WORDS;
    const known = this.#texts[slot];
    if (
      known !== undefined &&
      words[at] === a &&
      words[at + 1] === b &&
      words[at + 2] === c &&
      words[at + 3] === d &&
      words[at + 4] === zone
    ) {
      return known;
    }
    const text = addressText(this.#family, a, b, c, d, zone);
    words[at] = a;
    words[at + 1] = b;
    words[at + 2] = c;
    words[at + 3] = d;
    words[at + 4] = zone;
    this.#texts[slot] = text;
    return text;
  }
}

export function addressText(family: number, a: number, b: number, c: number, d: number, zone: number): string {
  const out = Buffer.alloc(64);
  socketCalls().inetNtop(family, new Uint8Array(Uint32Array.of(a, b, c, d).buffer), out, out.length);
  const bare = cString(out);
  if (family !== AF_INET6 || zone === 0 || !isLinkLocal(a)) return bare;
  const name = Buffer.alloc(16);
  return `${bare}%${socketCalls().ifIndexToName(zone, name) === null ? zone : cString(name)}`;
}

/** fe80::/10 by the first word, little-endian. */
export function isLinkLocal(firstWord: number): boolean {
  return (firstWord & 0xc0ff) === 0x80fe;
}

function cString(bytes: Buffer): string {
  return bytes.toString('latin1', 0, bytes.indexOf(0));
}
