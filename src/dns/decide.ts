// SPDX-License-Identifier: Apache-2.0
// The decision tree of RFC 6147 §5.1: from what upstream says for AAAA and A to which of them becomes the answer.
// Pure functions; `undefined` for a message means that nobody answered in time (§5.1.3: as RCODE 2).

import type { DestinationRule, Destinations } from '../addr/destinations.ts';
import { formatIp4, ip6InNet, type Ip6Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import { negativeSeconds } from './answer.ts';
import type { PassthroughReason } from './observer.ts';
import { CLASS_IN, RCODE, TYPE, eachOption, findOpt, type Message, type RecordAt } from './wire.ts';

export interface Dns64Policy {
  readonly prefixes: readonly Prefix64[];
  /** Synthesize although a real AAAA exists, as long as there is an A. */
  readonly translateAll: boolean;
  /** Synthesize for CD=1 too. */
  readonly ignoreChecking?: boolean | undefined;
  readonly excludeAaaa: readonly Ip6Net[];
  /** What the NAT64 refuses is not shown. */
  readonly destinations: Destinations;
}

/** RFC 6147 §5.1.7: without an SOA to go by. */
export const NO_SOA_TTL_SECONDS = 600;
/** After an error the real AAAA may be back any moment: the answer must not hide it for long. */
export const AFTER_ERROR_TTL_SECONDS = 30;

/** An IPv4 address that is shown under no prefix, and the rule that keeps it from being. */
export interface RefusedAddress {
  readonly v4: number;
  readonly rule: DestinationRule;
}

export type Decision = (
  | { readonly kind: 'synthesize'; readonly maxTtlSeconds: number }
  /** Hand on the AAAA response, its excluded records taken out. `refused`: one of the addresses, where none is shown. */
  | { readonly kind: 'aaaa'; readonly reason: PassthroughReason; readonly refused?: RefusedAddress | undefined }
  /** Hand on the A response's error. */
  | { readonly kind: 'a'; readonly reason: PassthroughReason }
  | { readonly kind: 'servfail'; readonly reason: PassthroughReason }
) & {
  /** The IPv4 addresses, each once, of which it was looked whether they are refused. */
  readonly considered?: readonly number[];
};

export function isAddress(record: RecordAt, type: number): boolean {
  const length = type === TYPE.A ? 4 : 16;
  return (
    record.section === 'answer' &&
    record.type === type &&
    record.klass === CLASS_IN &&
    record.end - record.rdataAt === length
  );
}

/** RFC 6147 §5.1.4. */
export function isExcluded(message: Message, record: RecordAt, policy: Dns64Policy): boolean {
  if (!isAddress(record, TYPE.AAAA)) return false;
  const v6 = message.bytes.subarray(record.rdataAt, record.end);
  return policy.excludeAaaa.some((net) => ip6InNet(v6, net));
}

/** The prefixes under which `v4` may be shown: those under which the NAT64 carries packets to it. */
export function prefixesFor(v4: number, { prefixes, destinations }: Dns64Policy): readonly Prefix64[] {
  return prefixes.filter((prefix) => destinations.refusal(v4, prefix) === undefined);
}

/** Whether one of `addresses` is refused under a prefix of `now` otherwise than under `before`, which has the same ones. */
export function areRefusedOtherwise(addresses: readonly number[], before: Dns64Policy, now: Dns64Policy): boolean {
  const verdict = ({ destinations }: Dns64Policy, v4: number, prefix: Prefix64) =>
    destinations.refusal(v4, prefix)?.verdict;
  return addresses.some((v4) =>
    now.prefixes.some((prefix) => verdict(before, v4, prefix) !== verdict(now, v4, prefix)),
  );
}

/** Of addresses that are shown under no prefix the one to name: what an operator set before what RFCs forbid. */
function refusedAddress(addresses: readonly number[], policy: Dns64Policy): RefusedAddress | undefined {
  const refused = addresses.flatMap((v4) => {
    const rule = policy.prefixes.map((prefix) => policy.destinations.refusal(v4, prefix)).find(Boolean);
    return rule === undefined ? [] : [{ v4, rule }];
  });
  return refused.find(({ rule }) => isOfOperator(rule)) ?? refused[0];
}

function isOfOperator({ verdict }: DestinationRule): boolean {
  return verdict === 'node' || verdict === 'configured';
}

const WHY_REFUSED = {
  allow: '',
  never: 'never a destination',
  nonGlobal: 'not global',
  node: "the node's or the pool's",
  configured: 'nat64.deny',
} as const satisfies Record<DestinationRule['verdict'], string>;

/** "198.51.100.7: nat64.deny". */
export function refusedText({ v4, rule }: RefusedAddress): string {
  return `${formatIp4(v4)}: ${WHY_REFUSED[rule.verdict]}`;
}

function rcode(message: Message): number {
  return message.flags & 15;
}

/** EDE codes that say "this failed validation" (RFC 8914 §4.2, §4.3, §4.6–§4.13). */
const BOGUS_EDE = new Set([1, 2, 5, 6, 7, 8, 9, 10, 11, 12]);

function isBogus(message: Message): boolean {
  const opt = findOpt(message.records);
  if (opt === undefined || rcode(message) !== RCODE.SERVFAIL) return false;
  let found = false;
  eachOption(message.bytes, opt.rdataAt, opt.end, (code, dataAt, dataEnd) => {
    if (code === 15 && dataEnd - dataAt >= 2 && BOGUS_EDE.has(message.bytes.readUInt16BE(dataAt))) found = true;
  });
  return found;
}

/** Judges the AAAA response alone; undefined when the A response is needed. */
export function judgeAaaa(aaaa: Message | undefined, policy: Dns64Policy): Decision | undefined {
  if (aaaa === undefined) return undefined;
  // §5.1.2: a name that does not exist has no A either.
  if (rcode(aaaa) === RCODE.NXDOMAIN) return { kind: 'aaaa', reason: 'nxdomain' };
  // §5.5: what an upstream has found forged must not come back as a synthesized address.
  if (isBogus(aaaa)) return { kind: 'aaaa', reason: 'bogus' };
  if (rcode(aaaa) !== RCODE.NOERROR || policy.translateAll) return undefined;
  // §5.1.1, §5.1.4: one AAAA that is not excluded is enough.
  const isReal = (record: RecordAt) => isAddress(record, TYPE.AAAA) && !isExcluded(aaaa, record, policy);
  return aaaa.records.some(isReal) ? { kind: 'aaaa', reason: 'aaaaExists' } : undefined;
}

/** Judges both. RFC 6147 §5.1.6 against §5.4 is settled as: no A → the AAAA response; an error → the A query's. */
export function judge(aaaa: Message | undefined, a: Message | undefined, policy: Dns64Policy): Decision {
  const alone = judgeAaaa(aaaa, policy);
  if (alone) return alone;
  const hasAaaa = aaaa !== undefined && rcode(aaaa) === RCODE.NOERROR;
  const hasReal =
    hasAaaa && aaaa.records.some((record) => isAddress(record, TYPE.AAAA) && !isExcluded(aaaa, record, policy));
  const original = (reason: PassthroughReason): Decision => {
    if (hasReal) return { kind: 'aaaa', reason: 'aaaaExists' };
    if (aaaa === undefined) return { kind: 'servfail', reason: 'aaaaError' };
    return { kind: 'aaaa', reason: hasAaaa ? reason : 'aaaaError' };
  };
  if (a === undefined) return hasReal ? original('aaaaExists') : { kind: 'servfail', reason: 'aError' };
  if (rcode(a) === RCODE.NXDOMAIN && hasAaaa) return original('noA');
  if (rcode(a) !== RCODE.NOERROR) return hasReal ? original('aaaaExists') : { kind: 'a', reason: 'aError' };
  const records = a.records.filter((record) => isAddress(record, TYPE.A));
  const considered = [...new Set(records.map((record) => a.bytes.readUInt32BE(record.rdataAt)))];
  if (considered.length === 0) return original('noA');
  // §5.1.7: a record whose range has no prefix is skipped; where that leaves none, it is as if there were no A.
  if (!considered.some((v4) => prefixesFor(v4, policy).length > 0)) {
    const refused = refusedAddress(considered, policy);
    const reason = refused !== undefined && isOfOperator(refused.rule) ? 'refused' : 'notMappable';
    const decision = original(reason);
    return decision.kind === 'aaaa' && decision.reason === reason
      ? { ...decision, refused, considered }
      : { ...decision, considered };
  }
  // §5.1.7, first and second sentence on TTL.
  const maxTtlSeconds = hasAaaa ? (negativeSeconds(aaaa) ?? NO_SOA_TTL_SECONDS) : AFTER_ERROR_TTL_SECONDS;
  return { kind: 'synthesize', maxTtlSeconds, considered };
}
