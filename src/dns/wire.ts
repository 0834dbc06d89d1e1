// SPDX-License-Identifier: Apache-2.0
// DNS messages as bytes: a bounded walk that yields offsets and copies nothing (RFC 1035 §4, RFC 6891 §6.1, RFC 3597).

import { Gate64Error } from '../errors.ts';

export const TYPE = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;

export const CLASS_IN = 1;

export const RCODE = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  BADVERS: 16,
} as const;

/** Bits of the header's second 16-bit word. */
export const FLAG = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;

export const HEADER_LENGTH = 12;
const MAX_NAME_LENGTH = 255;
/** Compression needs one hop; a chain much longer than real servers write is an attack on our time. */
const MAX_POINTER_HOPS = 64;

export type Section = 'answer' | 'authority' | 'additional';

/** One resource record, by offsets into the message that holds it. */
export interface RecordAt {
  readonly section: Section;
  /** Where the owner name starts. */
  readonly at: number;
  readonly type: number;
  readonly klass: number;
  readonly ttlSeconds: number;
  readonly ttlAt: number;
  readonly rdataAt: number;
  /** One past the RDATA. */
  readonly end: number;
}

/** A message with exactly one question. `bytes` ends where its last record does. */
export interface Message {
  readonly bytes: Buffer;
  readonly flags: number;
  /** One past the question's name. */
  readonly nameEnd: number;
  /** One past the question. */
  readonly questionEnd: number;
  readonly type: number;
  readonly klass: number;
  readonly records: readonly RecordAt[];
}

export function malformed(what: string): Gate64Error {
  return new Gate64Error('G64_DNS_MALFORMED', `malformed DNS message: ${what}`);
}

/** Returns the offset after the name at `start`. Throws G64_DNS_MALFORMED. */
export function skipName(bytes: Buffer, start: number): number {
  let at = start;
  let after = -1;
  let total = 0;
  let hops = 0;
  // RFC 1035 §4.1.4: a pointer leads to a *prior* occurrence, so each target must lie before the last one: no cycles.
  let limit = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw malformed('a name runs past the end');
    if (length === 0) return after < 0 ? at + 1 : after;
    if (length < 64) {
      total += length + 1;
      if (total >= MAX_NAME_LENGTH) throw malformed('a name is longer than 255 octets');
      at += length + 1;
    } else if (length >= 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) throw malformed('a compression pointer is cut off');
      const target = ((length & 0x3f) << 8) | low;
      if (target >= limit || target < HEADER_LENGTH) throw malformed('a compression pointer does not lead backwards');
      if (++hops > MAX_POINTER_HOPS) throw malformed('a name has too many compression pointers');
      if (after < 0) after = at + 2;
      limit = target;
      at = target;
    } else {
      throw malformed('a label has an unknown type');
    }
  }
}

/** Offset after the question's name, which must be written out: nothing lies before it to point at. */
export function skipQuestionName(bytes: Buffer): number {
  let at = HEADER_LENGTH;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw malformed('the question runs past the end');
    if (length > 63) throw malformed('the question name has a pointer or an unknown label type');
    at += length + 1;
    if (at - HEADER_LENGTH > MAX_NAME_LENGTH) throw malformed('the question name is longer than 255 octets');
    if (length === 0) break;
  }
  if (at + 4 > bytes.length) throw malformed('the question runs past the end');
  return at;
}

export function readRecord(bytes: Buffer, at: number, section: Section): RecordAt {
  const afterName = skipName(bytes, at);
  const rdataAt = afterName + 10;
  if (rdataAt > bytes.length) throw malformed('a record runs past the end');
  const end = rdataAt + bytes.readUInt16BE(afterName + 8);
  if (end > bytes.length) throw malformed('RDATA runs past the end');
  return {
    section,
    at,
    type: bytes.readUInt16BE(afterName),
    klass: bytes.readUInt16BE(afterName + 2),
    ttlSeconds: bytes.readUInt32BE(afterName + 4),
    ttlAt: afterName + 4,
    rdataAt,
    end,
  };
}

/** Walks a whole message. Throws G64_DNS_MALFORMED, and nothing else, for what is not one with one question. */
export function readMessage(bytes: Buffer): Message {
  if (bytes.length < HEADER_LENGTH) throw malformed('shorter than a header');
  if (bytes.readUInt16BE(4) !== 1) throw malformed('it has not exactly one question');
  const nameEnd = skipQuestionName(bytes);
  const questionEnd = nameEnd + 4;
  const records: RecordAt[] = [];
  let at = questionEnd;
  const walk = (section: Section, count: number) => {
    // Eleven octets are the least a record takes: a false count ends at the end of the bytes, not after 65 535 rounds.
    for (let i = 0; i < count; i++) {
      const record = readRecord(bytes, at, section);
      records.push(record);
      at = record.end;
    }
  };
  walk('answer', bytes.readUInt16BE(6));
  walk('authority', bytes.readUInt16BE(8));
  walk('additional', bytes.readUInt16BE(10));
  return {
    bytes: at === bytes.length ? bytes : bytes.subarray(0, at),
    flags: bytes.readUInt16BE(2),
    nameEnd,
    questionEnd,
    type: bytes.readUInt16BE(nameEnd),
    klass: bytes.readUInt16BE(nameEnd + 2),
    records,
  };
}

/** The message's OPT record. Throws G64_DNS_MALFORMED when there are two (RFC 6891 §6.1.1). */
export function findOpt(records: readonly RecordAt[]): RecordAt | undefined {
  let found: RecordAt | undefined;
  for (const record of records) {
    if (record.type !== TYPE.OPT || record.section !== 'additional') continue;
    if (found) throw malformed('it has two OPT records');
    found = record;
  }
  return found;
}

