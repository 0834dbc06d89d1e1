// SPDX-License-Identifier: Apache-2.0
// A program of the tests, begun by a user, in the sandbox.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Runs `program` again where it may make namespaces; gives the exit code. Ended, it takes all of it along. */
export async function inSandbox(program: string, args: readonly string[]): Promise<number> {
  const sandbox = join(import.meta.dirname, 'sandbox.sh');
  const child = spawn(sandbox, [process.execPath, program, ...args], { stdio: 'inherit' });
  let ended: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      ended = signal;
      // The sandbox's process namespace dies with it, and its namespaces and pins with that.
      child.kill('SIGKILL');
    });
  }
  const [code] = (await once(child, 'close')) as [number | null];
  return ended === undefined ? (code ?? 1) : 130;
}
