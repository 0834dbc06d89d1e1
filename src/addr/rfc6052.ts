// SPDX-License-Identifier: Apache-2.0
// RFC 6052: IPv4-embedded IPv6 addresses. Pure functions over one prefix (Pref64::/n).

import { Gate64Error } from '../errors.ts';
import { formatIp6, formatIp6Net, ip6InNet, parseIp6Net, type Ip4Net, type Ip6Net } from './ip.ts';

/** The six lengths of RFC 6052 §2.2. */
export const PREFIX_LENGTHS = [32, 40, 48, 56, 64, 96] as const;

/** Where the four octets of the IPv4 address stand, per length (RFC 6052 §2.2; octet 8 is the zero `u` octet). */
const POSITIONS: Readonly<Record<number, readonly [number, number, number, number]>> = {
  32: [4, 5, 6, 7],
  40: [5, 6, 7, 9],
  48: [6, 7, 9, 10],
  56: [7, 9, 10, 11],
  64: [9, 10, 11, 12],
  96: [12, 13, 14, 15],
};

/** A translation prefix, checked: one of the six lengths, no host bits, bits 64–71 zero. */
export type Prefix64 = Ip6Net;

/** 64:ff9b::/96, RFC 6052 §2.1. */
export const WELL_KNOWN_PREFIX: Prefix64 = parseIp6Net('64:ff9b::/96');

function positions(prefix: Prefix64): readonly [number, number, number, number] {
  const at = POSITIONS[prefix.length];
  if (at === undefined) throw new RangeError(`no RFC 6052 prefix length: ${prefix.length}`);
  return at;
}

/** "64:ff9b::/96" → prefix. Throws G64_ADDRESS_INVALID saying what is wrong (RFC 6052 §2.1, §2.2). */
export function parsePrefix64(text: string): Prefix64 {
  const net = parseIp6Net(text);
  const fail = (expected: string) => new Gate64Error('G64_ADDRESS_INVALID', `"${text}" is not ${expected}`);
  if (POSITIONS[net.length] === undefined) {
    throw fail(`a translation prefix: its length must be one of ${PREFIX_LENGTHS.join(', ')} (RFC 6052)`);
  }
  if (net.v6[8] !== 0) throw fail('a translation prefix: bits 64 to 71 must be zero (RFC 6052)');
  const first = net.v6[0] ?? 0;
  if (first === 0xff) throw fail('a translation prefix: it is multicast');
  if (net.length < 96 && formatIp6(net.v6) === '64:ff9b::') {
    throw fail('the well-known prefix, which is 64:ff9b::/96 and no other length (RFC 6052)');
  }
  return net;
}

export const formatPrefix64 = formatIp6Net;

export function isWellKnownPrefix(prefix: Prefix64): boolean {
  return prefix.length === 96 && ip6InNet(prefix.v6, WELL_KNOWN_PREFIX);
}

/** RFC 6052 §2.3, compose: prefix, IPv4 address, zero suffix. */
export function embedIp4(prefix: Prefix64, v4: number): Uint8Array {
  const v6 = Uint8Array.from(prefix.v6);
  const at = positions(prefix);
  for (let i = 0; i < 4; i++) v6[at[i] as number] = (v4 >>> (24 - 8 * i)) & 255;
  return v6;
}

/** The part of the prefix that a network's addresses are embedded in, as a network. */
export function embedNet4(prefix: Prefix64, { v4, length }: Ip4Net): Ip6Net {
  // Eight bits more for the `u` octet, where it stands before the last of the network's bits.
  const bits = prefix.length + length;
  const isBeyondU = prefix.length < 96 && length > 0 && bits > 64;
  return { v6: embedIp4(prefix, v4), length: isBeyondU ? bits + 8 : bits };
}

/**
 * RFC 6052 §2.3, extract: the IPv4 address in `v6`, or undefined when `v6` lies outside the prefix or has a non-zero `u`
 * octet. Suffix bits are ignored (§2.2).
 */
export function extractIp4(prefix: Prefix64, v6: Uint8Array): number | undefined {
  if (!ip6InNet(v6, prefix)) return undefined;
  if (prefix.length < 96 && v6[8] !== 0) return undefined;
  return positions(prefix).reduce((v4, at) => ((v4 << 8) | (v6[at] ?? 0)) >>> 0, 0);
}

/** The first of `prefixes` that holds `v6`, with the IPv4 address in it. */
export function extractWithAny(
  prefixes: readonly Prefix64[],
  v6: Uint8Array,
): { prefix: Prefix64; v4: number } | undefined {
  for (const prefix of prefixes) {
    const v4 = extractIp4(prefix, v6);
    if (v4 !== undefined) return { prefix, v4 };
  }
  return undefined;
}
