// SPDX-License-Identifier: Apache-2.0
// How long blocks of ports stay with nobody, and with a pod that does not use them.

/** RFC 6888 REQ-8: a port that was given back rests this long before somebody else gets it. */
export const HOLD_DOWN_SECONDS = 120;

/** How long a block stays with a pod that uses none of its ports: spares a lease for every short pause. */
export const IDLE_BLOCK_SECONDS = 60;
