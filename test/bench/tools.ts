// SPDX-License-Identifier: Apache-2.0
// The bench's own small C programs, compiled below .output/bench when their sources are newer.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname;
export const ROOT = join(here, '../..');
const output = join(ROOT, '.output/bench');

export const GENERATOR = join(output, 'generator');
export const GENERATOR_OBJECT = join(output, 'generator.bpf.o');
export const SINK_OBJECT = join(output, 'sink.bpf.o');
export const CONNECTIONS = join(output, 'connections');
export const SHORT_CONNECTIONS = join(output, 'short-connections');
export const FLOWS = join(output, 'flows');
export const REFLECT_OBJECT = join(output, 'reflect.bpf.o');
export const LATENCY = join(output, 'latency');

/** Throws when clang does, which says why on stderr. */
export function buildTools(): void {
  mkdirSync(output, { recursive: true });
  const bpf = ['-g', '-O2', '-target', 'bpf', '-mcpu=v3', ...hostIncludes(), '-c'];
  compile('generator.bpf.c', GENERATOR_OBJECT, bpf);
  compile('sink.bpf.c', SINK_OBJECT, bpf);
  compile('generator.c', GENERATOR, ['-O2'], ['-lbpf']);
  compile('connections.c', CONNECTIONS, ['-O2']);
  compile('../load/short-connections.c', SHORT_CONNECTIONS, ['-O2']);
  compile('../load/reflect.bpf.c', REFLECT_OBJECT, bpf);
  compile('../load/flows.c', FLOWS, ['-O2']);
  compile('../load/latency.c', LATENCY, ['-O2']);
}

function compile(source: string, to: string, flags: readonly string[], libraries: readonly string[] = []): void {
  const sources = [join(here, source), join(here, 'generator.h')];
  if (existsSync(to) && sources.every((file) => statSync(file).mtimeMs < statSync(to).mtimeMs)) return;
  const command = [...flags, '-Wall', '-Wextra', '-Werror', join(here, source), '-o', to, ...libraries];
  execFileSync('clang', command, { stdio: ['ignore', 'inherit', 'inherit'] });
}

/** `-target bpf` knows no multiarch include path (asm/types.h): take the host compiler's own list. */
function hostIncludes(): string[] {
  const script = 'clang -v -E - </dev/null 2>&1 | sed -n "/<...> search starts here:/,/End of search list./s/^ //p"';
  return execFileSync('sh', ['-c', script], { encoding: 'utf8' })
    .split('\n')
    .filter((path) => path.startsWith('/'))
    .flatMap((path) => ['-idirafter', path]);
}
