// SPDX-License-Identifier: Apache-2.0
// RFC 6147 §5.1.6, §5.1.7, §5.4: the AAAA answer made out of an A response, and the AAAA response without its excluded
// records. Whatever is not replaced keeps its octets.

import { embedIp4 } from '../addr/rfc6052.ts';
import { isAddress, isExcluded, prefixesFor, type Dns64Policy } from './decide.ts';
import { rewrite } from './rewrite.ts';
import { FLAG, TYPE, readMessage, type Message, type RecordAt } from './wire.ts';

export interface Synthesis {
  readonly message: Message;
  /** The IPv4 addresses now shown, each once. */
  readonly addresses: readonly number[];
  readonly ttlSeconds: number;
}

function isSignatureOf(message: Message, record: RecordAt, type: number): boolean {
  return (
    record.section === 'answer' &&
    record.type === TYPE.RRSIG &&
    record.end - record.rdataAt >= 2 &&
    message.bytes.readUInt16BE(record.rdataAt) === type
  );
}

/** The A response under the question AAAA. Nothing else is changed. */
export function retype(a: Message): Message {
  const bytes = Buffer.from(a.bytes);
  bytes.writeUInt16BE(TYPE.AAAA, a.nameEnd);
  return readMessage(bytes);
}

/** Throws G64_DNS_MALFORMED when the response cannot be rewritten. */
export function synthesize(a: Message, policy: Dns64Policy, maxTtlSeconds: number): Synthesis {
  const records = a.records.filter((record) => isAddress(record, TYPE.A));
  // RFC 2181 §5.2: one TTL for the whole RRset; §8: the highest bit counts as zero.
  const ttlSeconds = records.reduce(
    (ttl, record) => Math.min(ttl, record.ttlSeconds > 0x7fffffff ? 0 : record.ttlSeconds),
    maxTtlSeconds,
  );
  const addresses = new Set<number>();
  const bytes = rewrite(a, (record) => {
    // §5.1.6: signatures of what is gone would sign nothing.
    if (isSignatureOf(a, record, TYPE.A)) return 'drop';
    if (record.section !== 'answer' || record.type !== TYPE.A) return 'keep';
    if (!isAddress(record, TYPE.A)) return 'drop';
    const v4 = a.bytes.readUInt32BE(record.rdataAt);
    const prefixes = prefixesFor(v4, policy);
    if (prefixes.length === 0) return 'drop';
    addresses.add(v4);
    return prefixes.map((prefix) => ({ type: TYPE.AAAA, ttlSeconds, rdata: embedIp4(prefix, v4) }));
  });
  bytes.writeUInt16BE(TYPE.AAAA, a.nameEnd);
  // §5.4, §5.5: an answer made here is neither authoritative nor authenticated, and recursion was available.
  bytes.writeUInt16BE((a.flags & ~(FLAG.AA | FLAG.AD | FLAG.TC)) | FLAG.RA, 2);
  return { message: readMessage(bytes), addresses: [...addresses], ttlSeconds };
}

/** RFC 6147 §5.1.4: the response without excluded AAAA; the very same message when it has none. */
export function withoutExcluded(aaaa: Message, policy: Dns64Policy): Message {
  if (!aaaa.records.some((record) => isExcluded(aaaa, record, policy))) return aaaa;
  const bytes = rewrite(aaaa, (record) =>
    isExcluded(aaaa, record, policy) || isSignatureOf(aaaa, record, TYPE.AAAA) ? 'drop' : 'keep',
  );
  bytes.writeUInt16BE(aaaa.flags & ~(FLAG.AA | FLAG.AD), 2);
  return readMessage(bytes);
}
