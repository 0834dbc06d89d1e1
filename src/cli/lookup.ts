// SPDX-License-Identifier: Apache-2.0
// One DNS question to one server, for `resolve` and `sessions --name`, with dns2's client (UDP, TCP when truncated).

import { Packet, UDPClient } from 'dns2';
import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';

export type LookupType = 'A' | 'AAAA';

export interface LookupAnswer {
  /** NOERROR is 0 (RFC 1035 §4.1.1). */
  readonly rcode: number;
  readonly records: readonly { readonly name: string; readonly address: string; readonly ttlSeconds: number }[];
}

/** CoreDNS gives up after 2 s, gate64 answers before; a resolver further away may take longer. */
const TIMEOUT_MS = 4000;

/** Throws G64_DNS_UPSTREAM when the server does not answer. */
export async function lookup(
  server: Endpoint,
  name: string,
  type: LookupType,
  timeoutMs: number = TIMEOUT_MS,
): Promise<LookupAnswer> {
  const ask = UDPClient({
    dns: server.host,
    port: server.port,
    socketType: server.family === 6 ? 'udp6' : 'udp4',
    timeout: timeoutMs,
  });
  try {
    const response = await ask(name, type);
    const records = response.answers
      .filter((answer) => answer.type === Packet.TYPE[type])
      .map((answer) => ({ name: answer.name, address: addressOf(answer), ttlSeconds: answer.ttl ?? 0 }));
    return { rcode: response.header.rcode, records };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Gate64Error('G64_DNS_UPSTREAM', `${formatEndpoint(server)} does not answer: ${why}`, {
      cause,
      hint: 'is the service running, and does its dns.listen have this address? --server ADDRESS:PORT asks another',
    });
  }
}

function addressOf(answer: object): string {
  return 'address' in answer && typeof answer.address === 'string' ? answer.address : '';
}
