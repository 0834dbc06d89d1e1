// SPDX-License-Identifier: Apache-2.0
// Builds packets layer by layer (`eth().ip6({…}).udp({…}).payload('…').build()`).
// Lengths, next-header values and checksums are filled in unless a test sets them; the arithmetic is independent of bpf/.

import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';

export const ETHERNET_BYTES = 14;
export const PROTO = {
  hopByHop: 0,
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  routing: 43,
  fragment: 44,
  esp: 50,
  ah: 51,
  icmp6: 58,
  none: 59,
  destination: 60,
  sctp: 132,
} as const;
export const TCP = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32 } as const;

type Bytes = Uint8Array;
type Address = string | Bytes;

export interface Ip4Fields {
  src: string;
  dst: string;
  tos?: number;
  id?: number;
  ttl?: number;
  df?: boolean;
  mf?: boolean;
  /** In units of 8 bytes. */
  offset?: number;
  options?: Bytes;
  protocol?: number;
  totalLength?: number;
  checksum?: number;
}

export interface Ip6Fields {
  src: Address;
  dst: Address;
  trafficClass?: number;
  flowLabel?: number;
  hopLimit?: number;
  nextHeader?: number;
  payloadLength?: number;
}

export interface TcpFields {
  sport: number;
  dport: number;
  flags?: number;
  seq?: number;
  ack?: number;
  window?: number;
  /** Whole words of 32 bits. */
  options?: Bytes;
  checksum?: number;
}

export interface UdpFields {
  sport: number;
  dport: number;
  length?: number;
  checksum?: number;
}

export interface IcmpFields {
  type: number;
  code?: number;
  /** Second word of the header: identifier and sequence number, MTU, pointer. */
  rest?: number;
  checksum?: number;
}

export interface FragmentFields {
  offset?: number;
  more?: boolean;
  id: number;
  nextHeader?: number;
  reserved?: number;
}

// ---- checksums (RFC 1071) ----

export function sum16(bytes: Bytes, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

const checksum = (bytes: Bytes, start = 0): number => ~sum16(bytes, start) & 0xffff;

/** Sum of the pseudo-header of either family. */
export function pseudoSum(ip: Pick<IpContext, 'src' | 'dst'>, protocol: number, length: number): number {
  return sum16(ip.dst, sum16(ip.src)) + protocol + (length & 0xffff) + (length >>> 16);
}

// ---- layers ----

interface IpContext {
  version: 4 | 6;
  src: Bytes;
  dst: Bytes;
}

interface Layer {
  /** What an outer header calls this one: an IP protocol number, or an EtherType for the IP headers. */
  readonly number: number;
  readonly ip?: IpContext;
  encode(inner: Bytes, innerNumber: number, ip: IpContext | undefined): Bytes;
}

const u16 = (...values: number[]): Bytes => Uint8Array.from(values.flatMap((v) => [(v >> 8) & 0xff, v & 0xff]));
const u32 = (...values: number[]): Bytes =>
  Uint8Array.from(values.flatMap((v) => [(v >>> 24) & 0xff, (v >>> 16) & 0xff, (v >>> 8) & 0xff, v & 0xff]));
export const concat = (...parts: Bytes[]): Bytes => new Uint8Array(Buffer.concat(parts));
export const hex = (bytes: Bytes): string => Buffer.from(bytes).toString('hex');
export const fromHex = (text: string): Bytes => new Uint8Array(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));

function ip4Bytes(address: string): Bytes {
  return u32(parseIp4(address));
}

const ip6Bytes = (address: Address): Bytes => (typeof address === 'string' ? parseIp6(address) : address);

function ethernet(): Layer {
  return { number: -1, encode: (inner, number) => concat(new Uint8Array(12), u16(number), inner) };
}

