// SPDX-License-Identifier: Apache-2.0
// An answer as it is kept, and as it leaves for one client: ID, question case, TTLs, EDNS and truncation
// (RFC 1035 §4.1.1, RFC 2308 §5, RFC 6891 §6, RFC 8767 §5, RFC 8914).

import type { Outcome } from './observer.ts';
import { OPT_OCTETS, isHopOption, readQuery, writeOpt, type Query, type Refusal } from './query.ts';
import { rewrite } from './rewrite.ts';
import { FLAG, HEADER_LENGTH, RCODE, TYPE, eachOption, findOpt, readMessage } from './wire.ts';
import type { Message, RecordAt } from './wire.ts';

export interface Answer {
  /** A whole message without OPT (unless `optInside`). ID, RD, CD and question are overwritten per client. */
  readonly body: Buffer;
  readonly questionEnd: number;
  readonly ttlAt: readonly number[];
  /** EDNS options for clients that sent OPT. */
  readonly options: Buffer;
  /** Upper eight bits of the RCODE (RFC 6891 §6.1.3). */
  readonly rcodeHigh: number;
  readonly optInside: boolean;
  /** How long it may be served again; 0: not at all. */
  readonly lifetimeSeconds: number;
  readonly outcome: Outcome | undefined;
  /** Made because AAAA could not be asked: an older real AAAA is better than this. */
  readonly isMakeshift?: boolean;
  /** The IPv4 addresses that it was decided about: it stands as long as the same ones are refused. */
  readonly considered?: readonly number[] | undefined;
  /** What its synthesis shows; set where `outcome` is "synthesized". */
  readonly shown?: Shown | undefined;
}

/** A name that leads to IPv4 addresses by synthesis. */
export interface Shown {
  readonly name: string;
  readonly addresses: readonly number[];
  readonly ttlSeconds: number;
}

/** A name has led `client`, an address as its socket names it, to an IPv4 address by synthesis. Must be quick and not throw. */
export type OnSynthesized = (name: string, v4: number, ttlSeconds: number, client: string) => void;

/** RFC 8767 §4: TTL of stale data. */
const STALE_TTL_SECONDS = 30;
/** RFC 2308 §7.1 allows five minutes; an outage must not outlive itself by much. */
const ERROR_LIFETIME_SECONDS = 5;
/** RFC 2308 §5. */
const MAX_NEGATIVE_SECONDS = 10800;
/** RFC 8767 §4 caps what a server may claim. */
const MAX_LIFETIME_SECONDS = 86400;
const NO_OPTIONS = Buffer.alloc(0);

/**
 * Extended DNS Error codes in use here. OTHER says, in EXTRA-TEXT, that the NAT64 refuses a name's addresses: Blocked (15)
 * and Filtered (17) mean that "the domain is on a blocklist" (RFC 8914 §4.16, §4.18), which no name is here, Prohibited
 * (18) an "unauthorized" client (§4.19), so none of the known codes matches (§4.1).
 */
export const EDE = { OTHER: 0, NO_REACHABLE_AUTHORITY: 22, SYNTHESIZED: 29 } as const;

/** RFC 8914 §2. `extraText` is to be short: what does not fit a client's UDP size is truncated (§3). */
export function edeOption(code: number, extraText = ''): Buffer {
  const text = Buffer.from(extraText, 'utf8');
  const option = Buffer.alloc(6 + text.length);
  option.writeUInt16BE(15, 0);
  option.writeUInt16BE(2 + text.length, 2);
  option.writeUInt16BE(code, 4);
  text.copy(option, 6);
  return option;
}

/** Seconds a negative answer stands for: min(SOA TTL, SOA MINIMUM) (RFC 2308 §5), or undefined without SOA. */
export function negativeSeconds(message: Message): number | undefined {
  const soa = message.records.find((record) => record.section === 'authority' && record.type === TYPE.SOA);
  if (soa === undefined || soa.end - soa.rdataAt < 22) return undefined;
  return Math.min(soa.ttlSeconds, message.bytes.readUInt32BE(soa.end - 4), MAX_NEGATIVE_SECONDS);
}

function lifetime(message: Message): number {
  const rcode = message.flags & 15;
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return ERROR_LIFETIME_SECONDS;
  let seconds = MAX_LIFETIME_SECONDS;
  let isPositive = false;
  for (const record of message.records) {
    if (record.type === TYPE.OPT) continue;
    // RFC 2181 §8: a TTL with the highest bit set counts as zero.
    seconds = Math.min(seconds, record.ttlSeconds > 0x7fffffff ? 0 : record.ttlSeconds);
    if (record.section === 'answer' && (record.type === message.type || message.type === TYPE.ANY)) isPositive = true;
  }
  if (isPositive && rcode === RCODE.NOERROR) return seconds;
  return Math.min(seconds, negativeSeconds(message) ?? ERROR_LIFETIME_SECONDS);
}

