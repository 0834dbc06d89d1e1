// SPDX-License-Identifier: Apache-2.0
// Which answers the kernel is to give, and to whom: those that are asked for again and again, to clients that have had them
// from here. So who may ask, what is refused, and which client was led where is decided and noted here alone.

import { isIPv4 } from 'node:net';
import { ip4Octets, parseIp4, parseIp6 } from '../addr/ip.ts';
import type { KernelAnswers, KernelCounts } from '../kernel-dns/kernel-answers.ts';
import { DNS_MAX_TTLS, DNS_NAME_OCTETS, DNS_TAIL_OCTETS } from '../model/dns-layout.gen.ts';
import { render, type Answer, type Kept, type Served } from './answer.ts';
import type { Local, Peer } from './listener.ts';
import { OPT_OCTETS, type Query } from './query.ts';
import { CLASS_IN, FLAG, HEADER_LENGTH, lower } from './wire.ts';

const MIN_USES = 3;
/** And so often a second. */
const MIN_USES_PER_SECOND = 0.5;
/** For less it is not worth the writing. */
const MIN_SECONDS_LEFT = 1;
/** A client is not told again so soon. */
const RETELL_MS = 100;
const TIDY_MS = 1000;
/** The cache is told so often of what the kernel gives, so that it keeps it for when upstream fails. */
const USE_TICKS = 60;
/** Its index in every network namespace. */
const LOOPBACK = 1;
const MAX_OCTETS = 65535;
/** How clients may ask the same question: RD, AD, CD, OPT, DO. */
const FORMS = 32;

interface Uses {
  count: number;
  /** Of the kernel's answers that `ids` names. */
  epoch: number;
  /** By form: the number of the kernel's answer, 0: none. */
  readonly ids: Uint32Array;
  /** Who was told last, of which form. */
  client: string;
  form: number;
  toldAtMs: number;
}

export interface KernelStats extends KernelCounts {
  readonly entries: number;
  /** Those that questions of hot names came by. */
  readonly interfaces: readonly string[];
}

export interface HotOptions {
  /** An answer is hot when it was given so often from the cache; default 3. */
  readonly minUses?: number | undefined;
  /** Told of what is given by the kernel, by its key in the cache. */
  readonly onUse: (key: string) => void;
  /** The kernel has refused something: it gives no answer any more. */
  readonly onProblem: (error: unknown) => void;
}

export class HotAnswers {
  readonly #kernel: KernelAnswers;
  readonly #options: HotOptions;
  readonly #minUses: number;
  /** Of the kernel's answers, by number: their keys in the cache. */
  readonly #keys = new Map<number, string>();
  readonly #uses = new WeakMap<Kept, Uses>();
  /** What is added to performance.now() for CLOCK_MONOTONIC; both count the same seconds. */
  readonly #monotonicOffsetNs = process.hrtime.bigint() - BigInt(Math.round(performance.now() * 1e6));
  readonly #timer: NodeJS.Timeout;
  #epoch = 0;
  #ticks = 0;
  #isFull = false;
  #isBroken = false;

  constructor(kernel: KernelAnswers, options: HotOptions) {
    this.#kernel = kernel;
    this.#options = options;
    this.#minUses = options.minUses ?? MIN_USES;
    this.#timer = setInterval(() => this.#tidy(), TIDY_MS).unref();
  }

