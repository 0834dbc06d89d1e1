// SPDX-License-Identifier: Apache-2.0
// What a client asks: one parsed query, and the query sent upstream for it (RFC 1035 §4.1, RFC 6891 §6).

import { CLASS_IN, FLAG, HEADER_LENGTH, RCODE, TYPE, eachOption, findOpt, questionKey, readRecord } from './wire.ts';
import { skipQuestionName, type RecordAt } from './wire.ts';

/** RFC 9715 and DNS flag day 2020: what passes without fragments. */
export const OUR_UDP_SIZE = 1232;
const MIN_UDP_SIZE = 512;
/** RFC 6891 §6.1.2, without options. */
export const OPT_OCTETS = 11;
const OPTION = { COOKIE: 10, KEEPALIVE: 11, PADDING: 12 } as const;

/** EDNS options that speak of one hop: answered, or left unanswered, by us and never handed on. */
export function isHopOption(code: number): boolean {
  return code === OPTION.COOKIE || code === OPTION.KEEPALIVE || code === OPTION.PADDING;
}

export interface Query {
  readonly bytes: Buffer;
  readonly flags: number;
  readonly nameEnd: number;
  readonly questionEnd: number;
  readonly type: number;
  readonly klass: number;
  readonly hasOpt: boolean;
  readonly dnssecOk: boolean;
  /** Largest answer over UDP that the client says it takes, in octets. */
  readonly udpSize: number;
  /** Carries what only the upstream understands (EDNS options, TSIG): goes there as it is, and is never cached. */
  readonly isRaw: boolean;
}

/** A query that gets an error of ours: its RCODE, and how much of it could be read. */
export interface Refusal {
  readonly rcode: number;
  /** 0 when the question cannot be copied. */
  readonly questionEnd: number;
  readonly hasOpt: boolean;
}

/** `undefined`: no answer at all, it is no query. The checks are those of CoreDNS's server. */
export function readQuery(bytes: Buffer): Query | Refusal | undefined {
  if (bytes.length < HEADER_LENGTH) return undefined;
  const flags = bytes.readUInt16BE(2);
  if (flags & FLAG.QR) return undefined;
  let questionEnd = 0;
  const refuse = (rcode: number, hasOpt = false): Refusal => ({ rcode, questionEnd, hasOpt });
  try {
    if (bytes.readUInt16BE(4) !== 1) return refuse((flags >> 11) & 15 ? RCODE.NOTIMP : RCODE.FORMERR);
    const nameEnd = skipQuestionName(bytes);
    questionEnd = nameEnd + 4;
    if ((flags >> 11) & 15) return refuse(RCODE.NOTIMP);
    const others = bytes.readUInt16BE(6) + bytes.readUInt16BE(8);
    const additional = bytes.readUInt16BE(10);
    if (bytes.readUInt16BE(6) > 1 || bytes.readUInt16BE(8) > 1 || additional > 2) return refuse(RCODE.FORMERR);
    let isRaw = others > 0 || additional > 1;
    let opt: RecordAt | undefined;
    let end = questionEnd;
    if (others + additional > 0) {
      const records: RecordAt[] = [];
      for (let i = 0; i < others + additional; i++) {
        const record = readRecord(bytes, end, i < others ? 'answer' : 'additional');
        records.push(record);
        end = record.end;
      }
      opt = findOpt(records);
      if (!opt && additional > 0) isRaw = true;
    }
    if (end !== bytes.length) return refuse(RCODE.FORMERR);
    if (opt) {
      // RFC 6891 §6.1.2: the owner of OPT is the root.
      if (bytes[opt.at] !== 0) return refuse(RCODE.FORMERR);
      // RFC 6891 §6.1.3
      if (((opt.ttlSeconds >>> 16) & 255) !== 0) return refuse(RCODE.BADVERS, true);
      eachOption(bytes, opt.rdataAt, opt.end, (code) => {
        if (!isHopOption(code)) isRaw = true;
      });
    }
    const type = bytes.readUInt16BE(nameEnd);
    // A zone transfer is many messages: no forwarder's business.
    if (type === TYPE.AXFR || type === TYPE.IXFR) return refuse(RCODE.REFUSED, opt !== undefined);
    return {
      bytes,
      flags,
      nameEnd,
      questionEnd,
      type,
      klass: bytes.readUInt16BE(nameEnd + 2),
      hasOpt: opt !== undefined,
      dnssecOk: opt !== undefined && (opt.ttlSeconds & 0x8000) !== 0,
      // RFC 6891 §6.2.3, §6.2.5; RFC 1035 §4.2.1 without OPT.
      udpSize: opt ? Math.max(opt.klass, MIN_UDP_SIZE) : MIN_UDP_SIZE,
      isRaw,
    };
  } catch {
    return refuse(RCODE.FORMERR);
  }
}

/** Key of the cache and of questions in flight: all that an upstream's answer may depend on. */
export function queryKey(query: Query, type: number): string {
  const flags = ((query.flags & FLAG.RD) >> 8) | ((query.flags & (FLAG.AD | FLAG.CD)) >> 3) | (query.dnssecOk ? 8 : 0);
  return questionKey(query.bytes, query.nameEnd, type, query.klass, flags);
}

/** A query for upstream servers; the ID is filled in by the sender. */
export interface UpstreamQuery {
  readonly bytes: Buffer;
  /** Where its OPT begins, which ends it and may be left out for servers that refuse EDNS (RFC 6891 §7); else undefined. */
  readonly optAt: number | undefined;
}

/** Without its OPT. */
export function withoutOpt({ bytes, optAt }: UpstreamQuery): Buffer {
  const bare = Buffer.from(bytes.subarray(0, optAt));
  if (optAt !== undefined) bare.writeUInt16BE(0, 10);
  return bare;
}

export function writeOpt(out: Buffer, at: number, rcodeHigh: number, dnssecOk: boolean, optionsLength: number): void {
  out[at] = 0;
  out.writeUInt16BE(TYPE.OPT, at + 1);
  out.writeUInt16BE(OUR_UDP_SIZE, at + 3);
  out.writeUInt32BE(((rcodeHigh << 24) | (dnssecOk ? 0x8000 : 0)) >>> 0, at + 5);
  out.writeUInt16BE(optionsLength, at + 9);
}

/** What to ask upstream so that `query` can be answered for `type`, about `name` (default: its own, case kept). */
export function upstreamQuery(query: Query, type: number, name?: Buffer): UpstreamQuery {
  if (query.isRaw && name === undefined) {
    const bytes = Buffer.from(query.bytes);
    bytes.writeUInt16BE(type, query.nameEnd);
    return { bytes, optAt: undefined };
  }
  const own = name ?? query.bytes.subarray(HEADER_LENGTH, query.nameEnd);
  const questionEnd = HEADER_LENGTH + own.length + 4;
  // Of the pool: memory of its own for each question is what the garbage collector has most to do with.
  const bytes = Buffer.allocUnsafe(questionEnd + OPT_OCTETS).fill(0, 0, HEADER_LENGTH);
  bytes.writeUInt16BE(query.flags & (FLAG.RD | FLAG.AD | FLAG.CD), 2);
  bytes[5] = 1;
  own.copy(bytes, HEADER_LENGTH);
  bytes.writeUInt16BE(type, questionEnd - 4);
  bytes.writeUInt16BE(name === undefined ? query.klass : CLASS_IN, questionEnd - 2);
  bytes[11] = 1;
  writeOpt(bytes, questionEnd, 0, query.dnssecOk, 0);
  return { bytes, optAt: query.dnssecOk ? undefined : questionEnd };
}
