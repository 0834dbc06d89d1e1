// SPDX-License-Identifier: Apache-2.0
// The programs stamp with CLOCK_MONOTONIC, people read wall-clock time.

/** Monotonic nanoseconds now, on the programs' clock. */
export function monotonicNs(): bigint {
  return process.hrtime.bigint();
}

/** A time that the programs wrote: below 0 when it lies before the machine's start, which in 64 bits looks like far ahead. */
export function signedNs(ns: bigint): bigint {
  return BigInt.asIntN(64, ns);
}

/** A conversion that holds for one reading: the two clocks drift apart when the wall clock is set. */
export function epochClock(): (ns: bigint) => number {
  const offsetMs = Date.now() - Number(monotonicNs() / 1000n) / 1000;
  return (ns) => Math.round(offsetMs + Number(signedNs(ns) / 1000n) / 1000);
}
