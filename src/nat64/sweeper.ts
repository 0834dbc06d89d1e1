// SPDX-License-Identifier: Apache-2.0
// Calls the data plane's sweep (expiry of RFC 6146 sessions) again and again, for a hundredth of the time at most. An expired
// entry counts as absent at lookup, so what a late sweep delays is memory and ports, not truth.

import type { Datapath, SessionRow, SweepResult } from '../datapath/datapath.ts';
import type { Clock, Log } from './log.ts';

const MIN_INTERVAL_MS = 1000;
const MAX_INTERVAL_MS = 15_000;
/** After a sweep of d ms the next begins 99·d ms later at the earliest. A million empty buckets alone take some 20 ms. */
const REST_PER_WORK = 99;

export interface SweeperOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a block may be empty before its pod gives it back. */
  readonly idleBlockMs: number;
  readonly onSweep: (result: SweepResult) => void;
}

export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #listeners = new Set<(ended: readonly SessionRow[]) => void>();
  #cancel: (() => void) | undefined;
  #last: SweepResult | undefined;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(MIN_INTERVAL_MS);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** `listener` gets the sessions that ended, as they last stood. Returns what ends that. */
  onEnded(listener: (ended: readonly SessionRow[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** How the latest sweep went. */
  last(): Pick<SweepResult, 'walked' | 'durationMs'> | undefined {
    return this.#last;
  }

  /** One sweep now; returns how long to wait for the next, in milliseconds. */
  sweep(): number {
    const { datapath, log, idleBlockMs, onSweep } = this.#options;
    try {
      const result = datapath.sweep(idleBlockMs);
      this.#last = result;
      onSweep(result);
      if (result.ended.length > 0) for (const listener of this.#listeners) listener(result.ended);
      return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, result.durationMs * REST_PER_WORK));
    } catch (error) {
      // Expired entries count as absent at lookup (RFC 6146 §3.5 timers), so a sweep that fails delays memory, not truth.
      log.error({ err: error }, 'sweep failed; trying again');
      return MIN_INTERVAL_MS * 10;
    }
  }

  #schedule(delayMs: number): void {
    this.#cancel = this.#options.clock.after(delayMs, () => {
      const waitMs = this.sweep();
      if (this.#cancel !== undefined) this.#schedule(waitMs);
    });
  }
}
