// SPDX-License-Identifier: Apache-2.0
// The few things that are said as events of Kubernetes: a configuration that is refused, a pool that ran out, not ready and
// ready again. What is there is compared with what was said last, so what comes too fast is said late, as it is then.

import type { ClusterEvent, EventApi } from './event-api.ts';
import type { Logger } from './logger.ts';
import { isReady, readyText, type ServiceStatus } from './status.ts';

const LOOK_MS = 2000;
/** Of one reason at most one in so long. */
const REST_MS = 60_000;
/** After a start, and after a short disturbance, it is no news yet that something is not ready. */
const PATIENCE_MS = 10_000;

export interface ClusterEventsOptions {
  readonly api: EventApi;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** Whether the configuration lets it. */
  readonly isWanted: () => boolean;
  readonly status: () => ServiceStatus;
  /** How many flows found no block of ports, ever. */
  readonly exhausted: () => number;
  readonly lookMs?: number;
  readonly restMs?: number;
  readonly patienceMs?: number;
}

export class ClusterEvents {
  readonly #options: ClusterEventsOptions;
  readonly #saidAt = new Map<string, number>();
  #hasFailed = false;
  #timer: NodeJS.Timeout | undefined;
  #saidReady = true;
  /** Since when it is not ready, on the monotonic clock. */
  #notReadyAt: number | undefined;
  /** The time of the refusal that was said. */
  #saidRefusal: string | undefined;
  #saidExhausted: number;

  constructor(options: ClusterEventsOptions) {
    this.#options = options;
    this.#saidExhausted = options.exhausted();
    this.#timer = setInterval(() => this.#look(), options.lookMs ?? LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    try {
      if (!this.#options.isWanted()) return;
      const status = this.#options.status();
      // Whoever ends gate64 knows that it is not ready.
      if (status.draining) return;
      this.#lookReady(status);
      this.#lookRefused(status);
      this.#lookExhausted();
    } catch (error) {
      this.#options.log.debug({ err: error }, 'what there is to say to Kubernetes cannot be read');
    }
  }

  #lookReady(status: ServiceStatus): void {
    const ready = isReady(status);
    const now = performance.now();
    this.#notReadyAt = ready ? undefined : (this.#notReadyAt ?? now);
    if (ready === this.#saidReady) return;
    if (!ready && now - (this.#notReadyAt ?? now) < (this.#options.patienceMs ?? PATIENCE_MS)) return;
    const event: ClusterEvent = ready
      ? { reason: 'Ready', type: 'Normal', action: 'Serving', note: 'gate64 is ready again' }
      : { reason: 'NotReady', type: 'Warning', action: 'Waiting', note: readyText(status) };
    if (this.#say(event)) this.#saidReady = ready;
  }

  #lookRefused({ config: { lastReload } }: ServiceStatus): void {
    if (lastReload.successful || lastReload.at === this.#saidRefusal) return;
    const note = `the one before stays in force. ${lastReload.error ?? ''}`;
    if (this.#say({ reason: 'ConfigurationRefused', type: 'Warning', action: 'Reloading', note })) {
      this.#saidRefusal = lastReload.at;
    }
  }

  #lookExhausted(): void {
    const exhausted = this.#options.exhausted();
    const flows = exhausted - this.#saidExhausted;
    if (flows <= 0) return;
    const note = `the pool ran out of blocks of ports: ${flows} new flows were refused; \`gate64 pool\` shows who holds them`;
    if (this.#say({ reason: 'PoolExhausted', type: 'Warning', action: 'Allocating', note })) {
      this.#saidExhausted = exhausted;
    }
  }

  /** False when it is too early for that reason. What the API does not take is not said again. */
  #say(event: ClusterEvent): boolean {
    const { api, log, restMs = REST_MS } = this.#options;
    const now = performance.now();
    if (now - (this.#saidAt.get(event.reason) ?? -Infinity) < restMs) return false;
    this.#saidAt.set(event.reason, now);
    void this.#post(api, event).catch((error: unknown) => {
      log[this.#hasFailed ? 'debug' : 'warn'](
        { err: error, reason: event.reason },
        'an event cannot be written to the Kubernetes API (said once)',
      );
      this.#hasFailed = true;
    });
    return true;
  }

  async #post(api: EventApi, event: ClusterEvent): Promise<void> {
    if (await api.isThere()) await api.post(event);
  }
}