/** What to do with the OPT of an upstream's message: drop it for one of ours per client, or leave every octet. */
export function toAnswer(message: Message, optInside: boolean, outcome?: Outcome, extra: Buffer = NO_OPTIONS): Answer {
  const opt = findOpt(message.records);
  const isStripped = opt !== undefined && !optInside;
  const kept = isStripped ? withoutOpt(message, opt) : message;
  return {
    body: kept.bytes,
    questionEnd: kept.questionEnd,
    ttlAt: ttlOffsets(kept.records, opt),
    options: isStripped && opt.end > opt.rdataAt ? Buffer.concat([extra, endToEndOptions(message, opt)]) : extra,
    rcodeHigh: isStripped ? opt.ttlSeconds >>> 24 : 0,
    optInside: optInside && opt !== undefined,
    lifetimeSeconds: optInside ? 0 : lifetime(message),
    outcome,
  };
}

function ttlOffsets(records: readonly RecordAt[], opt: RecordAt | undefined): number[] {
  const offsets: number[] = [];
  for (const record of records) if (record !== opt) offsets.push(record.ttlAt);
  return offsets;
}

function withoutOpt(message: Message, opt: RecordAt): Message {
  if (opt.end !== message.bytes.length) return rewrite(message, (record) => (record === opt ? 'drop' : 'keep'));
  const bytes = Buffer.from(message.bytes.subarray(0, opt.at));
  bytes.writeUInt16BE(bytes.readUInt16BE(10) - 1, 10);
  return { ...message, bytes, records: message.records.slice(0, -1) };
}

/** The options that are not of one hop, as they are. Throws G64_DNS_MALFORMED. */
function endToEndOptions({ bytes }: Message, opt: RecordAt): Buffer {
  const options: Buffer[] = [];
  eachOption(bytes, opt.rdataAt, opt.end, (code, dataAt, dataEnd) => {
    if (!isHopOption(code)) options.push(bytes.subarray(dataAt - 4, dataEnd));
  });
  return Buffer.concat(options);
}

/** An answer of ours with an RCODE and nothing else. */
export function errorAnswer(query: Query, rcode: number, outcome?: Outcome, ede?: number): Answer {
  const body = Buffer.alloc(query.questionEnd);
  query.bytes.copy(body, HEADER_LENGTH, HEADER_LENGTH, query.questionEnd);
  body.writeUInt16BE(FLAG.QR | FLAG.RA | (rcode & 15), 2);
  body[5] = 1;
  return {
    body,
    questionEnd: query.questionEnd,
    ttlAt: [],
    options: ede === undefined ? NO_OPTIONS : edeOption(ede),
    rcodeHigh: rcode >> 4,
    optInside: false,
    lifetimeSeconds: ERROR_LIFETIME_SECONDS,
    outcome,
  };
}

export function answerRcode(answer: Answer): number {
  return (answer.rcodeHigh << 4) | ((answer.body[3] as number) & 15);
}

/** Where the cache has an answer, and since when on its clock. */
export interface Kept {
  readonly key: string;
  readonly storedAtMs: number;
}

/** Where an answer comes from: upstream just now, the cache after some seconds, or the cache beyond its time. */
export interface Served {
  readonly answer: Answer;
  /** Its place in the cache, for what comes from there within its time. */
  readonly kept?: Kept;
  readonly ageSeconds: number;
  readonly isStale: boolean;
  /** What the cache made it of; of answers within their time alone. */
  readonly packed?: object;
}

export function fresh(answer: Answer): Served {
  return { answer, ageSeconds: 0, isStale: false };
}

/** Seconds left of a TTL at serve time. */
export function remaining(ttlSeconds: number, served: Served): number {
  return served.isStale ? Math.min(ttlSeconds, STALE_TTL_SECONDS) : Math.max(0, ttlSeconds - served.ageSeconds);
}

/**
 * The answer as a message with its TTLs counted down, for synthesis out of it. Its octets are read again: records kept read
 * would take more memory than the octets, in every entry of the cache, and only A answers behind AAAA questions need them.
 */
export function servedMessage(served: Served): Message {
  const { answer } = served;
  if (!served.isStale && served.ageSeconds === 0) return readMessage(answer.body);
  const bytes = Buffer.from(answer.body);
  for (const at of answer.ttlAt) bytes.writeUInt32BE(remaining(bytes.readUInt32BE(at), served), at);
  return readMessage(bytes);
}

