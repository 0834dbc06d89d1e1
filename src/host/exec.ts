// SPDX-License-Identifier: Apache-2.0
// Runs the host's commands and reads their JSON. Everything acts in this process's network namespace.

import { spawn } from 'node:child_process';
import { Gate64Error } from '../errors.ts';

/**
 * Every command that gate64 runs, with the package of Debian and Ubuntu that brings it and what tells that it can be run.
 * The look at the node's start tries each.
 */
export const COMMANDS = {
  ip: { package: 'iproute2', probe: ['-V'] },
  ss: { package: 'iproute2', probe: ['-V'] },
  tc: { package: 'iproute2', probe: ['-V'] },
  nft: { package: 'nftables', probe: ['-v'] },
  setpriv: { package: 'util-linux', probe: ['--version'] },
} as const satisfies Record<string, { package: string; probe: readonly string[] }>;

export type CommandName = keyof typeof COMMANDS;

const TIMEOUT_MS = 15_000;

export interface ExecResult {
  readonly exit: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a command to its end, `input` on its standard input; throws G64_HOST_COMMAND only when it cannot be run at all or
 * takes longer than 15 s.
 */
export type Exec = (command: CommandName, args: readonly string[], input?: string) => Promise<ExecResult>;

export const execCommand: Exec = (command, args, input) =>
  execProgram(command, args, input, (cause) => missingCommand(command, cause));

/** Runs a line of a finding as root's shell would. Throws as Exec does. */
export function execLine(text: string): Promise<ExecResult> {
  return execProgram('sh', ['-c', text], undefined, (cause) => cannotRun('sh', cause));
}

let lastStart: Promise<void> = Promise.resolve();

/** To start a process takes this thread 3 to 6 ms. Who begins several at once lets others have the thread in between. */
function turnToStart(): Promise<void> {
  lastStart = lastStart.then(() => new Promise((resolve) => setImmediate(resolve)));
  return lastStart;
}

async function execProgram(
  command: string,
  args: readonly string[],
  input: string | undefined,
  missing: (cause: Error) => Gate64Error,
): Promise<ExecResult> {
  await turnToStart();
  return await new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    // A command that ends before it has read everything says why itself.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, TIMEOUT_MS);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', (cause: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      reject(cause.code === 'ENOENT' ? missing(cause) : cannotRun(command, cause));
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      if (timedOut) reject(new Gate64Error('G64_HOST_COMMAND', `"${line(command, args)}" did not end within 15 s`));
      else resolve({ exit: code ?? -1, stdout, stderr });
    });
  });
}

export function missingCommand(command: CommandName, cause?: unknown): Gate64Error {
  return new Gate64Error('G64_HOST_COMMAND', `the command "${command}" is not installed, and gate64 needs it`, {
    cause,
    hint: `Install the package ${COMMANDS[command].package}. On Debian and Ubuntu: ${installing(command)}`,
  });
}

/** The line that brings `command` on Debian and Ubuntu. */
export function installing(command: CommandName): string {
  return `apt-get install -y ${COMMANDS[command].package}`;
}

function cannotRun(command: string, cause: Error): Gate64Error {
  return new Gate64Error('G64_HOST_COMMAND', `the command "${command}" cannot be run: ${cause.message}`, { cause });
}

export function commandFailed(command: string, args: readonly string[], result: ExecResult): Gate64Error {
  const words = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(0, 3).join(' ');
  return new Gate64Error(
    'G64_HOST_COMMAND',
    `"${line(command, args)}" failed with exit code ${result.exit}: ${words || 'it said nothing'}`,
  );
}

/** Runs a command that must succeed and returns what it printed. */
export async function run(exec: Exec, command: CommandName, args: readonly string[], input?: string): Promise<string> {
  const result = await exec(command, args, input);
  if (result.exit !== 0) throw commandFailed(command, args, result);
  return result.stdout;
}

/** Runs `ip -j …`; the rows it printed. Their shape is what the caller knows of that command. */
export async function ipRows<Row>(exec: Exec, args: readonly string[]): Promise<Row[]> {
  const text = await run(exec, 'ip', ['-j', ...args]);
  // ip prints nothing at all for an empty list.
  return text.trim() === '' ? [] : parseJson<Row[]>(text, `ip -j ${args.join(' ')}`);
}

export function parseJson<T>(text: string, command: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new Gate64Error('G64_HOST_COMMAND', `"${command}" printed something that is not JSON`, { cause });
  }
}

function line(command: string, args: readonly string[]): string {
  const text = [command, ...args].join(' ').replaceAll(/\s+/g, ' ');
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
