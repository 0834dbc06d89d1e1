// SPDX-License-Identifier: Apache-2.0
// The lifetimes of RFC 6146 §4 (seconds), and the hold-down of RFC 6888 REQ-8.

/** RFC 6146 §4. Minimum and default where they differ. */
export const RFC6146_TIMEOUTS = {
  udpMin: 120,
  udpDefault: 300,
  tcpTransitory: 240,
  tcpEstablished: 7200,
  tcpIncomingSyn: 6,
  fragmentMin: 2,
  icmpDefault: 60,
} as const;

/** RFC 6888 REQ-8: a port that was given back rests this long before somebody else gets it. */
export const HOLD_DOWN_SECONDS = 120;

/** How long a block stays with a pod that uses none of its ports: spares a lease for every short pause. */
export const IDLE_BLOCK_SECONDS = 60;
