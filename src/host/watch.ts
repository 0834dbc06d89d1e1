// SPDX-License-Identifier: Apache-2.0
// Tells when the node changes: interfaces, routes, addresses (`ip monitor`), nftables tables that somebody removed
// (`nft monitor`). Soon, but not again and again.

import { spawn, type ChildProcess } from 'node:child_process';

const DEBOUNCE_MS = 1000;
/** Pods that come and go change interfaces and routes all the time, and each look at the node starts half a dozen commands. */
const MIN_INTERVAL_MS = 5000;
const RESTART_MS = 5000;

const MONITORS = [
  ['ip', ['monitor', 'link', 'address', 'route']],
  // Removals alone: kube-proxy and CNIs change their rules all the time.
  ['nft', ['monitor', 'destroy', 'tables']],
] as const;

/** Calls `onChange` after changes. Without the commands nothing is told and the caller's own clock has to do. */
export function watchHost(onChange: () => void): { stop(): void } {
  let debounce: NodeJS.Timeout | undefined;
  let calledAt = -MIN_INTERVAL_MS;
  const onEvent = () => {
    // The first event of a burst sets the time, so that a steady stream cannot put the call off for ever.
    const waitMs = Math.max(DEBOUNCE_MS, calledAt + MIN_INTERVAL_MS - performance.now());
    debounce ??= setTimeout(() => {
      debounce = undefined;
      calledAt = performance.now();
      onChange();
    }, waitMs);
  };
  const monitors = MONITORS.map(([command, args]) => keepRunning(command, args, onEvent));
  return {
    stop() {
      for (const stop of monitors) stop();
      clearTimeout(debounce);
    },
  };
}

/** Runs a command that prints a line per event, again when it ends. Returns what ends it for good. */
function keepRunning(command: string, args: readonly string[], onEvent: () => void): () => void {
  let child: ChildProcess | undefined;
  let restart: NodeJS.Timeout | undefined;
  let stopped = false;
  const start = () => {
    child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout?.on('data', () => {
      if (!stopped) onEvent();
    });
    const again = () => {
      if (stopped || restart !== undefined) return;
      restart = setTimeout(() => {
        restart = undefined;
        start();
      }, RESTART_MS);
      restart.unref();
    };
    child.once('error', again);
    child.once('exit', again);
    child.unref();
  };
  start();
  return () => {
    stopped = true;
    clearTimeout(restart);
    child?.kill('SIGTERM');
  };
}
