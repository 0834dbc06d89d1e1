// SPDX-License-Identifier: Apache-2.0
// Tells when interfaces, routes or addresses of the node change (`ip monitor`): soon, but not again and again.

import { spawn, type ChildProcess } from 'node:child_process';

const DEBOUNCE_MS = 1000;
/** Pods that come and go change interfaces and routes all the time, and each look at the node starts half a dozen commands. */
const MIN_INTERVAL_MS = 5000;
const RESTART_MS = 5000;

/** Calls `onChange` after changes. Without `ip monitor` nothing is told and the caller's own clock has to do. */
export function watchHost(onChange: () => void): { stop(): void } {
  let child: ChildProcess | undefined;
  let debounce: NodeJS.Timeout | undefined;
  let restart: NodeJS.Timeout | undefined;
  let stopped = false;
  let calledAt = -MIN_INTERVAL_MS;

  const start = () => {
    child = spawn('ip', ['monitor', 'link', 'address', 'route'], { stdio: ['ignore', 'pipe', 'ignore'] });
    child.stdout?.on('data', () => {
      // The first event of a burst sets the time, so that a steady stream cannot put the call off for ever.
      const waitMs = Math.max(DEBOUNCE_MS, calledAt + MIN_INTERVAL_MS - performance.now());
      debounce ??= setTimeout(() => {
        debounce = undefined;
        calledAt = performance.now();
        if (!stopped) onChange();
      }, waitMs);
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

  return {
    stop() {
      stopped = true;
      clearTimeout(debounce);
      clearTimeout(restart);
      child?.kill('SIGTERM');
    },
  };
}
