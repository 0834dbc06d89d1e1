// SPDX-License-Identifier: Apache-2.0
// Where the compiled BPF objects lie.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Built: dist/lib/model/ beside dist/bpf/. From source: src/model/ beside .output/. */
export function builtObject(name: string): string {
  const built = fileURLToPath(new URL(`../../bpf/${name}`, import.meta.url));
  return existsSync(built) ? built : fileURLToPath(new URL(`../../.output/${name}`, import.meta.url));
}
