// SPDX-License-Identifier: Apache-2.0
// RFC 6147 §5.1.6, §5.1.7, §5.4: the AAAA answer made out of an A response, and the AAAA response without its excluded
// records. Whatever is not replaced keeps its octets.

import { embedIp4 } from '../addr/rfc6052.ts';
import { isAddress, isExcluded, prefixesFor, type Dns64Policy } from './decide.ts';
import { rewrite } from './rewrite.ts';
import { FLAG, TYPE, type Message, type RecordAt } from './wire.ts';

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

/** Writes flags and the question's type into the message's own octets. */
function withHeader(message: Message, flags: number, type: number): Message {
  message.bytes.writeUInt16BE(flags, 2);
  message.bytes.writeUInt16BE(type, message.nameEnd);
  return { ...message, flags, type };
}

/** The A response under the question AAAA. Nothing else is changed. */
export function retype(a: Message): Message {
  return withHeader({ ...a, bytes: Buffer.from(a.bytes) }, a.flags, TYPE.AAAA);
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
  const rewritten = rewrite(a, (record) => {
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
  // §5.4, §5.5: an answer made here is neither authoritative nor authenticated, and recursion was available.
  const flags = (a.flags & ~(FLAG.AA | FLAG.AD | FLAG.TC)) | FLAG.RA;
  return { message: withHeader(rewritten, flags, TYPE.AAAA), addresses: [...addresses], ttlSeconds };
}

/** RFC 6147 §5.1.4: the response without excluded AAAA; the very same message when it has none. */
export function withoutExcluded(aaaa: Message, policy: Dns64Policy): Message {
  if (!aaaa.records.some((record) => isExcluded(aaaa, record, policy))) return aaaa;
  const rewritten = rewrite(aaaa, (record) =>
    isExcluded(aaaa, record, policy) || isSignatureOf(aaaa, record, TYPE.AAAA) ? 'drop' : 'keep',
  );
  return withHeader(rewritten, aaaa.flags & ~(FLAG.AA | FLAG.AD), aaaa.type);
}
