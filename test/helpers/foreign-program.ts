// SPDX-License-Identifier: Apache-2.0
// Somebody else's TC program in front of gate64's, which lets every packet by and ends its way through the programs.

import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Topology } from './topology.ts';

const SOURCE = `__attribute__((section("tc"), used)) int ends_chain(void *ctx) { return 0; /* TC_ACT_OK */ }
char _license[] __attribute__((section("license"), used)) = "GPL";
`;
const CHILD = join(import.meta.dirname, '../netns/foreign-program.child.ts');

/** Its link is pinned at `pin`, so that it stays, in place of one before. */
export async function hangForeignProgram(topology: Topology, device: string, side: string, pin: string): Promise<void> {
  const object = join(topology.directory, 'foreign.bpf.o');
  execFileSync('clang', ['-g', '-O2', '-target', 'bpf', '-x', 'c', '-c', '-', '-o', object], { input: SOURCE });
  rmSync(pin, { force: true });
  await topology.run('node', [process.execPath, CHILD, object, device, side, pin]);
}