/** The octets for one client. `limit`: the most it takes, RFC 6891 §6.2.5 over UDP, 65535 over TCP. */
export function render(served: Served, query: Query, limit: number): Buffer {
  const { answer } = served;
  const { body } = answer;
  const addsOpt = query.hasOpt && !answer.optInside;
  const length = body.length + (addsOpt ? OPT_OCTETS + answer.options.length : 0);
  if (length > limit) return truncated(served, query, limit);
  const out = Buffer.allocUnsafe(length);
  body.copy(out, 0);
  stamp(out, query);
  query.bytes.copy(out, HEADER_LENGTH, HEADER_LENGTH, query.questionEnd);
  countDown(out, served, answer.ttlAt.length);
  if (addsOpt) {
    writeOpt(out, body.length, answer.rcodeHigh, query.dnssecOk, answer.options.length);
    answer.options.copy(out, body.length + OPT_OCTETS);
    out[11] = (out[11] as number) + 1;
    if (out[11] === 0) out[10] = (out[10] as number) + 1;
  }
  return out;
}

/**
 * TC, and as many whole records of the answer section as fit (RFC 2181 §9). A client is to ask again over TCP; musl before
 * 1.2.4 and others cannot, and take what is there.
 */
function truncated(served: Served, query: Query, limit: number): Buffer {
  const { answer } = served;
  const { body } = answer;
  const room = limit - (query.hasOpt ? OPT_OCTETS : 0);
  let count = 0;
  let end = query.questionEnd;
  // The answer section comes first (RFC 1035 §4.1), and names in it point backwards only.
  const inAnswer = Math.min(body.readUInt16BE(6), answer.ttlAt.length);
  while (count < inAnswer) {
    const ttlAt = answer.ttlAt[count] as number;
    const next = ttlAt + 6 + body.readUInt16BE(ttlAt + 4);
    if (next > room) break;
    end = next;
    count++;
  }
  const out = Buffer.allocUnsafe(end + (query.hasOpt ? OPT_OCTETS : 0));
  body.copy(out, 0, 0, end);
  stamp(out, query);
  out[2] = (out[2] as number) | (FLAG.TC >> 8);
  out.writeUInt16BE(count, 6);
  out.fill(0, 8, HEADER_LENGTH);
  query.bytes.copy(out, HEADER_LENGTH, HEADER_LENGTH, query.questionEnd);
  countDown(out, served, count);
  if (query.hasOpt) {
    out[11] = 1;
    writeOpt(out, end, answer.rcodeHigh, query.dnssecOk, 0);
  }
  return out;
}

/** Into the first `count` records of `out`, which begins as the answer's body does. */
function countDown(out: Buffer, served: Served, count: number): void {
  if (served.ageSeconds === 0 && !served.isStale) return;
  // RFC 1035 §4.1.1: what comes out of a cache is nobody's authority.
  out[2] = (out[2] as number) & ~(FLAG.AA >> 8);
  const { body, ttlAt } = served.answer;
  for (let i = 0; i < count; i++) {
    const at = ttlAt[i] as number;
    out.writeUInt32BE(remaining(body.readUInt32BE(at), served), at);
  }
}

/**
 * ID, RD and CD are the client's (RFC 1035 §4.1.1, RFC 4035 §3.2.2). RA is ours: we recurse, even where an upstream that is
 * the name's own server does not, and stub resolvers give up without it.
 */
function stamp(out: Buffer, query: Query): void {
  out[0] = query.bytes[0] as number;
  out[1] = query.bytes[1] as number;
  out[2] = ((out[2] as number) & ~(FLAG.RD >> 8)) | ((query.flags & FLAG.RD) >> 8);
  out[3] = ((out[3] as number) & ~FLAG.CD) | FLAG.RA | (query.flags & FLAG.CD);
}

/** An empty answer that says: come by TCP (RFC 2181 §9). A query that cannot be taken gets its error; undefined: no query. */
export function renderTruncated(bytes: Buffer): Buffer | undefined {
  const query = readQuery(bytes);
  if (query === undefined) return undefined;
  if ('rcode' in query) return renderRefusal(bytes, query);
  const out = renderRefusal(bytes, { ...query, rcode: RCODE.NOERROR });
  out.writeUInt16BE(out.readUInt16BE(2) | FLAG.TC, 2);
  return out;
}

/** The answer to a query that was refused before it could be looked up. */
export function renderRefusal(bytes: Buffer, refusal: Refusal): Buffer {
  const end = Math.max(refusal.questionEnd, HEADER_LENGTH);
  const out = Buffer.alloc(end + (refusal.hasOpt ? OPT_OCTETS : 0));
  bytes.copy(out, 0, 0, end);
  // Opcode, RD and CD are copied; all else is ours.
  out.writeUInt16BE(
    FLAG.QR | FLAG.RA | (bytes.readUInt16BE(2) & (0x7800 | FLAG.RD | FLAG.CD)) | (refusal.rcode & 15),
    2,
  );
  out.fill(0, 4, 12);
  out[5] = refusal.questionEnd > 0 ? 1 : 0;
  if (refusal.hasOpt) {
    out[11] = 1;
    writeOpt(out, end, refusal.rcode >> 4, false, 0);
  }
  return out;
}
