// SPDX-License-Identifier: Apache-2.0
// One query from octets to octets: refused, answered here, from the cache, or from upstream (RFC 6147 §5). Every query
// is answered once, and within two seconds, which is when CoreDNS gives up.

import {
  fresh,
  remaining,
  render,
  renderRefusal,
  answerRcode,
  errorAnswer,
  servedMessage,
  toAnswer,
} from './answer.ts';
import { EDE, edeOption, type Answer, type OnSynthesized, type Served } from './answer.ts';
import { AnswerCache, type Clock } from './cache.ts';
import { AFTER_ERROR_TTL_SECONDS, judge, judgeAaaa, refusedText, type Dns64Policy } from './decide.ts';
import type { HotAnswers } from './hot.ts';
import { answerIpv4Only } from './ipv4only.ts';
import type { Peer, Reply } from './listener.ts';
import { rcodeLabel, typeLabel, type DnsObserver, type Transport, type Outcome } from './observer.ts';
import { answerPtr, answerWellKnownPtr, reverseTarget } from './ptr.ts';
import { queryKey, readQuery, upstreamQuery, type Query } from './query.ts';
import { Repeats } from './repeats.ts';
import { answerResolverArpa } from './resolver-arpa.ts';
import { retype, synthesize, withoutExcluded } from './synth.ts';
import type { UpstreamPool } from './upstream.ts';
import { CLASS_IN, FLAG, HEADER_LENGTH, RCODE, TYPE, nameText, type Message } from './wire.ts';

/** Leaves CoreDNS, which waits 2 s, time to hear of it. */
const BUDGET_MS = 1700;
/** Health probes (". NS") get half of the second that CoreDNS waits for them. */
const PROBE_BUDGET_MS = 450;
const MAX_TCP_SIZE = 65535;
/** Questions waiting for upstream; beyond, the newest are turned away rather than all made late. */
const MAX_WAITING = 20_000;
/** Of repeated questions one in so many is measured, and stands for those after it. */
const SAMPLED = 8;

export interface ForwarderOptions {
  readonly policy: Dns64Policy;
  /** Octets of an answer over UDP at most. */
  readonly maxUdpSize: number;
  readonly upstreams: UpstreamPool;
  readonly cache: AnswerCache;
  readonly observer: DnsObserver;
  readonly now: Clock;
  /** Told of every answer, those of the cache too; of a question repeated within a second by one client once. */
  readonly onSynthesized?: OnSynthesized | undefined;
  /** Told of every answer over UDP from the cache. */
  readonly hot?: HotAnswers | undefined;
}

