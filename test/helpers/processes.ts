// SPDX-License-Identifier: Apache-2.0
// Programs that tests start: run to their end, or in the background and ended by the PID they were started with.

import { spawn } from 'node:child_process';

export interface Finished {
  /** Exit code; 128 + n when signal n ended it would hide the signal, so null then. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  /** Exit codes other than 0 that are no failure. */
  readonly accept?: 'any' | readonly number[];
}

/** Runs a program to its end. Throws when it fails, with what it printed. */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<Finished> {
  const { timeoutMs = 60_000, input, accept = [] } = options;
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
  // A program that does not read its input closes it.
  child.stdin.on('error', () => undefined).end(input ?? '');
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve).once('error', reject);
  });
  const fine = code === 0 || accept === 'any' || (code !== null && accept.includes(code));
  if (!fine) {
    const how = code === null ? `was ended after ${timeoutMs} ms or by a signal` : `ended with ${code}`;
    throw new Error(`${argv.join(' ')} ${how}\n${stdout.slice(-2000)}${stderr.slice(-4000)}`);
  }
  return { code, stdout, stderr };
}

export interface Background extends AsyncDisposable {
  readonly pid: number;
  /** What it printed so far, both streams. */
  log(): string;
  /** Undefined while it runs, then its exit code, or null when a signal ended it. */
  exitCode(): number | null | undefined;
  /** Settles when it has ended. */
  readonly ended: Promise<void>;
  signal(name: NodeJS.Signals): void;
  /** SIGTERM, and SIGKILL after `graceMs`. */
  stop(graceMs?: number): Promise<void>;
}

/** Starts a program and leaves it running. */
export function start(argv: readonly string[], environment: Readonly<Record<string, string>> = {}): Background {
  const [command = '', ...args] = argv;
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...environment } });
  let text = '';
  let code: number | null | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
  }
  const ended = new Promise<void>((resolve) => {
    child.once('close', (value) => {
      code ??= value;
      resolve();
    });
    child.once('error', (error) => {
      text += error.message;
      code = null;
      resolve();
    });
  });
  const stop = async (graceMs = 3000) => {
    if (code !== undefined) return;
    child.kill('SIGTERM');
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
    await ended;
    clearTimeout(timer);
  };
  return {
    pid: child.pid ?? 0,
    log: () => text,
    exitCode: () => code,
    ended,
    signal: (name) => void child.kill(name),
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/** Asks again and again until the answer is not undefined. Throws what it last threw, or `what`, after `timeoutMs`. */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined> | T | undefined,
  timeoutMs = 10_000,
  everyMs = 100,
): Promise<T> {
  const end = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`not within ${timeoutMs} ms: ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
