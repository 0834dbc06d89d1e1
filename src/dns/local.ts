// SPDX-License-Identifier: Apache-2.0
// Writes small answers of our own: records under names that are spelled out (RFC 1035 §4.1.3).

import { toAnswer, type Answer } from './answer.ts';
import type { Outcome } from './observer.ts';
import type { Query } from './query.ts';
import { CLASS_IN, FLAG, HEADER_LENGTH, TYPE, readMessage, type Section } from './wire.ts';

export interface LocalRecord {
  readonly section: Section;
  /** Wire name, or an offset into the question's name to point at. */
  readonly owner: Buffer | number;
  readonly type: number;
  readonly ttlSeconds: number;
  readonly rdata: Uint8Array;
}

/** A name of the message at offset `at`, as a compression pointer. */
export function pointer(at: number): Buffer {
  return Buffer.from([0xc0 | (at >> 8), at & 255]);
}

/** Offset at which `zone`, a wire name in lower case, starts in the question's name; -1 for names outside of it. */
export function zoneAt(query: Query, zone: Buffer): number {
  const at = query.nameEnd - zone.length;
  if (at < HEADER_LENGTH) return -1;
  for (let i = 0; i < zone.length; i++) {
    const byte = query.bytes[at + i] as number;
    if ((byte >= 65 && byte <= 90 ? byte | 32 : byte) !== zone[i]) return -1;
  }
  // The octet at `at` must be a length, not a letter of a longer label: walk to it.
  let label = HEADER_LENGTH;
  while (label < at) label += (query.bytes[label] as number) + 1;
  return label === at ? at : -1;
}

/** An SOA for zones that exist only here: enough for a resolver to hold the negative answer for `ttlSeconds`. */
export function localSoa(owner: Buffer | number, ttlSeconds: number): LocalRecord {
  const rdata = Buffer.alloc(22);
  // MNAME and RNAME are the root: nobody to transfer from, nobody to write to. Then serial, refresh, retry, expire.
  [1, 3600, 600, 86400, ttlSeconds].forEach((value, i) => rdata.writeUInt32BE(value, 2 + 4 * i));
  return { section: 'authority', owner, type: TYPE.SOA, ttlSeconds, rdata };
}

export function localAnswer(
  query: Query,
  records: readonly LocalRecord[],
  options: { rcode?: number; isAuthoritative?: boolean; outcome?: Outcome | undefined } = {},
): Answer {
  const header = Buffer.alloc(HEADER_LENGTH);
  header.writeUInt16BE(FLAG.QR | FLAG.RA | (options.isAuthoritative ? FLAG.AA : 0) | (options.rcode ?? 0), 2);
  header[5] = 1;
  const count = (section: Section) => records.filter((record) => record.section === section).length;
  header.writeUInt16BE(count('answer'), 6);
  header.writeUInt16BE(count('authority'), 8);
  header.writeUInt16BE(count('additional'), 10);
  const parts: Uint8Array[] = [header, query.bytes.subarray(HEADER_LENGTH, query.questionEnd)];
  for (const { owner, type, ttlSeconds, rdata } of records) {
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(type, 0);
    fixed.writeUInt16BE(CLASS_IN, 2);
    fixed.writeUInt32BE(ttlSeconds, 4);
    fixed.writeUInt16BE(rdata.length, 8);
    parts.push(typeof owner === 'number' ? pointer(owner) : owner, fixed, rdata);
  }
  return toAnswer(readMessage(Buffer.concat(parts)), false, options.outcome);
}
