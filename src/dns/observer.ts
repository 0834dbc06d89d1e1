// SPDX-License-Identifier: Apache-2.0
// What the DNS half tells whoever counts: the service wires it to metrics. Every label is bounded.

import { TYPE, rcodeName } from './wire.ts';

/** Why an AAAA question was answered without synthesis. */
export type PassthroughReason =
  | 'aaaaExists'
  | 'nxdomain'
  | 'noA'
  | 'notMappable'
  | 'refused'
  | 'aError'
  | 'aaaaError'
  | 'bogus'
  | 'checkingDisabled'
  | 'class';

/** How an AAAA question was answered. */
export type Outcome = 'synthesized' | PassthroughReason;

export type Transport = 'udp' | 'tcp';

/** Called on the hot path: implementations must be quick and must not throw. Durations are seconds. */
export interface DnsObserver {
  request(transport: Transport, type: string): void;
  response(rcode: string, seconds: number): void;
  synthesized(): void;
  passthrough(reason: PassthroughReason): void;
  /** One exchange with an upstream; `rcode` is also "timeout", "refused" (connection), "tls" or "malformed". */
  upstream(to: string, rcode: string, seconds: number): void;
  cacheHit(): void;
  cacheMiss(): void;
  /** Of a client that may not ask. */
  clientRefused(transport: Transport, address: string): void;
  /** A query by UDP of a network that asks too often. */
  rateLimited(action: 'truncated' | 'dropped'): void;
}

export const SILENT_OBSERVER: DnsObserver = {
  request() {},
  response() {},
  synthesized() {},
  passthrough() {},
  upstream() {},
  cacheHit() {},
  cacheMiss() {},
  clientRefused() {},
  rateLimited() {},
};

/** The types CoreDNS labels its metrics with; all others are "other". */
const LABELLED = new Set([
  'A',
  'AAAA',
  'CNAME',
  'DNSKEY',
  'DS',
  'HTTPS',
  'MX',
  'NS',
  'NSEC',
  'NSEC3',
  'PTR',
  'RRSIG',
  'SOA',
  'SRV',
  'SVCB',
  'TXT',
  'ANY',
]);
const TYPE_LABELS = new Map<number, string>(
  Object.entries(TYPE)
    .filter(([name]) => LABELLED.has(name))
    .map(([name, code]) => [code, name]),
);

export function typeLabel(type: number): string {
  return TYPE_LABELS.get(type) ?? 'other';
}

export function rcodeLabel(rcode: number): string {
  return rcodeName(rcode) ?? 'other';
}
