// SPDX-License-Identifier: Apache-2.0
// Message IDs that nobody can guess (RFC 5452 §9.2), out of those that are free.

import { randomInt } from 'node:crypto';

const IDS = 0x10000;
/** With half of all taken, one in 65 536 finds none; hardly ever is one in a hundred. */
const TRIES = 16;

/** Each free one is as likely; undefined when all are taken. */
export function freeId(taken: ReadonlyMap<number, unknown>): number | undefined {
  for (let i = 0; i < TRIES; i++) {
    const id = randomInt(IDS);
    if (!taken.has(id)) return id;
  }
  if (taken.size >= IDS) return undefined;
  // Bounded whatever is taken: at most a look at each.
  let skip = randomInt(IDS - taken.size);
  for (let id = 0; id < IDS; id++) if (!taken.has(id) && skip-- === 0) return id;
  return undefined;
}
