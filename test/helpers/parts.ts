// SPDX-License-Identifier: Apache-2.0
// Real programs that `make deps` builds or unpacks for the tests below .cache/, found again and started from here.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const scripts = join(import.meta.dirname, '../deps');

function partPath(script: string): string {
  return execFileSync(join(scripts, script), { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** Path of CoreDNS with the plugins of test/coredns/main.go; builds it if that was not done yet (needs a registry). */
export function coreDnsBinary(): string {
  return partPath('coredns.sh');
}

/** Path of a kubectl that knows `kustomize`. */
export function kubectlBinary(): string {
  return partPath('kubectl.sh');
}

export interface RunningPart {
  pid: number;
  /** What it printed so far, both streams. */
  log(): string;
  /** Undefined while it runs, then its exit code, or null when a signal ended it. */
  exitCode(): number | null | undefined;
  stop(): Promise<void>;
}

/**
 * Starts CoreDNS and waits until it serves.
 * @param corefile text of the Corefile; paths in it are absolute
 * @param options.netns name below /run/netns; without it the caller's own namespace
 * @throws Error with what CoreDNS said when it ends or does not serve within 10 s
 */
export async function startCoreDns(corefile: string, options: { netns?: string } = {}): Promise<RunningPart> {
  const dir = mkdtempSync(join(tmpdir(), 'gate64-coredns-'));
  const conf = join(dir, 'Corefile');
  writeFileSync(conf, corefile);
  // nsenter, not `ip netns exec`, which would hide the bpffs mount.
  const enter = options.netns === undefined ? [] : ['nsenter', `--net=/run/netns/${options.netns}`];
  const [command, ...args] = [...enter, coreDnsBinary(), '-conf', conf];
  const child = spawn(command as string, args, { cwd: dir, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  let code: number | null | undefined;
  const ended = new Promise<void>((resolve) => {
    const finish = (value: number | null, message = '') => {
      code = value;
      text += message;
      rmSync(dir, { recursive: true, force: true });
      resolve();
    };
    child.once('exit', (value) => finish(value));
    child.once('error', (error) => finish(null, error.message));
  });
  const serving = new Promise<void>((resolve) => {
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        // Its banner comes after every listener is bound.
        if (text.includes('CoreDNS-')) resolve();
      });
    }
  });
  const stop = async () => {
    if (code !== undefined) return;
    child.kill('SIGTERM');
    // `health` may be told to linger (lameduck); a test does not wait for that.
    const timer = setTimeout(() => child.kill('SIGKILL'), 2000);
    await ended;
    clearTimeout(timer);
  };
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, 10_000);
  });
  await Promise.race([serving, ended, late]);
  clearTimeout(timer);
  if (code !== undefined || !text.includes('CoreDNS-')) {
    await stop();
    throw new Error(`CoreDNS does not serve: ${text.trim()}`);
  }
  return { pid: child.pid as number, log: () => text, exitCode: () => code, stop };
}
