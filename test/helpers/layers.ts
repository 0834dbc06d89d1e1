// SPDX-License-Identifier: Apache-2.0
// Runs test layers one after another, each in a process of its own, and adds up what they counted. Layers that need
// root run in a sandbox (sandbox.sh). The last line says `N passed, N failed`; a layer that crashed counts as a failure.

import { spawnSync } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Layer {
  root: boolean;
  /** A layer that hangs is ended after this. */
  limitMinutes: number;
  /** Of which layer's directory it has its tests; default: of its own name. */
  directory?: string;
  /** Only files with this in them. */
  including?: string;
  env?: Readonly<Record<string, string>>;
}

/** `lint` is one test: a blemish must not keep the others from being run, and must not be overlooked. */
const LINT = 'lint';

const LAYERS: Readonly<Record<string, Layer>> = {
  unit: { root: false, limitMinutes: 10 },
  // The tables on the wire once more, with Node's own sockets.
  'unit-dgram': {
    root: false,
    limitMinutes: 5,
    directory: 'unit/dns',
    including: 'Harness.start(',
    env: { GATE64_LISTENER: 'dgram' },
  },
  // And with answers that the kernel gives.
  'unit-kernel': {
    root: true,
    limitMinutes: 5,
    directory: 'unit/dns',
    including: 'Harness.start(',
    env: { GATE64_LISTENER: 'kernel' },
  },
  meta: { root: false, limitMinutes: 5 },
  bpf: { root: true, limitMinutes: 10 },
  netns: { root: true, limitMinutes: 45 },
};

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

const root = join(import.meta.dirname, '../..');
const mocha = join(root, 'node_modules/mocha/bin/mocha.js');
const outputs = mkdtempSync(join(tmpdir(), 'gate64-layers-'));

/** Runs one layer; `undefined` when it has no test file. */
function runLayer(name: string, layer: Layer): Counts | undefined {
  const { root: needsRoot, limitMinutes, directory = name, including = '', env = {} } = layer;
  const files = globSync(`test/${directory}/**/*.test.ts`, { cwd: root }).filter((file) =>
    readFileSync(join(root, file), 'utf8').includes(including),
  );
  if (files.length === 0) {
    console.log(`\n== ${name}: no tests`);
    return undefined;
  }
  if (needsRoot && process.getuid?.() !== 0) {
    console.log(`\n== ${name}: needs root (network namespaces, BPF): run it with sudo`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  console.log(`\n== ${name}`);
  const started = performance.now();
  const countsFile = join(outputs, `${name}.json`);
  const command = [
    ...(needsRoot ? [join(root, 'test/helpers/sandbox.sh')] : []),
    process.execPath,
    mocha,
    '--forbid-only',
    '--reporter',
    join(root, 'test/helpers/reporter.ts'),
    '--reporter-option',
    `counts=${countsFile}`,
    ...files.toSorted(),
  ];
  const { status, signal } = spawnSync(command[0] as string, command.slice(1), {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit',
    timeout: limitMinutes * 60_000,
    killSignal: 'SIGKILL',
  });
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  // mocha writes the counts when all tests are over: none means that it did not come that far, whatever it exits with.
  const over = existsSync(countsFile);
  if (over) Object.assign(counts, JSON.parse(readFileSync(countsFile, 'utf8')));
  if (!over || (status !== 0 && counts.failed === 0)) {
    console.log(
      `== ${name}: ended by ${signal ?? `exit code ${status}`} ${over ? 'after' : 'before'} its tests were over`,
    );
    counts.failed += 1;
  } else if (counts.passed + counts.failed === 0) {
    console.log(`== ${name}: has test files, but none of their tests ran`);
    counts.failed += 1;
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`== ${name}: ${counts.passed} passed, ${counts.failed} failed in ${seconds} s`);
  return counts;
}

function lint(): boolean {
  console.log('\n== lint');
  const started = performance.now();
  const { status } = spawnSync('make', ['--no-print-directory', 'lint'], { cwd: root, stdio: 'inherit' });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`== lint: ${status === 0 ? 'clean' : 'not clean'} in ${seconds} s`);
  return status === 0;
}

const sum: Counts = { passed: 0, failed: 0, skipped: 0 };
try {
  for (const name of process.argv.slice(2)) {
    const layer = LAYERS[name];
    if (name === LINT) {
      const clean = lint();
      sum[clean ? 'passed' : 'failed'] += 1;
      continue;
    }
    if (layer === undefined) throw new Error(`no layer '${name}': there are ${Object.keys(LAYERS).join(', ')}`);
    const counts = runLayer(name, layer);
    sum.passed += counts?.passed ?? 0;
    sum.failed += counts?.failed ?? 0;
    sum.skipped += counts?.skipped ?? 0;
  }
} finally {
  rmSync(outputs, { recursive: true, force: true });
}
if (sum.passed + sum.failed === 0) {
  console.log('\nno test ran');
  sum.failed = 1;
}
console.log(`\n${sum.passed} passed, ${sum.failed} failed${sum.skipped > 0 ? `, ${sum.skipped} skipped` : ''}`);
process.exitCode = sum.failed === 0 ? 0 : 1;
