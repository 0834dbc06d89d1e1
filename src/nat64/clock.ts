// SPDX-License-Identifier: Apache-2.0
// Time as this room needs it. Intervals go by a clock that only counts forward: the wall clock may be set, and an hour back
// must hold nothing up for an hour.

export interface Clock {
  /** Milliseconds on a monotonic clock. */
  now(): number;
  /** Milliseconds since the epoch, for what a person reads. */
  wall(): number;
  /** Calls `action` once after `delayMs`; what it returns cancels that. */
  after(delayMs: number, action: () => void): () => void;
}

export const SYSTEM_CLOCK: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after: (delayMs, action) => {
    const timer = setTimeout(action, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
};
