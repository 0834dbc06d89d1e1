// SPDX-License-Identifier: Apache-2.0
// `make demo`: an IPv6-only "pod" fetches a file by name from an IPv4-only web server through gate64, in namespaces that
// go away with this program, however it ends. `node test/demo/demo.ts [masquerade|direct]`, as root.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Egress } from '../helpers/gate64.ts';
import { runDemo } from './story.ts';

/** Runs this program again where it can make namespaces that nobody else meets; gives its exit code. */
async function inSandbox(egress: Egress): Promise<number> {
  const sandbox = join(import.meta.dirname, '../helpers/sandbox.sh');
  // The sandbox dies with this process, be it killed.
  const argv = ['--pdeathsig', 'KILL', '--', sandbox, process.execPath, import.meta.filename, egress];
  const child = spawn('setpriv', argv, { stdio: 'inherit' });
  let interrupted: NodeJS.Signals | undefined;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      interrupted = signal;
      // Its process namespace goes at once, and with it every namespace, device, rule, pin and scratch file.
      child.kill('SIGKILL');
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      const by = interrupted ?? signal;
      if (by === null) return resolve(code ?? 1);
      console.error(`\ninterrupted (${by}): everything the demo made is gone`);
      resolve(128 + constants.signals[by]);
    });
  });
}

/** What keeps a machine from running the demo at all, said before anything is made. */
function obstacle(egress: string): string | undefined {
  if (egress !== 'masquerade' && egress !== 'direct') return `"${egress}" is no way out: masquerade or direct`;
  if (process.getuid?.() !== 0) return 'the demo makes network namespaces and loads BPF programs: run `sudo make demo`';
  const release = readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim();
  const [major = 0, minor = 0] = release.split('.').map(Number);
  if (major < 6 || (major === 6 && minor < 1)) return `the kernel is ${release}; gate64 needs 6.1 or newer`;
  return undefined;
}

const egress = process.argv[2] ?? 'masquerade';
const why = obstacle(egress);
if (why !== undefined) {
  console.error(`demo: ${why}`);
  process.exitCode = 1;
} else {
  const run = process.env['GATE64_SANDBOX'] === '1' ? runDemo : inSandbox;
  process.exitCode = await run(egress as Egress);
}
