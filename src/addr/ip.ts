// SPDX-License-Identifier: Apache-2.0
// Addresses and networks as the rest of gate64 holds them: an IPv4 address is a number (u32, host order) named `v4`, an
// IPv6 address a Uint8Array of 16 bytes named `v6`. Text is parsed and printed by ipaddr.js, strictly.

import { isIPv4, isIPv6 } from 'node:net';
import ipaddr from 'ipaddr.js';
import { Gate64Error } from '../errors.ts';

/** An IPv4 network; host bits of `v4` are zero. */
export interface Ip4Net {
  readonly v4: number;
  readonly length: number;
}

/** An IPv6 network; host bits of `v6` are zero. */
export interface Ip6Net {
  readonly v6: Uint8Array;
  readonly length: number;
}

/** An address and a port to listen on or to send to. `host` is canonical text without brackets. */
export interface Endpoint {
  readonly family: 4 | 6;
  readonly host: string;
  readonly port: number;
}

function invalid(text: string, expected: string): Gate64Error {
  return new Gate64Error('G64_ADDRESS_INVALID', `"${text}" is not ${expected}`);
}

/** Dotted quad → u32. Throws G64_ADDRESS_INVALID for anything else, such as "10.1" or "010.0.0.1". */
export function parseIp4(text: string): number {
  if (!isIPv4(text)) throw invalid(text, 'an IPv4 address');
  const [a, b, c, d] = ipaddr.IPv4.parse(text).octets as [number, number, number, number];
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

export function formatIp4(v4: number): string {
  return `${v4 >>> 24}.${(v4 >>> 16) & 255}.${(v4 >>> 8) & 255}.${v4 & 255}`;
}

export function ip4Octets(v4: number): Uint8Array {
  return Uint8Array.of(v4 >>> 24, v4 >>> 16, v4 >>> 8, v4);
}

/** IPv6 text (RFC 4291, a dotted-quad tail included) → 16 bytes. Zone identifiers are refused. */
export function parseIp6(text: string): Uint8Array {
  if (!isIPv6(text) || text.includes('%')) throw invalid(text, 'an IPv6 address');
  return Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray());
}

/** 16 bytes → RFC 5952 text. */
export function formatIp6(v6: Uint8Array): string {
  return new ipaddr.IPv6(Array.from(v6)).toRFC5952String();
}

export function ip4Mask(length: number): number {
  return length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
}

export function ip6Mask(length: number): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) => 0xff00 >> Math.max(0, Math.min(8, length - 8 * i)));
}

export function ip4InNet(v4: number, net: Ip4Net): boolean {
  return ((v4 ^ net.v4) & ip4Mask(net.length)) === 0;
}

export function ip6InNet(v6: Uint8Array, net: Ip6Net): boolean {
  const whole = net.length >> 3;
  for (let i = 0; i < whole; i++) if (v6[i] !== net.v6[i]) return false;
  const rest = net.length & 7;
  return rest === 0 || (((v6[whole] ?? 0) ^ (net.v6[whole] ?? 0)) & (0xff00 >> rest) & 0xff) === 0;
}

export function ip4NetsOverlap(a: Ip4Net, b: Ip4Net): boolean {
  return a.length <= b.length ? ip4InNet(b.v4, a) : ip4InNet(a.v4, b);
}

/** First and last address of a network. */
export function ip4NetRange(net: Ip4Net): [first: number, last: number] {
  return [net.v4, (net.v4 | (~ip4Mask(net.length) >>> 0)) >>> 0];
}

function splitLength(text: string, max: number, expected: string): [address: string, length: number] {
  const slash = text.indexOf('/');
  if (slash < 0) return [text, max];
  const digits = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > max) throw invalid(text, expected);
  return [text.slice(0, slash), Number(digits)];
}

/** "192.0.2.0/24", or one address, which is a /32. Host bits must be zero. */
export function parseIp4Net(text: string): Ip4Net {
  const expected = 'an IPv4 network such as 192.0.2.0/24';
  const [address, length] = splitLength(text, 32, expected);
  if (!isIPv4(address)) throw invalid(text, expected);
  const v4 = parseIp4(address);
  const network = (v4 & ip4Mask(length)) >>> 0;
  if (network !== v4) {
    throw invalid(text, `a network: bits beyond /${length} are set; ${formatIp4(network)}/${length} would be one`);
  }
  return { v4, length };
}

/** "2001:db8::/32", or one address, which is a /128. Host bits must be zero. */
export function parseIp6Net(text: string): Ip6Net {
  const expected = 'an IPv6 network such as 2001:db8::/32';
  const [address, length] = splitLength(text, 128, expected);
  if (!isIPv6(address) || address.includes('%')) throw invalid(text, expected);
  const v6 = parseIp6(address);
  const network = v6.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - i * 8))) & 0xff);
  if (!network.every((byte, i) => byte === v6[i])) {
    throw invalid(text, `a network: bits beyond /${length} are set; ${formatIp6(network)}/${length} would be one`);
  }
  return { v6, length };
}

export function formatIp4Net(net: Ip4Net): string {
  return `${formatIp4(net.v4)}/${net.length}`;
}

export function formatIp6Net(net: Ip6Net): string {
  return `${formatIp6(net.v6)}/${net.length}`;
}

/** "192.0.2.1:53" or "[2001:db8::1]:53". With `defaultPort` the port, and then the brackets, may be left out. */
export function parseEndpoint(text: string, defaultPort?: number): Endpoint {
  const expected = 'an address with a port such as 192.0.2.1:53 or [2001:db8::1]:53';
  if (defaultPort !== undefined) {
    const bare = text.replace(/^\[(.*)\]$/, '$1');
    if (isIPv4(bare)) return { family: 4, host: bare, port: defaultPort };
    if (isIPv6(bare) && !bare.includes('%')) return { family: 6, host: formatIp6(parseIp6(bare)), port: defaultPort };
  }
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port < 1 || port > 65535) throw invalid(text, expected);
  if (match[1] !== undefined) {
    if (!isIPv6(match[1]) || match[1].includes('%')) throw invalid(text, expected);
    return { family: 6, host: formatIp6(parseIp6(match[1])), port };
  }
  if (!isIPv4(match[2] ?? '')) throw invalid(text, expected);
  return { family: 4, host: match[2] ?? '', port };
}

/** As parseEndpoint; a link-local IPv6 address may have a zone, "fe80::1%eth0", which then stands in `host` (RFC 4007). */
export function parseZonedEndpoint(text: string, defaultPort: number): Endpoint {
  const zone = /%[A-Za-z0-9_.@-]{1,15}(?=\]|$)/.exec(text)?.[0];
  if (zone === undefined) return parseEndpoint(text, defaultPort);
  const endpoint = parseEndpoint(text.replace(zone, ''), defaultPort);
  const isLinkLocal = endpoint.family === 6 && ip6InNet(parseIp6(endpoint.host), parseIp6Net('fe80::/10'));
  if (!isLinkLocal) throw invalid(text, 'a link-local address, which alone have zones');
  return { ...endpoint, host: endpoint.host + zone };
}

/** Address or name, and port, as in a URL: what has colons is in brackets. */
export function formatEndpoint({ host, port }: Pick<Endpoint, 'host' | 'port'>): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
