// SPDX-License-Identifier: Apache-2.0
// Properties over random values, all from one seed: GATE64_SEED, or a new one for each run. It is printed, so that a
// failure can be had again. The count of values decides how much is tested; time is only a bound that fails the test.

import { randomInt } from 'node:crypto';
import fc from 'fast-check';

const given = process.env['GATE64_SEED'];

export const SEED = given === undefined ? randomInt(2 ** 31) : Number(given);
if (!Number.isInteger(SEED)) throw new Error(`GATE64_SEED is "${given}": expected an integer`);
console.log(`GATE64_SEED=${SEED}`);

export interface Bounds {
  /** How many values are tried. */
  runs?: number;
  /** How long that may take; what is not tried by then is a failure. */
  seconds?: number;
}

/** Fails with the smallest counterexample found, its seed and path. */
export function holds<T>(property: fc.IProperty<T>, { runs = 100, seconds = 25 }: Bounds = {}): void {
  fc.assert(property, {
    seed: SEED,
    numRuns: runs,
    interruptAfterTimeLimit: seconds * 1000,
    markInterruptAsFailure: true,
  });
}

/** `count` values for a test that has to wait and so cannot be a property. */
export function drawn<T>(arbitrary: fc.Arbitrary<T>, count: number): T[] {
  return fc.sample(arbitrary, { seed: SEED, numRuns: count });
}