/** RCODE with the upper bits of an OPT record, as RFC 6891 §6.1.3 composes it. */
export function rcodeOf(message: Message): number {
  const opt = message.records.find((record) => record.type === TYPE.OPT && record.section === 'additional');
  return (opt ? (opt.ttlSeconds >>> 24) << 4 : 0) | (message.flags & 15);
}

const RCODE_NAMES = new Map<number, string>(Object.entries(RCODE).map(([name, code]) => [code, name]));

/** "NOERROR", "NXDOMAIN" …; undefined for codes that are not in RCODE. */
export function rcodeName(rcode: number): string | undefined {
  return RCODE_NAMES.get(rcode);
}

/** True unless it says whether the name exists. */
export function isServerError(rcode: number): boolean {
  return rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN;
}

/** Calls `visit` with code, start and end of each EDNS option in a whole one; throws when they do not fill the RDATA. */
export function eachOption(
  bytes: Buffer,
  start: number,
  end: number,
  visit: (code: number, dataAt: number, dataEnd: number) => void,
): void {
  let at = start;
  while (at < end) {
    if (at + 4 > end) throw malformed('an EDNS option is cut off');
    const dataEnd = at + 4 + bytes.readUInt16BE(at + 2);
    if (dataEnd > end) throw malformed('an EDNS option runs past its record');
    visit(bytes.readUInt16BE(at), at + 4, dataEnd);
    at = dataEnd;
  }
}

/** True if two messages ask the same: names compared without ASCII case (RFC 4343), type and class exactly. */
export function sameQuestion(a: Buffer, b: Buffer): boolean {
  let at = HEADER_LENGTH;
  for (;;) {
    const length = a[at];
    if (length === undefined || length > 63 || length !== b[at]) return false;
    for (let i = at + 1; i <= at + length; i++) {
      const x = a[i];
      const y = b[i];
      if (x !== y && (x === undefined || y === undefined || lower(x) !== lower(y))) return false;
    }
    at += length + 1;
    if (length === 0) break;
    if (at > HEADER_LENGTH + MAX_NAME_LENGTH) return false;
  }
  if (at + 4 > a.length || at + 4 > b.length) return false;
  return a.readUInt32BE(at) === b.readUInt32BE(at);
}

export function lower(byte: number): number {
  return byte >= 65 && byte <= 90 ? byte | 32 : byte;
}

const keyScratch = Buffer.alloc(MAX_NAME_LENGTH + 6);

/**
 * A map key for a question: its name in lower case, type, class, and one octet of flags. `bytes` holds the name from
 * octet 12 to `nameEnd`. Length octets stay below 64, so lowering every octet from 65 to 90 touches letters alone.
 */
export function questionKey(bytes: Buffer, nameEnd: number, type: number, klass: number, flags: number): string {
  let length = 0;
  for (let i = HEADER_LENGTH; i < nameEnd; i++) keyScratch[length++] = lower(bytes[i] as number);
  keyScratch[length++] = type >> 8;
  keyScratch[length++] = type & 255;
  keyScratch[length++] = klass >> 8;
  keyScratch[length++] = klass & 255;
  keyScratch[length++] = flags;
  return keyScratch.toString('latin1', 0, length);
}

/** The wire labels of the name at `at`, upper and lower case as they stand, without the final zero. `at` must have passed skipName. */
export function labelsAt(bytes: Buffer, at: number): Buffer[] {
  const labels: Buffer[] = [];
  for (;;) {
    const length = bytes[at] as number;
    if (length === 0) return labels;
    if (length >= 0xc0) {
      at = ((length & 0x3f) << 8) | (bytes[at + 1] as number);
    } else {
      labels.push(bytes.subarray(at + 1, at + 1 + length));
      at += length + 1;
    }
  }
}

/** The name at `at` as lower-case text without the final dot; the root is ".". Odd octets become \DDD (RFC 1035 §5.1). */
export function nameText(bytes: Buffer, at: number): string {
  const labels = labelsAt(bytes, at);
  if (labels.length === 0) return '.';
  return labels
    .map((label) => {
      const text = label.toString('latin1');
      if (/^[\w-]+$/.test(text)) return text.toLowerCase();
      return Array.from(label, (byte) => {
        if (byte === 0x2e || byte === 0x5c) return `\\${String.fromCharCode(byte)}`;
        return byte > 32 && byte < 127 ? String.fromCharCode(lower(byte)) : `\\${byte.toString().padStart(3, '0')}`;
      }).join('');
    })
    .join('.');
}

/** Text such as "www.example.org" → wire name, final zero included. Throws G64_DNS_MALFORMED. */
export function nameBytes(text: string): Buffer {
  const trimmed = text.endsWith('.') ? text.slice(0, -1) : text;
  if (trimmed === '') return Buffer.from([0]);
  const parts: Buffer[] = [];
  for (const label of trimmed.split('.')) {
    const bytes = Buffer.from(label, 'utf8');
    if (bytes.length === 0 || bytes.length > 63) throw malformed(`"${text}" has a label of ${bytes.length} octets`);
    parts.push(Buffer.from([bytes.length]), bytes);
  }
  parts.push(Buffer.from([0]));
  const name = Buffer.concat(parts);
  if (name.length > MAX_NAME_LENGTH) throw malformed(`"${text}" is longer than 255 octets`);
  return name;
}