function ip4(fields: Ip4Fields): Layer {
  const ip: IpContext = { version: 4, src: ip4Bytes(fields.src), dst: ip4Bytes(fields.dst) };
  return {
    number: 0x0800,
    ip,
    encode(inner, innerNumber) {
      const options = fields.options ?? new Uint8Array(0);
      if (options.length % 4 !== 0) throw new RangeError('IPv4 options are padded to words');
      const headerBytes = 20 + options.length;
      const fragment = (fields.df ? 0x4000 : 0) | (fields.mf ? 0x2000 : 0) | (fields.offset ?? 0);
      const header = concat(
        Uint8Array.of(0x40 | (headerBytes / 4), fields.tos ?? 0),
        u16(fields.totalLength ?? headerBytes + inner.length, fields.id ?? 0, fragment),
        Uint8Array.of(fields.ttl ?? 64, fields.protocol ?? innerNumber, 0, 0),
        ip.src,
        ip.dst,
        options,
      );
      header.set(u16(fields.checksum ?? checksum(header)), 10);
      return concat(header, inner);
    },
  };
}

function ip6(fields: Ip6Fields): Layer {
  const ip: IpContext = { version: 6, src: ip6Bytes(fields.src), dst: ip6Bytes(fields.dst) };
  return {
    number: 0x86dd,
    ip,
    encode: (inner, innerNumber) =>
      concat(
        u32((0x60000000 | ((fields.trafficClass ?? 0) << 20) | (fields.flowLabel ?? 0)) >>> 0),
        u16(fields.payloadLength ?? inner.length),
        Uint8Array.of(fields.nextHeader ?? innerNumber, fields.hopLimit ?? 64),
        ip.src,
        ip.dst,
        inner,
      ),
  };
}

/** `body` follows the first two bytes; the length is rounded up to 8 bytes with Pad1 options. */
function extension(number: number, body: Bytes): Layer {
  const units = Math.ceil((body.length + 2) / 8);
  const padding = new Uint8Array(units * 8 - 2 - body.length);
  return {
    number,
    encode: (inner, innerNumber) => concat(Uint8Array.of(innerNumber, units - 1), body, padding, inner),
  };
}

function fragment(fields: FragmentFields): Layer {
  return {
    number: PROTO.fragment,
    encode: (inner, innerNumber) =>
      concat(
        Uint8Array.of(fields.nextHeader ?? innerNumber, fields.reserved ?? 0),
        u16(((fields.offset ?? 0) << 3) | (fields.more ? 1 : 0)),
        u32(fields.id),
        inner,
      ),
  };
}

function withChecksum(bytes: Bytes, at: number, given: number | undefined, start: number): Bytes {
  bytes.set(u16(given ?? checksum(bytes, start)), at);
  return bytes;
}

function udp(fields: UdpFields): Layer {
  return {
    number: PROTO.udp,
    encode(inner, _number, ip) {
      const length = fields.length ?? 8 + inner.length;
      const bytes = concat(u16(fields.sport, fields.dport, length, 0), inner);
      const computed = ip ? checksum(bytes, pseudoSum(ip, PROTO.udp, length)) || 0xffff : 0;
      return withChecksum(bytes, 6, fields.checksum ?? computed, 0);
    },
  };
}

function tcp(fields: TcpFields): Layer {
  const options = fields.options ?? new Uint8Array(0);
  return {
    number: PROTO.tcp,
    encode(inner, _number, ip) {
      const bytes = concat(
        u16(fields.sport, fields.dport),
        u32(fields.seq ?? 1, fields.ack ?? 0),
        u16(((5 + options.length / 4) << 12) | (fields.flags ?? TCP.ack), fields.window ?? 8192, 0, 0),
        options,
        inner,
      );
      return withChecksum(bytes, 16, fields.checksum, ip ? pseudoSum(ip, PROTO.tcp, bytes.length) : 0);
    },
  };
}

