// SPDX-License-Identifier: Apache-2.0
// How many sessions there were over the last hour, in memory: one sample in ten seconds, a bounded number.

import type { LiveCounts } from '../datapath/datapath.ts';
import { Gate64Error } from '../errors.ts';
import type { Sample } from './facts.ts';

export const SAMPLE_SECONDS = 10;
/** An hour. */
export const MAX_SAMPLES = 360;

export class SessionSamples {
  readonly #counts: () => LiveCounts | undefined;
  readonly #samples: Sample[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** `counts`: undefined while there is no data plane. */
  constructor(counts: () => LiveCounts | undefined) {
    this.#counts = counts;
  }

  start(): void {
    this.#timer ??= setInterval(() => this.take(Date.now()), SAMPLE_SECONDS * 1000).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** `now`: milliseconds since the epoch. A data plane that cannot be read gives no sample. */
  take(now: number): void {
    try {
      const counts = this.#counts();
      if (counts !== undefined) this.#samples.push({ at: new Date(now).toISOString(), sessions: counts.sessions });
    } catch (error) {
      if (!(error instanceof Gate64Error)) throw error;
    }
    if (this.#samples.length > MAX_SAMPLES) this.#samples.shift();
  }

  rows(): readonly Sample[] {
    return [...this.#samples];
  }
}
