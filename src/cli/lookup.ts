// SPDX-License-Identifier: Apache-2.0
// One DNS question to one server, for `resolve` and `sessions --name`: sent as gate64 asks its upstreams, but written
// and read by dns2, so that what is shown does not come from the code that made it.

import { Packet } from 'dns2';
import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import { SILENT_OBSERVER } from '../dns/observer.ts';
import { UpstreamPool } from '../dns/upstream.ts';
import { nameBytes, rcodeOf } from '../dns/wire.ts';
import { Gate64Error } from '../errors.ts';

export type LookupType = 'A' | 'AAAA';

export interface LookupAnswer {
  /** NOERROR is 0 (RFC 1035 §4.1.1). */
  readonly rcode: number;
  readonly records: readonly { readonly name: string; readonly address: string; readonly ttlSeconds: number }[];
}

/** CoreDNS gives up after 2 s, gate64 answers before; a resolver further away may take longer. */
const TIMEOUT_MS = 4000;

/**
 * Asks over UDP, then TCP when truncated. Throws G64_DNS_UPSTREAM when the server does not answer, G64_DNS_MALFORMED for
 * what is no name.
 */
export async function lookup(
  server: Endpoint,
  name: string,
  type: LookupType,
  timeoutMs: number = TIMEOUT_MS,
): Promise<LookupAnswer> {
  let outcome = '';
  const observer = { ...SILENT_OBSERVER, upstream: (_: string, said: string) => void (outcome = said) };
  const pool = new UpstreamPool([{ kind: 'plain', endpoint: server }], observer);
  try {
    const message = await pool.exchange({ bytes: question(name, type), optAt: undefined }, timeoutMs);
    if (message === undefined) {
      throw new Gate64Error('G64_DNS_UPSTREAM', `${formatEndpoint(server)} does not answer: ${outcome}`, {
        hint: 'is the service running, and does its dns.listen have this address? --server ADDRESS:PORT asks another',
      });
    }
    const records = Packet.parse(message.bytes)
      .answers.filter((answer) => answer.type === Packet.TYPE[type])
      .map((answer) => ({ name: answer.name, address: answer.address ?? '', ttlSeconds: answer.ttl }));
    return { rcode: rcodeOf(message), records };
  } finally {
    pool.close();
  }
}

function question(name: string, type: LookupType): Buffer {
  // dns2 writes labels of any length.
  nameBytes(name);
  const packet = new Packet();
  packet.header.rd = 1;
  packet.questions.push(new Packet.Question(name, Packet.TYPE[type], Packet.CLASS.IN));
  return packet.toBuffer();
}