function icmp(number: number, fields: IcmpFields): Layer {
  return {
    number,
    encode(inner, _number, ip) {
      const bytes = concat(Uint8Array.of(fields.type, fields.code ?? 0, 0, 0), u32(fields.rest ?? 0), inner);
      const pseudo = number === PROTO.icmp6 && ip ? pseudoSum(ip, PROTO.icmp6, bytes.length) : 0;
      return withChecksum(bytes, 2, fields.checksum, pseudo);
    },
  };
}

/** Immutable: each call gives a longer packet, so that a prefix can be shared between cases. */
export class Packet {
  readonly #layers: readonly Layer[];

  constructor(layers: readonly Layer[] = []) {
    this.#layers = layers;
  }

  #with(layer: Layer): Packet {
    return new Packet([...this.#layers, layer]);
  }

  ip4 = (fields: Ip4Fields): Packet => this.#with(ip4(fields));
  ip6 = (fields: Ip6Fields): Packet => this.#with(ip6(fields));
  hopByHop = (body: Bytes = new Uint8Array(6)): Packet => this.#with(extension(PROTO.hopByHop, body));
  destinationOptions = (body: Bytes = new Uint8Array(6)): Packet => this.#with(extension(PROTO.destination, body));
  /** Type 0 with no address, unless `body` says otherwise. */
  routing = (segmentsLeft: number, body: Bytes = new Uint8Array(4)): Packet =>
    this.#with(extension(PROTO.routing, concat(Uint8Array.of(0, segmentsLeft), body)));
  fragment = (fields: FragmentFields): Packet => this.#with(fragment(fields));
  udp = (fields: UdpFields): Packet => this.#with(udp(fields));
  tcp = (fields: TcpFields): Packet => this.#with(tcp(fields));
  icmp4 = (fields: IcmpFields): Packet => this.#with(icmp(PROTO.icmp, fields));
  icmp6 = (fields: IcmpFields): Packet => this.#with(icmp(PROTO.icmp6, fields));
  /** ICMPv4 8/0 or, with `reply`, 0/0. */
  echo4 = (id: number, seq = 1, reply = false): Packet =>
    this.icmp4({ type: reply ? 0 : 8, rest: ((id << 16) | seq) >>> 0 });
  echo6 = (id: number, seq = 1, reply = false): Packet =>
    this.icmp6({ type: reply ? 129 : 128, rest: ((id << 16) | seq) >>> 0 });

  /** Bytes, ASCII text, or another packet from its IP header on, cut to `limit` bytes. */
  payload(content: Bytes | string | Packet, limit = Infinity): Packet {
    const whole =
      content instanceof Packet ? content.l3() : typeof content === 'string' ? Buffer.from(content, 'latin1') : content;
    const bytes = new Uint8Array(whole.subarray(0, Math.min(limit, whole.length)));
    return this.#with({ number: PROTO.none, encode: (inner) => concat(bytes, inner) });
  }

  build(): Bytes {
    let bytes: Bytes = new Uint8Array(0);
    let number: number = PROTO.none;
    for (let i = this.#layers.length - 1; i >= 0; i--) {
      const layer = this.#layers[i] as Layer;
      const ip = this.#layers.slice(0, i).findLast((outer) => outer.ip)?.ip;
      bytes = layer.encode(bytes, number, ip);
      number = layer.number;
    }
    return bytes;
  }

  /** From the IP header on. */
  l3(): Bytes {
    const bytes = this.build();
    return this.#layers[0]?.number === -1 ? bytes.slice(ETHERNET_BYTES) : bytes;
  }
}

/** A frame. */
export const eth = (): Packet => new Packet([ethernet()]);
/** A packet without a frame, to be quoted. */
export const bare = (): Packet => new Packet();
/** A frame around bytes that start with an IP header. */
export function frame(l3: Bytes): Bytes {
  return concat(new Uint8Array(12), u16((l3[0] ?? 0) >> 4 === 6 ? 0x86dd : 0x0800), l3);
}
