// SPDX-License-Identifier: Apache-2.0
// Whether this process may load the program at all: asked before native code is loaded for it.

import { readFileSync } from 'node:fs';
import { hasCapability } from '../model/capabilities.ts';

/** Of this process, if not told otherwise. */
export function mayLoadPrograms(status = readFileSync('/proc/self/status', 'utf8')): boolean {
  // The first attaches, the others load.
  return (['CAP_NET_ADMIN', 'CAP_PERFMON', 'CAP_BPF'] as const).every((name) => hasCapability(status, name));
}
