// SPDX-License-Identifier: Apache-2.0
// A small client for the command line: asks one resolver over UDP, then TCP when truncated, and reads the answer with
// dns2, so that what is shown does not come from the code that made it.

import { Packet, type Resource } from 'dns2';
import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import type { Upstream } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';
import { SILENT_OBSERVER, rcodeLabel } from './observer.ts';
import { upstreamQuery, type Query } from './query.ts';
import { UpstreamPool } from './upstream.ts';
import { CLASS_IN, FLAG, HEADER_LENGTH, TYPE, nameBytes, rcodeOf } from './wire.ts';

export interface ResolvedRecord {
  readonly name: string;
  readonly type: string;
  readonly ttlSeconds: number;
  /** Address, or name, or what else the record says, as text. */
  readonly data: string;
}

export interface Resolved {
  /** "NOERROR", "NXDOMAIN" … */
  readonly rcode: string;
  readonly answers: readonly ResolvedRecord[];
  readonly durationSeconds: number;
}

const DEFAULT_TIMEOUT_MS = 3000;

/**
 * Asks the resolver at `server` for `name`. Throws G64_DNS_UPSTREAM when it does not answer in time, and
 * G64_DNS_MALFORMED for a name that cannot be asked for.
 */
export async function resolveVia(
  server: Endpoint | Upstream,
  name: string,
  type: 'A' | 'AAAA' | 'PTR' | 'CNAME' | 'NS' | 'MX' | 'TXT' | 'SOA' | 'SRV',
  options: { readonly timeoutMs?: number } = {},
): Promise<Resolved> {
  const upstream: Upstream = 'endpoint' in server ? server : { kind: 'plain', endpoint: server };
  const pool = new UpstreamPool([upstream], SILENT_OBSERVER);
  const startedAt = performance.now();
  try {
    const query = upstreamQuery(questionFor(name, TYPE[type]), TYPE[type]);
    const message = await pool.exchange(query, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    if (message === undefined) {
      throw new Gate64Error('G64_DNS_UPSTREAM', `${formatEndpoint(upstream.endpoint)} does not answer`);
    }
    const packet = Packet.parse(message.bytes);
    return {
      rcode: rcodeLabel(rcodeOf(message)),
      answers: packet.answers.map((record) => ({
        name: record.name,
        type: Packet.TYPE_NAME[record.type] ?? `TYPE${record.type}`,
        ttlSeconds: record.ttl,
        data: dataText(record),
      })),
      durationSeconds: (performance.now() - startedAt) / 1000,
    };
  } catch (cause) {
    if (cause instanceof Gate64Error) throw cause;
    throw new Gate64Error('G64_DNS_MALFORMED', `the answer for ${name} cannot be read`, { cause });
  } finally {
    pool.close();
  }
}

function questionFor(name: string, type: number): Query {
  const wire = nameBytes(name);
  const bytes = Buffer.alloc(HEADER_LENGTH + wire.length + 4);
  bytes.writeUInt16BE(FLAG.RD, 2);
  bytes[5] = 1;
  wire.copy(bytes, HEADER_LENGTH);
  bytes.writeUInt16BE(type, bytes.length - 4);
  bytes.writeUInt16BE(CLASS_IN, bytes.length - 2);
  return {
    bytes,
    flags: FLAG.RD,
    nameEnd: bytes.length - 4,
    questionEnd: bytes.length,
    type,
    klass: CLASS_IN,
    hasOpt: false,
    dnssecOk: false,
    udpSize: 512,
    isRaw: false,
  };
}

function dataText(record: Resource): string {
  const { address, domain, ns, exchange, target, primary, data } = record;
  const name = address ?? domain ?? ns ?? exchange ?? target ?? primary;
  if (name !== undefined) return name;
  if (Buffer.isBuffer(data)) return data.toString('hex');
  return Array.isArray(data) ? data.join('') : (data ?? '');
}
