// SPDX-License-Identifier: Apache-2.0
// Writes a message anew with some records dropped or replaced and every other octet kept: compression pointers follow
// what moved (RFC 1035 §4.1.4); RDATA of types that may not be compressed is copied blind (RFC 3597 §4).

import { HEADER_LENGTH, TYPE, malformed, skipName, type Message, type RecordAt, type Section } from './wire.ts';

/** A record to stand in the place of another, under the same owner and class. */
export interface Replacement {
  readonly type: number;
  readonly ttlSeconds: number;
  readonly rdata: Uint8Array;
}

export type Edit = 'keep' | 'drop' | readonly Replacement[];

const MAX_MESSAGE = 65535;
const MAX_POINTER = 0x3fff;

/** Types whose RDATA holds names that may be compressed: octets before them, and how many follow one another. */
const NAMES_IN: ReadonlyMap<number, readonly [before: number, names: number]> = new Map([
  [TYPE.NS, [0, 1]],
  [3, [0, 1]], // MD
  [4, [0, 1]], // MF
  [TYPE.CNAME, [0, 1]],
  [TYPE.SOA, [0, 2]],
  [7, [0, 1]], // MB
  [8, [0, 1]], // MG
  [9, [0, 1]], // MR
  [TYPE.PTR, [0, 1]],
  [14, [0, 2]], // MINFO
  [TYPE.MX, [2, 1]],
  [17, [0, 2]], // RP
  [18, [2, 1]], // AFSDB
  [21, [2, 1]], // RT
  [24, [18, 1]], // SIG
  [26, [2, 2]], // PX
  [30, [0, 1]], // NXT
  [TYPE.SRV, [6, 1]],
  [36, [2, 1]], // KX
  [TYPE.DNAME, [0, 1]],
]);

const NAPTR = 35;

function namesIn(bytes: Buffer, record: RecordAt): readonly [before: number, names: number] | undefined {
  if (record.type !== NAPTR) return NAMES_IN.get(record.type);
  let at = record.rdataAt + 4;
  for (let i = 0; i < 3; i++) at += 1 + (bytes[at] ?? 0);
  return [at - record.rdataAt, 1];
}

class Writer {
  readonly #from: Buffer;
  #out: Buffer;
  #length: number;
  /** Offset of a label in the old message → its offset in the new one, for names written so that they may be aimed at. */
  readonly #labels = new Map<number, number>();

  constructor(message: Message) {
    this.#from = message.bytes;
    this.#out = Buffer.allocUnsafe(Math.min(MAX_MESSAGE, message.bytes.length * 2 + 512));
    message.bytes.copy(this.#out, 0, 0, message.questionEnd);
    this.#length = message.questionEnd;
    for (let at = HEADER_LENGTH; at < message.nameEnd; at += (message.bytes[at] as number) + 1)
      this.#labels.set(at, at);
  }

  get length(): number {
    return this.#length;
  }

  finish(counts: Readonly<Record<Section, number>>): Buffer {
    this.#out.writeUInt16BE(counts.answer, 6);
    this.#out.writeUInt16BE(counts.authority, 8);
    this.#out.writeUInt16BE(counts.additional, 10);
    return Buffer.from(this.#out.subarray(0, this.#length));
  }

  #reserve(octets: number): number {
    const at = this.#length;
    this.#length += octets;
    if (this.#length > MAX_MESSAGE) throw malformed('it does not fit 65535 octets after synthesis');
    if (this.#length > this.#out.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_MESSAGE, this.#length * 2));
      this.#out.copy(larger, 0, 0, at);
      this.#out = larger;
    }
    return at;
  }

  copy(start: number, end: number): void {
    const at = this.#reserve(end - start);
    this.#from.copy(this.#out, at, start, end);
  }

  append(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#out.set(bytes, at);
  }

  u16(value: number): number {
    const at = this.#reserve(2);
    this.#out.writeUInt16BE(value, at);
    return at;
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#out.writeUInt32BE(value >>> 0, at);
  }

  patch16(at: number, value: number): void {
    this.#out.writeUInt16BE(value, at);
  }

  /** Writes the name at `at` of the old message. A pointer into octets copied blind, or dropped, is written out. */
  name(at: number): void {
    skipName(this.#from, at);
    let isOwnText = true;
    for (;;) {
      const length = this.#from[at] as number;
      if (length >= 0xc0) {
        const target = ((length & 0x3f) << 8) | (this.#from[at + 1] as number);
        const moved = this.#labels.get(target);
        if (moved !== undefined) {
          this.u16(0xc000 | moved);
          return;
        }
        at = target;
        isOwnText = false;
        continue;
      }
      if (isOwnText && this.#length <= MAX_POINTER && !this.#labels.has(at)) this.#labels.set(at, this.#length);
      this.copy(at, at + length + 1);
      if (length === 0) return;
      at += length + 1;
    }
  }
}

/** `edit` is asked once per record, in order. Throws G64_DNS_MALFORMED when a name in RDATA is broken. */
export function rewrite(message: Message, edit: (record: RecordAt) => Edit): Message {
  const writer = new Writer(message);
  const { bytes } = message;
  const counts = { answer: 0, authority: 0, additional: 0 };
  const records: RecordAt[] = [];
  for (const record of message.records) {
    const what = edit(record);
    if (what === 'drop') continue;
    if (what === 'keep') {
      const at = writer.length;
      writer.name(record.at);
      const ttlAt = writer.length + 4;
      writer.copy(record.ttlAt - 4, record.rdataAt - 2);
      const lengthAt = writer.u16(record.end - record.rdataAt);
      const layout = namesIn(bytes, record);
      if (layout === undefined || record.end === record.rdataAt) {
        writer.copy(record.rdataAt, record.end);
      } else {
        let from = record.rdataAt + layout[0];
        if (from > record.end) throw malformed('RDATA is too short for its type');
        writer.copy(record.rdataAt, from);
        for (let i = 0; i < layout[1]; i++) {
          const next = skipName(bytes, from);
          if (next > record.end) throw malformed('a name runs past its RDATA');
          writer.name(from);
          from = next;
        }
        writer.copy(from, record.end);
        writer.patch16(lengthAt, writer.length - lengthAt - 2);
      }
      records.push({ ...record, at, ttlAt, rdataAt: ttlAt + 6, end: writer.length });
      counts[record.section]++;
      continue;
    }
    let firstOwner = -1;
    for (const { type, ttlSeconds, rdata } of what) {
      const at = writer.length;
      if (firstOwner >= 0 && firstOwner <= MAX_POINTER && (bytes[record.at] as number) < 0xc0) {
        writer.u16(0xc000 | firstOwner);
      } else {
        writer.name(record.at);
        firstOwner = at;
      }
      writer.u16(type);
      writer.u16(record.klass);
      const ttlAt = writer.length;
      writer.u32(ttlSeconds);
      writer.u16(rdata.length);
      writer.append(rdata);
      records.push({ ...record, at, type, ttlSeconds, ttlAt, rdataAt: ttlAt + 6, end: writer.length });
      counts[record.section]++;
    }
  }
  return { ...message, bytes: writer.finish(counts), records };
}
