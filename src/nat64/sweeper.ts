// SPDX-License-Identifier: Apache-2.0
// Calls the data plane's sweep (expiry of RFC 6146 sessions) again and again, in turns that keep nobody waiting: for a
// hundredth of the time, and for a fifth while there is much to end. An expired entry counts as absent at lookup, so what a
// late sweep delays is memory and ports, not truth.

import type { Datapath, SessionRow, SweepResult } from '../datapath/datapath.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

/** Between two sweeps; also how often the caller is called. */
const MIN_INTERVAL_MS = 1000;
/** DNS answers wait for a turn. A million empty buckets alone take some 20 ms, whatever the budget. */
const TURN_MS = 4;
/** After a turn of d ms the next begins 99·d ms later at the earliest. */
const REST_PER_WORK = 99;
/** The same after a turn that ended sessions and came to no end: as fast as they run out has to be swept. */
const REST_PER_BACKLOG = 4;

const MAX_ROWS = 256;

export interface SweeperOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Log;
  /** How long a block may be empty before its pod gives it back. */
  readonly idleBlockMs: number;
  /** Told of sessions that ended, MAX_ROWS a turn at most: beyond, telling would take the time of ending them. */
  readonly onEnded?: ((rows: readonly SessionRow[]) => void) | undefined;
  /** Told of every sweep that is over: its turns as one, without the sessions. */
  readonly onSweep: (result: SweepSum) => void;
  /** Called after a turn, once a second at most, for what else has to be looked at again and again. */
  readonly onTick: () => void;
}

export type SweepSum = Omit<SweepResult, 'ended' | 'finished'>;

export class Sweeper {
  readonly #options: SweeperOptions;
  #cancel: (() => void) | undefined;
  /** The turns so far of a sweep that is not over. */
  #turns = { endedCount: 0, durationMs: 0 };
  #tickedAt = -Infinity;

  constructor(options: SweeperOptions) {
    this.#options = options;
  }

  /** At once: nothing was swept while no service ran. */
  start(): void {
    this.#schedule(0);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** One turn now; returns how long to wait for the next, in milliseconds. */
  sweep(): number {
    const { datapath, clock, log, idleBlockMs, onEnded, onSweep, onTick } = this.#options;
    try {
      const maxRows = onEnded === undefined ? 0 : MAX_ROWS;
      const { ended, finished, ...turn } = datapath.sweep(idleBlockMs, { budgetMs: TURN_MS, maxRows });
      if (ended.length > 0) onEnded?.(ended);
      const endedCount = this.#turns.endedCount + turn.endedCount;
      const durationMs = this.#turns.durationMs + turn.durationMs;
      this.#turns = finished ? { endedCount: 0, durationMs: 0 } : { endedCount, durationMs };
      if (finished) onSweep({ ...turn, endedCount, durationMs });
      if (clock.now() - this.#tickedAt >= MIN_INTERVAL_MS) {
        this.#tickedAt = clock.now();
        onTick();
      }
      if (finished) return Math.max(MIN_INTERVAL_MS, turn.durationMs * REST_PER_WORK);
      return turn.durationMs * (turn.endedCount > 0 ? REST_PER_BACKLOG : REST_PER_WORK);
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
