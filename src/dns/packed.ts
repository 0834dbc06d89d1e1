// SPDX-License-Identifier: Apache-2.0
// An answer as the cache holds it: a string of Latin-1, which takes one octet for each and has neither an ArrayBuffer nor
// memory outside the heap beside it, and some small numbers.

import type { Answer } from './answer.ts';
import type { Outcome } from './observer.ts';

export interface Packed {
  /** Body, EDNS options, offsets of TTLs (two octets each), addresses decided about and addresses shown (four each). */
  readonly octets: string;
  readonly optionsAt: number;
  readonly ttlsAt: number;
  /** -1 where the answer has none. */
  readonly consideredAt: number;
  readonly shownAt: number;
  readonly questionEnd: number;
  readonly rcodeHigh: number;
  readonly optInside: boolean;
  readonly isMakeshift: boolean;
  readonly lifetimeSeconds: number;
  readonly outcome: Outcome | undefined;
  /** Of what is shown; undefined where nothing is. */
  readonly name: string | undefined;
  readonly ttlSeconds: number;
}

/** What an entry takes beside its octets and its key: the objects and its place in the map, rounded up. */
const MANAGED_OCTETS = 384;

export function pack(answer: Answer): Packed {
  const { body, options, ttlAt, considered, shown } = answer;
  const optionsAt = body.length;
  const ttlsAt = optionsAt + options.length;
  const addressesAt = ttlsAt + 2 * ttlAt.length;
  const shownAt = addressesAt + 4 * (considered?.length ?? 0);
  const all = Buffer.allocUnsafe(shownAt + 4 * (shown?.addresses.length ?? 0));
  body.copy(all, 0);
  options.copy(all, optionsAt);
  for (let i = 0; i < ttlAt.length; i++) all.writeUInt16BE(ttlAt[i] as number, ttlsAt + 2 * i);
  writeAddresses(all, addressesAt, considered);
  writeAddresses(all, shownAt, shown?.addresses);
  return {
    octets: all.toString('latin1'),
    optionsAt,
    ttlsAt,
    consideredAt: considered === undefined ? -1 : addressesAt,
    shownAt,
    questionEnd: answer.questionEnd,
    rcodeHigh: answer.rcodeHigh,
    optInside: answer.optInside,
    isMakeshift: answer.isMakeshift ?? false,
    lifetimeSeconds: answer.lifetimeSeconds,
    outcome: answer.outcome,
    name: shown?.name,
    ttlSeconds: shown?.ttlSeconds ?? 0,
  };
}

export function unpack(packed: Packed): Answer {
  const { optionsAt, ttlsAt, consideredAt, shownAt, name, ttlSeconds } = packed;
  const all = Buffer.from(packed.octets, 'latin1');
  const ttlsEnd = consideredAt < 0 ? shownAt : consideredAt;
  const ttlAt: number[] = [];
  for (let at = ttlsAt; at < ttlsEnd; at += 2) ttlAt.push(all.readUInt16BE(at));
  return {
    body: all.subarray(0, optionsAt),
    questionEnd: packed.questionEnd,
    ttlAt,
    options: all.subarray(optionsAt, ttlsAt),
    rcodeHigh: packed.rcodeHigh,
    optInside: packed.optInside,
    lifetimeSeconds: packed.lifetimeSeconds,
    outcome: packed.outcome,
    isMakeshift: packed.isMakeshift,
    considered: consideredAt < 0 ? undefined : readAddresses(all, consideredAt, shownAt),
    shown: name === undefined ? undefined : { name, addresses: readAddresses(all, shownAt, all.length), ttlSeconds },
  };
}

/** Octets of memory for an answer under `key`. */
export function keptOctets(key: string, { octets, name = '' }: Packed): number {
  return MANAGED_OCTETS + key.length + octets.length + name.length;
}

function writeAddresses(out: Buffer, at: number, addresses: readonly number[] = []): void {
  for (let i = 0; i < addresses.length; i++) out.writeUInt32BE(addresses[i] as number, at + 4 * i);
}

function readAddresses(from: Buffer, start: number, end: number): number[] {
  const addresses: number[] = [];
  for (let at = start; at < end; at += 4) addresses.push(from.readUInt32BE(at));
  return addresses;
}
