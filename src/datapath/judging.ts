// SPDX-License-Identifier: Apache-2.0
// Which sessions the sweep asks the policy about. Asking takes longer than all else of a session that lives, and the answer
// is the one of before unless something has changed that it depends on.

import { SHARES } from '../model/layout.gen.ts';

/**
 * Whole passes that judge everybody after a change. One may step over a neighbour of what is deleted under it, or be past
 * the place of a session that a packet was making while the policy was written.
 */
const PASSES = 2;

/** Begins as after a change: what an earlier process has judged nobody knows. */
export class Judging {
  /** Whole passes that are still to judge everybody. */
  #owed = PASSES;
  /** Whether the pass that runs began after the last change. */
  #isWhole = false;
  /** Whose turn it is where nothing has changed: in the end everybody's, so that nothing that was missed stays so. */
  #share = 0;

  /** For the sweep (struct n64_turn): 0 has it judge every session. */
  get share(): number {
    return this.#owed > 0 ? 0 : 1 + this.#share;
  }

  /** Something changes that the policy depends on, at any time during a pass. */
  change(): void {
    this.#owed = PASSES;
    this.#isWhole = false;
  }

  beginPass(): void {
    this.#isWhole = true;
  }

  /** The pass has come to the end of the table. */
  endPass(): void {
    if (this.#owed === 0) this.#share = (this.#share + 1) % SHARES;
    else if (this.#isWhole) this.#owed--;
  }
}