export class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #inFlight = new Map<string, Promise<Served>>();
  readonly #repeats = new Repeats();
  #repeated = 0;
  /** What the last one took that was measured. */
  #repeatSeconds = 0;
  #waiting = 0;

  constructor(options: ForwarderOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#waiting;
  }

  /** As a QueryHandler. `startedAt`: of the clock, which is then not read again for an answer of the cache. */
  handle(bytes: Buffer, transport: Transport, from: Peer, reply: Reply, startedAt = this.#options.now()): boolean {
    if (transport === 'udp' && this.#again(bytes, from, startedAt, reply)) return true;
    const query = readQuery(bytes);
    if (query === undefined) return false;
    const { observer } = this.#options;
    if ('rcode' in query) {
      observer.request(transport, 'other');
      reply(renderRefusal(bytes, query));
      observer.response(rcodeLabel(query.rcode), this.#secondsSince(startedAt));
      return true;
    }
    observer.request(transport, typeLabel(query.type));
    if (!query.isRaw) {
      const served = this.#local(query) ?? this.#cached(query, transport);
      if (served) {
        this.#finish(served, query, transport, from, startedAt, reply);
        if (transport === 'udp') this.#options.hot?.served(served, query, from, this.#udpLimit(query), startedAt);
        return true;
      }
    }
    const own = query.isRaw ? this.#local(query) : undefined;
    // A query that we have sent ourselves: an upstream is this very listener, or one that forwards to it.
    const { upstreams } = this.#options;
    const isLoop = transport === 'udp' && this.#waiting > 0 && upstreams.noteLoop(from.port, bytes, from.address);
    if (own || isLoop || this.#waiting >= MAX_WAITING) {
      const served = own ?? fresh(errorAnswer(query, RCODE.SERVFAIL));
      this.#finish(served, query, transport, from, startedAt, reply);
      return true;
    }
    this.#waiting++;
    // The listener writes the next query where this one is.
    const kept = { ...query, bytes: Buffer.from(bytes) };
    void this.#answer(kept, transport, from, startedAt, reply);
    return true;
  }

  /** A question that was answered from the cache before, and is now. */
  #again(bytes: Buffer, from: Peer, startedAt: number, reply: Reply): boolean {
    const repeat = this.#repeats.find(bytes);
    const { cache, observer, hot } = this.#options;
    if (repeat === undefined) return false;
    const served = cache.get(repeat.key, startedAt, repeat.served);
    if (served === undefined) return false;
    observer.request('udp', repeat.typeLabel);
    observer.cacheHit();
    const limit = this.#udpLimit(repeat.query);
    const answer = repeat.render(served, limit);
    if (served.answer.shown !== undefined && !repeat.isTold(from.address, startedAt)) {
      this.#tell(served, from.address);
    }
    reply(answer);
    if (this.#repeated++ % SAMPLED === 0) this.#repeatSeconds = this.#secondsSince(startedAt);
    this.#count(served, repeat.rcodeLabel, this.#repeatSeconds);
    hot?.served(served, repeat.query, from, limit, startedAt);
    return true;
  }

  async #answer(query: Query, transport: Transport, from: Peer, startedAt: number, reply: Reply): Promise<void> {
    let served: Served;
    try {
      served = await this.#resolve(this.#decided(query));
    } catch {
      // A message that cannot be rewritten: no answer is worse than an error.
      served = fresh(errorAnswer(query, RCODE.SERVFAIL));
    } finally {
      this.#waiting--;
    }
    this.#finish(served, query, transport, from, startedAt, reply);
  }

  #finish(served: Served, query: Query, transport: Transport, from: Peer, startedAt: number, reply: Reply): void {
    // Before the answer leaves: the client's first packet may come at once.
    this.#tell(served, from.address);
    reply(render(served, query, transport === 'udp' ? this.#udpLimit(query) : MAX_TCP_SIZE));
    this.#count(served, rcodeLabel(answerRcode(served.answer)), this.#secondsSince(startedAt));
  }

  #count({ answer: { outcome } }: Served, rcode: string, seconds: number): void {
    const { observer } = this.#options;
    if (outcome === 'synthesized') observer.synthesized();
    else if (outcome !== undefined) observer.passthrough(outcome);
    observer.response(rcode, seconds);
  }

  #secondsSince(startedAt: number): number {
    return (this.#options.now() - startedAt) / 1000;
  }

  #udpLimit(query: Query): number {
    return Math.min(query.udpSize, this.#options.maxUdpSize);
  }

  #tell(served: Served, client: string): void {
    const { onSynthesized } = this.#options;
    const { shown } = served.answer;
    if (onSynthesized === undefined || shown === undefined) return;
    const ttlSeconds = remaining(shown.ttlSeconds, served);
    for (const v4 of shown.addresses) onSynthesized(shown.name, v4, ttlSeconds, client);
  }

  /** What needs neither cache nor upstream. */
  #local(query: Query): Served | undefined {
    const { prefixes } = this.#options.policy;
    if (query.klass !== CLASS_IN) return undefined;
    const ofResolver = answerResolverArpa(query);
    if (ofResolver) return fresh(ofResolver);
    // RFC 8880 §7.1: without DNS64 there is nothing special about these names.
    if (prefixes.length === 0) return undefined;
    const answer = answerIpv4Only(query, prefixes);
    if (answer) return fresh(answer);
    if (query.type !== TYPE.PTR) return undefined;
    const target = reverseTarget(query, prefixes);
    const wellKnown = target && answerWellKnownPtr(query, target);
    return wellKnown && fresh(wellKnown);
  }

  /** As it is decided about: with dns.ignoreChecking AAAA is asked as without CD, so that the upstream validates. */
  #decided(query: Query): Query {
    if (this.#options.policy.ignoreChecking !== true || query.type !== TYPE.AAAA || (query.flags & FLAG.CD) === 0) {
      return query;
    }
    const flags = query.flags & ~FLAG.CD;
    if (!query.isRaw) return { ...query, flags };
    const bytes = Buffer.from(query.bytes);
    bytes.writeUInt16BE(flags, 2);
    return { ...query, bytes, flags };
  }

  #cached(query: Query, transport: Transport): Served | undefined {
    const { cache, observer } = this.#options;
    const key = queryKey(this.#decided(query), query.type);
    const served = cache.get(key);
    if (served) {
      observer.cacheHit();
      if (transport === 'udp') this.#repeats.add(query, key);
    } else observer.cacheMiss();
    return served;
  }

  #resolve(query: Query): Promise<Served> {
    if (query.klass !== CLASS_IN) return this.#plain(query, query.type, query.type === TYPE.AAAA ? 'class' : undefined);
    if (query.type === TYPE.AAAA) {
      // RFC 6147 §5.5 (3), and what validators behind us rely on: CD=1 gets the data as it is.
      if (query.flags & FLAG.CD) return this.#plain(query, TYPE.AAAA, 'checkingDisabled');
      return this.#shared(query, TYPE.AAAA, () => this.#dns64(query));
    }
    if (query.type === TYPE.PTR) {
      const { prefixes } = this.#options.policy;
      const target = prefixes.length > 0 ? reverseTarget(query, prefixes) : undefined;
      if (target) return this.#shared(query, TYPE.PTR, () => this.#reverse(query, target));
    }
    return this.#plain(query, query.type);
  }

  /** Equal questions in flight are asked once; what comes back is kept, or what was kept replaces a failure. */
  #shared(query: Query, type: number, ask: () => Promise<Answer>): Promise<Served> {
    if (query.isRaw)
      return ask()
        .catch(() => unwritable(query))
        .then(fresh);
    const key = queryKey(query, type);
    const running = this.#inFlight.get(key);
    if (running) return running;
    const asked = this.#asked(query, key, ask);
    this.#inFlight.set(key, asked);
    return asked;
  }

  async #asked(query: Query, key: string, ask: () => Promise<Answer>): Promise<Served> {
    const { cache } = this.#options;
    try {
      // What cannot be written is remembered as any error, since finding it out takes longer than an answer.
      const answer = await ask().catch(() => unwritable(query));
      const isFailure = answerRcode(answer) === RCODE.SERVFAIL && answer.outcome !== 'bogus';
      if (isFailure || answer.isMakeshift) {
        // RFC 8767 §5. A name that had a real AAAA is not moved to NAT64 by an outage of its resolver.
        const stale = cache.getStale(key);
        if (stale && (isFailure || stale.answer.outcome === 'aaaaExists')) return stale;
      }
      cache.put(key, answer);
      return fresh(answer);
    } finally {
      this.#inFlight.delete(key);
    }
  }

  /** Upstream's answer as it is. */
  #plain(query: Query, type: number, outcome?: Outcome): Promise<Served> {
    return this.#shared(query, type, async () => {
      const message = await this.#options.upstreams.exchange(upstreamQuery(query, type), budgetFor(query));
      return this.#asItStands(query, message, outcome);
    });
  }

  #asItStands(query: Query, message: Message | undefined, outcome?: Outcome): Answer {
    try {
      if (message) return toAnswer(message, query.isRaw, outcome);
    } catch {
      // An OPT that cannot be read: as good as no answer.
    }
    return this.#unreachable(query, outcome);
  }

  #unreachable(query: Query, outcome?: Outcome): Answer {
    // Not kept for long: the next question may well find upstream back.
    const answer = errorAnswer(query, RCODE.SERVFAIL, outcome, EDE.NO_REACHABLE_AUTHORITY);
    return { ...answer, lifetimeSeconds: 1 };
  }

  /** RFC 6147 §5.1, with AAAA and A asked at the same time (§5.1.8). */
  async #dns64(query: Query): Promise<Answer> {
    const { policy, upstreams } = this.#options;
    const a = this.#a(query);
    const aaaa = await upstreams.exchange(upstreamQuery(query, TYPE.AAAA), BUDGET_MS);
    const early = judgeAaaa(aaaa, policy);
    const servedA = early ? undefined : await a;
    const messageA = servedA && servedMessage(servedA);
    const decision = early ?? judge(aaaa, messageA && isAnswered(servedA.answer) ? messageA : undefined, policy);
    switch (decision.kind) {
      case 'synthesize':
        return {
          ...this.#synthesis(query, messageA as Message, decision.maxTtlSeconds, servedA as Served),
          isMakeshift: aaaa === undefined || (aaaa.flags & 15) !== RCODE.NOERROR,
          considered: decision.considered,
        };
      case 'aaaa': {
        const { reason, refused, considered } = decision;
        const why = refused && edeOption(EDE.OTHER, refusedText(refused));
        return { ...toAnswer(withoutExcluded(aaaa as Message, policy), query.isRaw, reason, why), considered };
      }
      case 'a': {
        const { options, rcodeHigh } = (servedA as Served).answer;
        return { ...toAnswer(retype(messageA as Message), query.isRaw, decision.reason), options, rcodeHigh };
      }
      default:
        return { ...this.#unreachable(query, decision.reason), considered: decision.considered };
    }
  }

  /** The A side of an AAAA question: cache, or upstream. */
  #a(query: Query): Promise<Served> {
    const cached = query.isRaw ? undefined : this.#options.cache.get(queryKey(query, TYPE.A));
    return cached ? Promise.resolve(cached) : this.#plain(query, TYPE.A);
  }

  #synthesis(query: Query, a: Message, maxTtlSeconds: number, served: Served): Answer {
    const { policy } = this.#options;
    const capSeconds = served.isStale ? Math.min(maxTtlSeconds, AFTER_ERROR_TTL_SECONDS) : maxTtlSeconds;
    const { message, addresses, ttlSeconds } = synthesize(a, policy, capSeconds);
    const options = Buffer.concat([edeOption(EDE.SYNTHESIZED), served.answer.options]);
    // The name that was asked for, whatever CNAMEs led on.
    const shown = { name: nameText(query.bytes, HEADER_LENGTH), addresses, ttlSeconds };
    return { ...toAnswer(message, query.isRaw, 'synthesized', options), shown };
  }

  async #reverse(query: Query, target: NonNullable<ReturnType<typeof reverseTarget>>): Promise<Answer> {
    const { upstreams } = this.#options;
    const inAddr = await upstreams.exchange(upstreamQuery(query, TYPE.PTR, target.name), BUDGET_MS / 2);
    if (inAddr === undefined) return this.#unreachable(query);
    const answer = answerPtr(query, target, inAddr);
    if (answer) return answer;
    return this.#asItStands(query, await upstreams.exchange(upstreamQuery(query, TYPE.PTR), BUDGET_MS / 2));
  }
}

/** An A answer of ours that only says that nobody answered is none (RFC 6147 §5.1.3). */
function isAnswered(answer: Answer): boolean {
  return !(answerRcode(answer) === RCODE.SERVFAIL && answer.body.length === answer.questionEnd);
}

/** For what upstream says and cannot be told: more than 65535 octets after synthesis, or not to be rewritten. */
function unwritable(query: Query): Answer {
  const options = edeOption(EDE.OTHER, 'the answer is too large, or malformed');
  return { ...errorAnswer(query, RCODE.SERVFAIL), options };
}

function budgetFor(query: Query): number {
  const isProbe = query.type === TYPE.NS && query.nameEnd === HEADER_LENGTH + 1;
  return isProbe ? PROBE_BUDGET_MS : BUDGET_MS;
}
