// SPDX-License-Identifier: Apache-2.0
// One upstream resolver: the ways to ask it, and how it has answered lately.

import { isDeepStrictEqual } from 'node:util';
import { formatEndpoint } from '../addr/ip.ts';
import type { Upstream } from '../config/config.ts';
import { trusting } from './upstream-tls.ts';
import { StreamChannel } from './upstream-stream.ts';
import type { OpenUpstreamSocket } from './upstream-socket.ts';
import { UdpChannel } from './upstream-udp.ts';

const FAILURES_UNTIL_DOWN = 2;
const WITHOUT_EDNS_MS = 300_000;
const MAX_DOWN_MS = 30_000;
/** How long an upstream that led back here is left alone: routes and addresses change. */
const OURSELVES_MS = 60_000;
/** Within which a second of its queries has to come back for that. */
const SECOND_LOOP_MS = 10_000;

export class UpstreamServer {
  readonly label: string;
  /** Undefined when it is to be asked over TLS only. */
  readonly udp: UdpChannel | undefined;
  readonly stream: StreamChannel;
  /** It has answered a question with EDNS by an answer with EDNS: what it does not answer is not for that. */
  #knowsEdns = false;
  #refusesEdnsUntilMs = 0;
  readonly #upstream: Upstream;
  /** PEM; beside those that are known anyhow. */
  readonly #authorities: readonly string[];
  readonly #onReason: (server: UpstreamServer) => void;
  #reason: string | undefined;
  #failures = 0;
  #downUntilMs = 0;
  #loopedAtMs = -Infinity;
  #ourselvesUntilMs = 0;

  /** `onReason` hears of each change of `reason`. */
  constructor(
    upstream: Upstream,
    authorities: readonly string[],
    openSocket: OpenUpstreamSocket,
    onReason: (server: UpstreamServer) => void,
  ) {
    this.label = formatEndpoint(upstream.endpoint);
    this.udp = upstream.kind === 'tls' ? undefined : new UdpChannel(upstream.endpoint, openSocket);
    this.stream = new StreamChannel(upstream, upstream.kind === 'tls' ? trusting(authorities) : undefined);
    this.#upstream = upstream;
    this.#authorities = authorities;
    this.#onReason = onReason;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return (this.udp?.pending ?? 0) + this.stream.pending;
  }

  /** Until then, in milliseconds of `performance.now()`, others are asked first. */
  get downUntilMs(): number {
    return this.#downUntilMs;
  }

  /** True for a while after one of its queries came back to our own listener. */
  get isOurselves(): boolean {
    return this.#ourselvesUntilMs > performance.now();
  }

  /** Why it could not be asked the last time; undefined once it has answered. */
  get reason(): string | undefined {
    return this.#reason;
  }

  /** Whether more than a server may be the reason: a certificate, or a zone that is not there. */
  get isNoted(): boolean {
    return this.#upstream.kind === 'tls' || this.label.includes('%');
  }

  isFor({ kind, endpoint, serverName }: Upstream, authorities: readonly string[]): boolean {
    return (
      (kind !== 'tls' || isDeepStrictEqual(authorities, this.#authorities)) &&
      kind === this.#upstream.kind &&
      formatEndpoint(endpoint) === this.label &&
      serverName === this.#upstream.serverName
    );
  }

  /** RFC 6891 §7: found out by its answers, or by none; for a while, since servers change. */
  get refusesEdns(): boolean {
    return this.#refusesEdnsUntilMs > performance.now();
  }

  get knowsEdns(): boolean {
    return this.#knowsEdns;
  }

  noteEdns(knows: boolean): void {
    if (knows) this.#knowsEdns = true;
    this.#refusesEdnsUntilMs = knows ? 0 : performance.now() + WITHOUT_EDNS_MS;
  }

  noteAnswer(): void {
    this.#failures = 0;
    this.#downUntilMs = 0;
    this.#setReason(undefined);
  }

  /** `reason`: what went wrong, where more is known than that no answer came. */
  noteMiss(reason?: string): void {
    if (reason !== undefined) this.#setReason(reason);
    this.#failures++;
    if (this.#failures < FAILURES_UNTIL_DOWN) return;
    if (this.#reason === undefined) this.#setReason('it does not answer');
    this.#downUntilMs = performance.now() + Math.min(MAX_DOWN_MS, 500 * 2 ** Math.min(this.#failures, 10));
  }

  /**
   * True when `query`, which came to our listener from `port` and `address`, is one that was sent here: its exchange fails
   * at once. Who guesses one of them has spoilt one answer; it takes two to leave the server alone.
   */
  noteLoop(port: number, query: Buffer, address?: string): boolean {
    const own = this.udp?.takeOwn(port, query, address);
    if (own === undefined) return false;
    const now = performance.now();
    if (now - this.#loopedAtMs < SECOND_LOOP_MS) this.#ourselvesUntilMs = now + OURSELVES_MS;
    this.#loopedAtMs = now;
    own.asker.onError(new Error('the query came back to gate64 itself'));
    return true;
  }

  /** For when addresses have changed, ours or its. */
  forgetLoop(): void {
    this.#ourselvesUntilMs = 0;
  }

  #setReason(reason: string | undefined): void {
    if (reason === this.#reason) return;
    this.#reason = reason;
    this.#onReason(this);
  }

  close(): void {
    this.udp?.close();
    this.stream.close();
  }
}
