// SPDX-License-Identifier: Apache-2.0
// What a DNS worker has to tell the service, kept for a moment so that a busy one sends some messages a second.

import { SummingObserver } from './sums.ts';
import type { FromWorker, Synthesized, WorkerState } from './worker-protocol.ts';

/** Names soon, since what begins sessions is looked up by them. */
const SYNTHESIZED_MS = 50;
const MAX_SYNTHESIZED = 256;
const COUNTS_MS = 200;
const STATE_MS = 1000;
/** While the service takes nothing, the oldest are forgotten beyond this. */
const MAX_WAITING = 65_536;

export type Send = (message: FromWorker, onSent: () => void) => void;

export class WorkerOutbox {
  readonly observer = new SummingObserver(() => this.#sendWithin(COUNTS_MS));
  readonly #send: Send;
  readonly #state: () => WorkerState | undefined;
  /** By name, address and client: one that is asked for again and again is told once. */
  #synthesized = new Map<string, Synthesized>();
  #timer: NodeJS.Timeout | undefined;
  #dueAt = Infinity;
  #isSending = false;

  constructor(send: Send, state: () => WorkerState | undefined) {
    this.#send = send;
    this.#state = state;
    setInterval(() => this.flush(), STATE_MS).unref();
  }

  readonly onSynthesized = (name: string, v4: number, ttlSeconds: number, client: string): void => {
    const key = `${name} ${v4} ${client}`;
    const before = this.#synthesized.get(key);
    if (before === undefined || before[2] < ttlSeconds) this.#synthesized.set(key, [name, v4, ttlSeconds, client]);
    if (before !== undefined) return;
    const { size } = this.#synthesized;
    if (size > MAX_WAITING) this.#synthesized.delete(this.#synthesized.keys().next().value as string);
    if (size >= MAX_SYNTHESIZED && !this.#isSending) this.flush();
    else this.#sendWithin(SYNTHESIZED_MS);
  };

  /** One message at a time is on its way: a service that is slow gets larger ones. */
  flush(onSent?: () => void): void {
    if (this.#isSending && onSent === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#dueAt = Infinity;
    const synthesized = [...this.#synthesized.values()];
    this.#synthesized = new Map();
    const sums = this.observer.take();
    this.#isSending = true;
    this.#send({ kind: 'report', state: this.#state(), sums, synthesized }, () => {
      this.#isSending = false;
      // What came meanwhile had no timer, or one that found this on its way.
      if (this.#synthesized.size > 0) this.#sendWithin(SYNTHESIZED_MS);
      onSent?.();
    });
  }

  #sendWithin(ms: number): void {
    const at = performance.now() + ms;
    if (at >= this.#dueAt) return;
    clearTimeout(this.#timer);
    this.#dueAt = at;
    this.#timer = setTimeout(() => {
      this.#dueAt = Infinity;
      this.flush();
    }, ms);
  }
}
