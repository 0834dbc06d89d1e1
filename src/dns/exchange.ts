// SPDX-License-Identifier: Apache-2.0
// One question put to several servers, one after the other, until one of them answers or the budget is spent.

import { Inquiry, type InquiryOwner } from './inquiry.ts';
import type { DnsObserver } from './observer.ts';
import type { UpstreamQuery } from './query.ts';
import type { UpstreamServer } from './upstream-server.ts';
import { isServerError, rcodeOf, type Message } from './wire.ts';

/** When the next attempt starts if the ones before are silent, in milliseconds from the first. */
const ATTEMPT_AT_MS = [0, 350, 800, 1250];
/** With more servers than that: how long after the one before. */
const FURTHER_ATTEMPT_MS = 200;

/** Silence to EDNS is met by a question without (DNS flag day) in the third attempt. */
const WITHOUT_EDNS_AFTER_MS = 700;

export class Exchange implements InquiryOwner {
  readonly #servers: readonly UpstreamServer[];
  readonly #query: UpstreamQuery;
  readonly #budgetMs: number;
  readonly #observer: DnsObserver;
  readonly #startedAt = performance.now();
  readonly #inquiries: Inquiry[] = [];
  /** Asked, and nothing heard yet; each once. */
  readonly #silent: UpstreamServer[] = [];
  /** Silence counts once against a server in one exchange; most meet none. */
  #missed: Set<UpstreamServer> | undefined;
  #state: 'asking' | 'settled' = 'asking';
  #attempts = 0;
  #errorAnswer: Message | undefined;
  #timer: NodeJS.Timeout | undefined;
  #resolve: (answer: Message | undefined) => void = () => {};

  /** `servers` are asked in this order, and again from the first. */
  constructor(servers: readonly UpstreamServer[], query: UpstreamQuery, budgetMs: number, observer: DnsObserver) {
    this.#servers = servers;
    this.#query = query;
    this.#budgetMs = budgetMs;
    this.#observer = observer;
  }

  /** The answer; the first error RCODE when no server has a better one; undefined when none answers in time. Once. */
  run(): Promise<Message | undefined> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      if (this.#servers.length === 0) this.#settle(undefined);
      else this.#next();
    });
  }

  #next(): void {
    clearTimeout(this.#timer);
    this.#attempt();
    this.#schedule();
  }

  #attempt(): void {
    const server = this.#servers[this.#attempts % this.#servers.length] as UpstreamServer;
    this.#attempts++;
    let wasAsked = false;
    for (const earlier of this.#inquiries) {
      if (earlier.server !== server) continue;
      if (earlier.holdsConnection) return;
      wasAsked = true;
    }
    if (!this.#silent.includes(server)) this.#silent.push(server);
    const isLastResort = wasAsked && this.#isDeafToEdns(server);
    const inquiry = new Inquiry(server, this.#query, this.#observer, this, isLastResort);
    this.#inquiries.push(inquiry);
    inquiry.send();
  }

  /** Of one that was asked before: silent for longer than a lost datagram explains, and never heard with EDNS. */
  #isDeafToEdns(server: UpstreamServer): boolean {
    return !server.knowsEdns && performance.now() - this.#startedAt >= WITHOUT_EDNS_AFTER_MS;
  }

  onResult(server: UpstreamServer, result: Message | Error): void {
    if (this.#state === 'settled') return;
    const at = this.#silent.indexOf(server);
    if (at >= 0) this.#silent.splice(at, 1);
    if (!(result instanceof Error)) {
      if (!isServerError(rcodeOf(result))) return this.#settle(result);
      this.#errorAnswer ??= result;
    }
    if (this.#attempts < this.#servers.length) this.#next();
    else if (this.#silent.length === 0) this.#settle(this.#errorAnswer);
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#state === 'settled') return;
    const elapsedMs = performance.now() - this.#startedAt;
    const nextAtMs = this.#nextAttemptAtMs(elapsedMs);
    const isLast = nextAtMs >= this.#budgetMs;
    const delayMs = Math.max(1, Math.min(nextAtMs, this.#budgetMs) - elapsedMs);
    this.#timer = setTimeout(() => (isLast ? this.#onBudgetSpent() : this.#onSilence()), delayMs);
  }

  /** Milliseconds from the first attempt; infinite when there is none to come. */
  #nextAttemptAtMs(elapsedMs: number): number {
    if (this.#attempts >= Math.max(ATTEMPT_AT_MS.length, this.#servers.length)) return Infinity;
    return ATTEMPT_AT_MS[this.#attempts] ?? elapsedMs + FURTHER_ATTEMPT_MS;
  }

  #onSilence(): void {
    // Silence counts against a server only where another can be asked instead.
    if (this.#servers.length > 1) this.#countMisses();
    this.#next();
  }

  #onBudgetSpent(): void {
    this.#countMisses();
    for (const { label } of this.#silent) this.#observer.upstream(label, 'timeout', this.#budgetMs / 1000);
    this.#settle(this.#errorAnswer);
  }

  #countMisses(): void {
    const missed = (this.#missed ??= new Set());
    for (const server of this.#silent) {
      if (!missed.has(server)) server.noteMiss();
      missed.add(server);
    }
  }

  #settle(answer: Message | undefined): void {
    this.#state = 'settled';
    clearTimeout(this.#timer);
    for (const inquiry of this.#inquiries) inquiry.cancel();
    this.#resolve(answer);
  }
}
