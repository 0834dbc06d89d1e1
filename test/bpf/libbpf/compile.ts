// SPDX-License-Identifier: Apache-2.0
// Compiles the fixtures beside it with clang into a directory of the caller.

import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

const machines: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' };

/** Compiles `NAME.bpf.c` and gives the object's path. */
export function compile(name: string, directory: string): string {
  const output = join(directory, `${name}.bpf.o`);
  const headers = `/usr/include/${machines[process.arch] ?? process.arch}-linux-gnu`;
  const source = join(import.meta.dirname, `${name}.bpf.c`);
  const flags = ['-g', '-O2', '-Wall', '-Werror', '-target', 'bpf', '-mcpu=v3', `-I${headers}`];
  execFileSync('clang', [...flags, '-c', source, '-o', output], { stdio: ['ignore', 'ignore', 'inherit'] });
  return output;
}
