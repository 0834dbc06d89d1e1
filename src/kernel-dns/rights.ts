// SPDX-License-Identifier: Apache-2.0
// Whether this process may load the program at all: asked before native code is loaded for it.

import { readFileSync } from 'node:fs';

/** linux/capability.h: CAP_NET_ADMIN attaches, CAP_PERFMON and CAP_BPF load. */
const WANTED = [12n, 38n, 39n];

/** Capabilities in force, of this process if not told otherwise. */
export function mayLoadPrograms(status = readFileSync('/proc/self/status', 'utf8')): boolean {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return WANTED.every((bit) => (effective >> bit) & 1n);
}
