// SPDX-License-Identifier: Apache-2.0
// `make test-kernels`: the same few end-to-end tests on other kernels than the machine's own, each emulated in a virtual
// machine that has this machine's root file system, read-only. `node test/kernels/main.ts [RELEASE…]`, as root.

import { execFileSync, spawn } from 'node:child_process';
import { globSync, mkdirSync, readdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';

/** Debian's releases with the oldest kernel that gate64 takes, without TCX, and with one that has it. */
const RELEASES = ['bookworm', 'trixie'];
const LIMIT_MINUTES = 10;

interface Outcome {
  readonly kernel: string;
  readonly passed: number;
  readonly failed: number;
}

const root = join(import.meta.dirname, '../..');
const script = (name: string, ...args: string[]) =>
  execFileSync(join(import.meta.dirname, name), args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();

/** Compiles bpf/ once more with each other clang that is installed; the tests load what they find. */
function compileVariants(): void {
  const folders = (process.env['PATH'] ?? '').split(':');
  const versions = folders.flatMap((folder) => globSync('clang-[0-9][0-9]', { cwd: folder }));
  for (const clang of new Set(versions)) {
    const output = `.cache/kernels/objects/${clang}`;
    mkdirSync(join(root, output), { recursive: true });
    const strip = clang.replace('clang', 'llvm-strip');
    execFileSync('make', ['bpf', `CLANG=${clang}`, `LLVM_STRIP=${strip}`, `OUTPUT=${output}`], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
}

/** Boots one kernel, shows what the tests print, and gives what they counted. */
async function boot(release: string): Promise<Outcome> {
  const folder = script('fetch.sh', release);
  const initramfs = script('initramfs.sh', folder);
  const kernel = readdirSync(join(folder, 'lib/modules'))[0] ?? 'unknown';
  console.log(`\n== ${kernel} (Debian ${release}), emulated`);
  const append = `console=ttyS0 panic=-1 quiet mitigations=off gate64.root=${root} gate64.kernel=${folder}`;
  // Without protection keys and with one thread: V8 fails its own checks under the emulation of either.
  const machine = `
    -accel tcg,thread=single -cpu max,-pku -smp 2 -m 3072 -no-reboot
    -nodefaults -no-user-config -display none -serial stdio -nic none
    -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap`
    .trim()
    .split(/\s+/);
  machine.push('-kernel', join(folder, 'boot', `vmlinuz-${kernel}`), '-initrd', initramfs, '-append', append);
  const started = performance.now();
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...machine], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: LIMIT_MINUTES * 60_000,
    killSignal: 'SIGKILL',
  });
  let counts: { passed: number; failed: number } | undefined;
  const lines = createInterface({ input: child.stdout });
  lines.on('line', (line) => {
    const found = /^@@ counts (\{.*\})/.exec(line)?.[1];
    if (found !== undefined) counts = JSON.parse(found) as { passed: number; failed: number };
    else if (!line.startsWith('@@')) console.log(line);
  });
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject).once('close', () => resolve());
  });
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  if (counts === undefined) console.log(`== ${kernel}: no result within ${seconds} s (at most ${LIMIT_MINUTES} min)`);
  const { passed, failed } = counts ?? { passed: 0, failed: 1 };
  console.log(`== ${kernel}: ${passed} passed, ${failed} failed in ${seconds} s`);
  return { kernel, passed, failed: passed + failed === 0 ? 1 : failed };
}

if (process.getuid?.() !== 0) {
  console.error('test-kernels: the virtual machine reads the root file system as root does: run it with sudo');
  process.exitCode = 1;
} else {
  compileVariants();
  const releases = process.argv.length > 2 ? process.argv.slice(2) : RELEASES;
  const outcomes: Outcome[] = [];
  for (const release of releases) outcomes.push(await boot(release));
  const passed = outcomes.reduce((sum, outcome) => sum + outcome.passed, 0);
  const failed = outcomes.reduce((sum, outcome) => sum + outcome.failed, 0);
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}
