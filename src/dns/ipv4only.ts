// SPDX-License-Identifier: Apache-2.0
// ipv4only.arpa, answered here and never asked for upstream (RFC 8880 §7.1, RFC 7050 §2.2 and §5).

import { embedIp4, type Prefix64 } from '../addr/rfc6052.ts';
import { parseIp4 } from '../addr/ip.ts';
import type { Answer } from './answer.ts';
import { localAnswer, localSoa, zoneAt, type LocalRecord } from './local.ts';
import type { Query } from './query.ts';
import { HEADER_LENGTH, RCODE, TYPE, nameBytes } from './wire.ts';

/** RFC 7050 §2.2. */
export const WELL_KNOWN_ADDRESSES: readonly number[] = [parseIp4('192.0.0.170'), parseIp4('192.0.0.171')];
export const IPV4ONLY_NAME = nameBytes('ipv4only.arpa');

/** RFC 8880 appendix A. */
const A_TTL_SECONDS = 86400;
/** Short, so that a changed prefix is found soon (RFC 7050 §5). */
const AAAA_TTL_SECONDS = 600;
const NEGATIVE_TTL_SECONDS = 60;

/** The answer, or undefined when the question is not about ipv4only.arpa or is its DS (RFC 8880 §7.1 (4)). */
export function answerIpv4Only(query: Query, prefixes: readonly Prefix64[]): Answer | undefined {
  const zone = zoneAt(query, IPV4ONLY_NAME);
  if (zone < 0) return undefined;
  const soa = localSoa(zone, NEGATIVE_TTL_SECONDS);
  if (zone > HEADER_LENGTH) return localAnswer(query, [soa], { rcode: RCODE.NXDOMAIN, isAuthoritative: true });
  if (query.type === TYPE.DS) return undefined;
  const records: LocalRecord[] = [];
  const add = (type: number, ttlSeconds: number, rdata: Uint8Array) =>
    records.push({ section: 'answer', owner: HEADER_LENGTH, type, ttlSeconds, rdata });
  for (const v4 of WELL_KNOWN_ADDRESSES) {
    if (query.type === TYPE.A) {
      add(TYPE.A, A_TTL_SECONDS, Buffer.from([v4 >>> 24, (v4 >>> 16) & 255, (v4 >>> 8) & 255, v4 & 255]));
    }
    // Under the well-known prefix too, although 192.0.0.0/24 is not global (RFC 8880 §7.1).
    if (query.type === TYPE.AAAA) {
      for (const prefix of prefixes) add(TYPE.AAAA, AAAA_TTL_SECONDS, embedIp4(prefix, v4));
    }
  }
  const outcome = query.type === TYPE.AAAA ? 'synthesized' : undefined;
  return localAnswer(query, records.length > 0 ? records : [soa], { isAuthoritative: true, outcome });
}
