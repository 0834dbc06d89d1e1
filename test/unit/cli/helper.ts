// SPDX-License-Identifier: Apache-2.0
// Runs one command line in this process, with a reader, a service and a resolver of the test's own.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AcceptedFile } from '../../../src/config/accepted.ts';
import type { CliContext, Output } from '../../../src/cli/context.ts';
import type { LookupAnswer } from '../../../src/cli/lookup.ts';
import { runCli } from '../../../src/cli/program.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { MemoryReader } from '../../helpers/reader.ts';

export const NOW = Date.parse('2026-01-02T03:04:05Z');

export interface CliResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliSetup {
  /** A terminal of so many columns; without it, a pipe. */
  readonly terminal?: number;
  readonly colour?: boolean;
  readonly context?: Partial<CliContext>;
}

export async function cli(args: readonly string[], setup: CliSetup = {}): Promise<CliResult> {
  const stdout = capture(setup);
  const stderr = capture({});
  const context: CliContext = {
    stdout: stdout.output,
    stderr: stderr.output,
    accepted: new AcceptedFile('/nonexistent/accepted.yaml'),
    now: () => NOW,
    signal: new AbortController().signal,
    openReader: () => Promise.resolve(new MemoryReader()),
    openWatch: () => Promise.reject(new Error('not expected here')),
    readNames: () => undefined,
    readUsage: () => [],
    fetchStatus: () => Promise.resolve(undefined),
    fetchReadiness: () => Promise.resolve(undefined),
    examine: () => Promise.resolve({ findings: [], unseen: undefined }),
    runLine: () => Promise.reject(new Error('not expected here')),
    checkUpstreams: () => Promise.resolve([]),
    checkListen: () => Promise.resolve([]),
    examineFlow: () => Promise.reject(new Error('not expected here')),
    probe: () => Promise.reject(new Error('not expected here')),
    lookup: () => Promise.resolve({ rcode: 3, records: [] } satisfies LookupAnswer),
    runService: () => Promise.reject(new Error('not expected here')),
    uninstall: () => Promise.reject(new Error('not expected here')),
    ...setup.context,
  };
  const code = await runCli(args, context);
  return { code, stdout: stdout.text(), stderr: stderr.text() };
}

function capture(setup: CliSetup): { output: Output; text: () => string } {
  const written: string[] = [];
  const output = {
    write: (text: string) => void written.push(text),
    isTerminal: setup.terminal !== undefined,
    width: setup.terminal ?? Infinity,
    colour: setup.colour ?? false,
  };
  return { output, text: () => written.join('') };
}

/** Runs `use` with a file of that text, which goes afterwards. */
export async function withFile<T>(text: string, use: (path: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'gate64-cli-'));
  try {
    const path = join(folder, 'gate64.yaml');
    writeFileSync(path, text);
    return await use(path);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

export function serviceStatus(changes: Partial<ServiceStatus> = {}): ServiceStatus {
  return {
    version: '1.2.3',
    pid: 4711,
    startedAt: new Date(NOW - 90_000).toISOString(),
    draining: false,
    config: { file: '/etc/gate64/gate64.yaml', lastReload: { at: new Date(NOW).toISOString(), successful: true } },
    dns: { enabled: true, ready: true, reasons: [], listen: ['127.0.0.1:5364'], upstreams: ['192.0.2.53:53'] },
    nat64: { enabled: true, ready: true, reasons: [], egress: 'direct', uplink: 'eth0', attach: 'tcx', adopted: true },
    ...changes,
  };
}
