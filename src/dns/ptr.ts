// SPDX-License-Identifier: Apache-2.0
// Reverse names of synthesized addresses: RFC 6147 §5.3.1 (2), a CNAME into in-addr.arpa with the PTR behind it, and
// RFC 8880 §7.2.1, the well-known addresses answered directly.

import { formatIp4 } from '../addr/ip.ts';
import { WELL_KNOWN_PREFIX, extractWithAny, type Prefix64 } from '../addr/rfc6052.ts';
import { negativeSeconds, type Answer } from './answer.ts';
import { IPV4ONLY_NAME, WELL_KNOWN_ADDRESSES } from './ipv4only.ts';
import { localAnswer, localSoa, pointer, type LocalRecord } from './local.ts';
import type { Query } from './query.ts';
import { HEADER_LENGTH, RCODE, TYPE, labelsAt, nameBytes, skipName, type Message } from './wire.ts';

/** RFC 6147 §5.1.7's bound, here for a record that we make as well. */
const CNAME_TTL_SECONDS = 600;
const WELL_KNOWN_TTL_SECONDS = 86400;
const FALLBACK_NEGATIVE_SECONDS = 60;

const IP6_ARPA = nameBytes('ip6.arpa');
/** 32 nibbles of two octets each, then the zone. */
const REVERSE_NAME_LENGTH = 64 + IP6_ARPA.length;

export interface ReverseTarget {
  readonly v4: number;
  /** "33.2.0.192.in-addr.arpa" as a wire name. */
  readonly name: Buffer;
  /** Offset, in the question, of the reverse zone of the prefix. */
  readonly zoneAt: number;
}

/** The 16 octets of a full ip6.arpa name, or undefined: partial names resolve ordinarily. */
function reverseAddress(query: Query): Uint8Array | undefined {
  const { bytes } = query;
  if (query.nameEnd - HEADER_LENGTH !== REVERSE_NAME_LENGTH) return undefined;
  const v6 = new Uint8Array(16);
  for (let i = 0; i < 32; i++) {
    const at = HEADER_LENGTH + 2 * i;
    const nibble = bytes[at] === 1 ? Number.parseInt(String.fromCharCode(bytes[at + 1] as number), 16) : Number.NaN;
    if (Number.isNaN(nibble)) return undefined;
    const octet = 15 - (i >> 1);
    v6[octet] = (v6[octet] as number) | (i & 1 ? nibble << 4 : nibble);
  }
  const zone = bytes.toString('latin1', HEADER_LENGTH + 64, query.nameEnd).toLowerCase();
  return zone === IP6_ARPA.toString('latin1') ? v6 : undefined;
}

/** The IPv4 side of a PTR question for an address under one of the prefixes or the well-known one. */
export function reverseTarget(query: Query, prefixes: readonly Prefix64[]): ReverseTarget | undefined {
  const v6 = reverseAddress(query);
  if (v6 === undefined) return undefined;
  const found = extractWithAny([...prefixes, WELL_KNOWN_PREFIX], v6);
  if (found === undefined) return undefined;
  const reversed = formatIp4(found.v4).split('.').toReversed().join('.');
  return {
    v4: found.v4,
    name: nameBytes(`${reversed}.in-addr.arpa`),
    zoneAt: HEADER_LENGTH + 2 * (32 - found.prefix.length / 4),
  };
}

/** RFC 8880 §7.2.1: PTR of Pref64::192.0.0.170 and .171, at once. */
export function answerWellKnownPtr(query: Query, target: ReverseTarget): Answer | undefined {
  if (!WELL_KNOWN_ADDRESSES.includes(target.v4)) return undefined;
  return localAnswer(query, [
    {
      section: 'answer',
      owner: HEADER_LENGTH,
      type: TYPE.PTR,
      ttlSeconds: WELL_KNOWN_TTL_SECONDS,
      rdata: IPV4ONLY_NAME,
    },
  ]);
}

function wireName(message: Message, at: number): Buffer {
  const parts: Uint8Array[] = [];
  for (const label of labelsAt(message.bytes, at)) parts.push(Buffer.from([label.length]), label);
  return Buffer.concat([...parts, Buffer.from([0])]);
}

/**
 * The answer built from what upstream says of the in-addr.arpa name, or undefined when the question must be resolved
 * as it stands: the name is itself a CNAME (RFC 2317), as RFC 6147 §5.3.1 asks.
 */
export function answerPtr(query: Query, target: ReverseTarget, inAddr: Message): Answer | undefined {
  const answers = inAddr.records.filter((record) => record.section === 'answer');
  if (answers.some((record) => record.type === TYPE.CNAME || record.type === TYPE.DNAME)) return undefined;
  const pointers = answers.filter((record) => record.type === TYPE.PTR);
  if (pointers.length === 0) {
    // SHOULD of §5.3.1: no CNAME to nowhere.
    const soa = localSoa(target.zoneAt, negativeSeconds(inAddr) ?? FALLBACK_NEGATIVE_SECONDS);
    return localAnswer(query, [soa], { rcode: inAddr.flags & 15 });
  }
  const ttlSeconds = Math.min(CNAME_TTL_SECONDS, ...pointers.map((record) => record.ttlSeconds));
  // The CNAME's RDATA stands behind question, owner pointer (2) and fixed part (10).
  const cnameTarget = query.questionEnd + 12;
  const records: LocalRecord[] = [
    { section: 'answer', owner: HEADER_LENGTH, type: TYPE.CNAME, ttlSeconds, rdata: target.name },
  ];
  for (const record of pointers) {
    if (skipName(inAddr.bytes, record.rdataAt) !== record.end) continue;
    records.push({
      section: 'answer',
      owner: pointer(cnameTarget),
      type: TYPE.PTR,
      ttlSeconds: record.ttlSeconds,
      rdata: wireName(inAddr, record.rdataAt),
    });
  }
  return localAnswer(query, records, { rcode: RCODE.NOERROR });
}
