// SPDX-License-Identifier: Apache-2.0
// Reads packets: fields, what is wrong with lengths and checksums, where two packets differ. Independent of bpf/.

import { hex, PROTO, pseudoSum, sum16 } from './packet.ts';

type Bytes = Uint8Array;

export interface Parsed {
  version: 4 | 6;
  src: Bytes;
  dst: Bytes;
  tos: number;
  ttl: number;
  /** As the header says it, from the IP header on. */
  length: number;
  protocol: number;
  id: number;
  df: boolean;
  more: boolean;
  offset: number;
  /** A fragment header was there (IPv6), or MF or an offset (IPv4). */
  fragmented: boolean;
  /** Transport header and what follows. */
  l4: Bytes;
}

/** Reads from the IP header on. Throws RangeError with what is wrong. */
export function parseIp(l3: Bytes): Parsed {
  const view = new DataView(l3.buffer, l3.byteOffset, l3.byteLength);
  if (l3.length < 20) throw new RangeError(`${l3.length} bytes hold no IP header`);
  if (view.getUint8(0) >> 4 === 4) {
    const headerBytes = (view.getUint8(0) & 15) * 4;
    const length = view.getUint16(2);
    if (headerBytes < 20 || length < headerBytes || length > l3.length) {
      throw new RangeError(`IPv4 header of ${headerBytes} bytes, total length ${length}, ${l3.length} bytes are there`);
    }
    const word = view.getUint16(6);
    return {
      version: 4,
      src: l3.slice(12, 16),
      dst: l3.slice(16, 20),
      tos: view.getUint8(1),
      ttl: view.getUint8(8),
      length,
      protocol: view.getUint8(9),
      id: view.getUint16(4),
      df: (word & 0x4000) !== 0,
      more: (word & 0x2000) !== 0,
      offset: word & 0x1fff,
      fragmented: (word & 0x3fff) !== 0,
      l4: l3.slice(headerBytes, length),
    };
  }
  if (l3.length < 40) throw new RangeError(`${l3.length} bytes hold no IPv6 header`);
  const length = 40 + view.getUint16(4);
  if (length > l3.length) throw new RangeError(`IPv6 packet of ${length} bytes, ${l3.length} are there`);
  let protocol = view.getUint8(6);
  let at = 40;
  const parsed: Parsed = {
    version: 6,
    src: l3.slice(8, 24),
    dst: l3.slice(24, 40),
    tos: (view.getUint32(0) >>> 20) & 0xff,
    ttl: view.getUint8(7),
    length,
    protocol,
    id: 0,
    df: false,
    more: false,
    offset: 0,
    fragmented: false,
    l4: l3,
  };
  while ([PROTO.hopByHop, PROTO.routing, PROTO.destination, PROTO.fragment].includes(protocol as 0)) {
    if (at + 8 > length) throw new RangeError('an extension header is cut short');
    if (protocol === PROTO.fragment) {
      const word = view.getUint16(at + 2);
      Object.assign(parsed, {
        fragmented: true,
        more: (word & 1) === 1,
        offset: word >> 3,
        id: view.getUint32(at + 4),
      });
    }
    const size = protocol === PROTO.fragment ? 8 : (view.getUint8(at + 1) + 1) * 8;
    protocol = view.getUint8(at);
    at += size;
  }
  return { ...parsed, protocol, l4: l3.slice(at, length) };
}

/** What is wrong with the checksums and lengths of an unfragmented packet, from its IP header on; empty: nothing. */
export function faults(l3: Bytes): string[] {
  const found: string[] = [];
  const ip = parseIp(l3);
  if (ip.length !== l3.length) found.push(`length ${ip.length} where ${l3.length} bytes are there`);
  if (ip.version === 4 && sum16(l3.slice(0, ((l3[0] ?? 0) & 15) * 4)) !== 0xffff) found.push('IPv4 header checksum');
  if (ip.fragmented && (ip.more || ip.offset > 0)) return found;
  const start = pseudoSum(ip, ip.protocol, ip.l4.length);
  const whole = sum16(ip.l4, start) === 0xffff;
  if (ip.protocol === PROTO.tcp && !whole) found.push('TCP checksum');
  if (ip.protocol === PROTO.icmp6 && !whole) found.push('ICMPv6 checksum');
  if (ip.protocol === PROTO.icmp && sum16(ip.l4) !== 0xffff) found.push('ICMP checksum');
  if (ip.protocol === PROTO.udp) {
    const none = ip.l4[6] === 0 && ip.l4[7] === 0;
    if (none ? ip.version === 6 : !whole) found.push('UDP checksum');
  }
  return found;
}

/** One line a header, for failures. */
export function describePacket(l3: Bytes): string {
  try {
    const ip = parseIp(l3);
    const fragments = ip.fragmented ? ` fragment(id ${ip.id} offset ${ip.offset}${ip.more ? ' more' : ''})` : '';
    return (
      `IPv${ip.version} ${hex(ip.src)} → ${hex(ip.dst)} tos ${ip.tos} ttl ${ip.ttl} length ${ip.length} protocol ` +
      `${ip.protocol}${ip.df ? ' DF' : ''}${fragments} l4 ${hex(ip.l4.slice(0, 20))}… ${faults(l3).join(', ')}`
    );
  } catch (error) {
    return String(error);
  }
}

/** Rows of 16 bytes that differ, one above the other; empty when nothing does. */
export function byteDiff(actual: Bytes, expected: Bytes): string {
  const rows: string[] = [];
  if (actual.length !== expected.length) rows.push(`${actual.length} bytes, expected ${expected.length}`);
  for (let at = 0; at < Math.max(actual.length, expected.length); at += 16) {
    const [a, e] = [hex(actual.slice(at, at + 16)), hex(expected.slice(at, at + 16))];
    if (a === e) continue;
    const marks = Array.from({ length: 32 }, (_, i) => (a[i] === e[i] ? ' ' : '^')).join('');
    const offset = at.toString(16).padStart(4, '0');
    rows.push(`${offset}  is   ${a}`, `      want ${e}`, `           ${marks.trimEnd()}`);
  }
  if (rows.length > 0) rows.push(`is   ${describePacket(actual)}`, `want ${describePacket(expected)}`);
  return rows.join('\n');
}