  /** Undefined once it has failed. */
  stats(): KernelStats | undefined {
    if (this.#isBroken) return undefined;
    const { size, interfaces } = this.#kernel;
    return { ...this.#kernel.counts(), entries: size, interfaces };
  }

  /** Listeners or limits have changed: nothing from before is given any more. */
  configure(ports: readonly number[], maxOctets: number): void {
    this.#guarded(() => this.#kernel.configure(ports, maxOctets));
    this.#epoch++;
  }

  /** Something has changed that answers depend on. */
  flush(): void {
    this.#guarded(() => this.#kernel.flush());
    this.#epoch++;
  }

  /** An answer was given from the cache over UDP, `limit` octets at most, at `nowMs` of performance.now(). */
  served(served: Served, query: Query, from: Peer, limit: number, nowMs: number): void {
    const { answer, kept } = served;
    if (kept === undefined || this.#isBroken) return;
    const uses = this.#usesOf(kept);
    uses.count++;
    if (uses.count < this.#minUses || this.#isFull) return;
    // What comes here all the same is not for the kernel to answer: behind address translation, say.
    const form = formOf(query);
    if (nowMs - uses.toldAtMs < RETELL_MS && uses.client === from.address && uses.form === form) return;
    const ageSeconds = (nowMs - kept.storedAtMs) / 1000;
    if (uses.count < ageSeconds * MIN_USES_PER_SECOND || answer.lifetimeSeconds - ageSeconds < MIN_SECONDS_LEFT) return;
    const { local } = from;
    if (local === undefined || !isGiven(answer, query, limit)) return;
    uses.client = from.address;
    uses.form = form;
    uses.toldAtMs = nowMs;
    this.#guarded(() => {
      const id = uses.ids[form] || (uses.ids[form] = this.#put(answer, kept, query) ?? 0);
      if (id === 0) this.#isFull = true;
      else this.#kernel.tell(clientOf(from, local), id);
    });
  }

  close(): void {
    clearInterval(this.#timer);
    this.#kernel.close();
  }

  #usesOf(kept: Kept): Uses {
    let uses = this.#uses.get(kept);
    if (uses === undefined) {
      uses = { count: 0, epoch: this.#epoch, ids: new Uint32Array(FORMS), client: '', form: 0, toldAtMs: -Infinity };
      this.#uses.set(kept, uses);
    } else if (uses.epoch !== this.#epoch) {
      uses.epoch = this.#epoch;
      uses.ids.fill(0);
      uses.toldAtMs = -Infinity;
    }
    return uses;
  }

  #put(answer: Answer, kept: Kept, query: Query): number | undefined {
    // As a client would have had it at once, whole; what has become of its TTLs since, the kernel counts itself.
    const bytes = render({ answer, ageSeconds: 0, isStale: false }, query, MAX_OCTETS);
    const tailAt = query.questionEnd;
    const name = new Uint8Array(DNS_NAME_OCTETS);
    for (let at = HEADER_LENGTH; at < query.nameEnd; at++) name[at - HEADER_LENGTH] = lower(query.bytes[at] as number);
    const storedNs = this.#monotonicNs(kept.storedAtMs);
    const id = this.#kernel.put({
      question: {
        name,
        type: query.type,
        flags: query.flags,
        nameOctets: query.nameEnd - HEADER_LENGTH,
        opt: (query.hasOpt ? 1 : 0) | (query.dnssecOk ? 2 : 0),
      },
      flags: bytes.readUInt16BE(2),
      answers: bytes.readUInt16BE(6),
      authorities: bytes.readUInt16BE(8),
      additionals: bytes.readUInt16BE(10),
      tail: bytes.subarray(tailAt),
      ttls: answer.ttlAt.map((at) => ({ at: at - tailAt, seconds: bytes.readUInt32BE(at) })),
      storedNs,
      expiresNs: storedNs + BigInt(answer.lifetimeSeconds) * 1_000_000_000n,
    });
    if (id !== undefined) this.#keys.set(id, kept.key);
    return id;
  }

  #monotonicNs(ms: number): bigint {
    return BigInt(Math.round(ms * 1e6)) + this.#monotonicOffsetNs;
  }

  #tidy(): void {
    this.#isFull = false;
    this.#guarded(() => this.#kernel.tidy(process.hrtime.bigint()));
    for (const id of this.#keys.keys()) if (!this.#kernel.has(id)) this.#keys.delete(id);
    if (++this.#ticks % USE_TICKS === 0) for (const key of this.#keys.values()) this.#options.onUse(key);
  }

  /** What fails once is left: everything is answered here then, as it is without. */
  #guarded(action: () => void): void {
    if (this.#isBroken) return;
    try {
      action();
    } catch (error) {
      this.#isBroken = true;
      clearInterval(this.#timer);
      this.#kernel.close();
      this.#options.onProblem(error);
    }
  }
}

/** Whether the kernel's program would take this question, and may give this answer. */
function isGiven(answer: Answer, query: Query, limit: number): boolean {
  const tailOctets = answer.body.length - query.questionEnd + (query.hasOpt ? OPT_OCTETS + answer.options.length : 0);
  return (
    tailOctets <= DNS_TAIL_OCTETS &&
    query.questionEnd + tailOctets <= limit &&
    answer.ttlAt.length <= DNS_MAX_TTLS &&
    !answer.optInside &&
    query.klass === CLASS_IN &&
    (query.flags & ~(FLAG.RD | FLAG.AD | FLAG.CD)) === 0 &&
    query.nameEnd - HEADER_LENGTH <= DNS_NAME_OCTETS &&
    query.bytes.length === query.questionEnd + (query.hasOpt ? OPT_OCTETS : 0)
  );
}

function formOf({ flags, hasOpt, dnssecOk }: Query): number {
  return (
    (flags & FLAG.RD ? 1 : 0) |
    (flags & FLAG.AD ? 2 : 0) |
    (flags & FLAG.CD ? 4 : 0) |
    (hasOpt ? 8 : 0) |
    (dnssecOk ? 16 : 0)
  );
}

function clientOf(from: Peer, local: Local): Parameters<KernelAnswers['tell']>[0] {
  // What the node asks itself comes by loopback, though the kernel names the interface that has the address.
  const ifindex = from.address === local.address ? LOOPBACK : local.ifindex;
  return { client: octetsOf(from.address), asked: octetsOf(local.address), port: local.port, ifindex };
}

function octetsOf(address: string): Uint8Array {
  if (!isIPv4(address)) return parseIp6(address.replace(/%.*/, ''));
  const octets = new Uint8Array(16).fill(0xff, 10, 12);
  octets.set(ip4Octets(parseIp4(address)), 12);
  return octets;
}
