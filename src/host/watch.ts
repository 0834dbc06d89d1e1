// SPDX-License-Identifier: Apache-2.0
// Tells when the node changes: interfaces, routes, addresses, forwarding (`ip monitor`), nftables tables that somebody removed
// (`nft monitor`). Soon, but not again and again.

import { spawn, type ChildProcess } from 'node:child_process';
import type { CommandName } from './exec.ts';

/**
 * The kernel ends a monitor with this process, however that ends: one that stayed would keep the namespace. It is tied to
 * the thread that started it, which is the main one and ends with the process.
 */
const TIED = ['--pdeathsig', 'KILL', '--'] as const;

const DEBOUNCE_MS = 1000;
/** Pods that come and go change interfaces and routes all the time, and each look at the node starts half a dozen commands. */
const MIN_INTERVAL_MS = 5000;
const RESTART_MS = 5000;

const MONITORS = [
  ['ip', ['monitor', 'link', 'address', 'route', 'netconf']],
  // Removals alone: kube-proxy and CNIs change their rules all the time.
  ['nft', ['monitor', 'destroy', 'tables']],
] as const;

/** Calls `onChange` after changes. Without the commands nothing is told and the caller's own clock has to do. */
export class HostWatch {
  readonly #onChange: () => void;
  readonly #monitors: readonly Monitor[];
  #debounce: NodeJS.Timeout | undefined;
  #calledAt = -MIN_INTERVAL_MS;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
    this.#monitors = MONITORS.map(([command, args]) => new Monitor(command, args, () => this.#onEvent()));
  }

  stop(): void {
    for (const monitor of this.#monitors) monitor.stop();
    clearTimeout(this.#debounce);
  }

  #onEvent(): void {
    // The first event of a burst sets the time, so that a steady stream cannot put the call off for ever.
    const waitMs = Math.max(DEBOUNCE_MS, this.#calledAt + MIN_INTERVAL_MS - performance.now());
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined;
      this.#calledAt = performance.now();
      this.#onChange();
    }, waitMs);
  }
}

/** Runs a command that prints a line per event, again when it ends. */
class Monitor {
  readonly #command: CommandName;
  readonly #args: readonly string[];
  readonly #onEvent: () => void;
  #child: ChildProcess | undefined;
  #restart: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(command: CommandName, args: readonly string[], onEvent: () => void) {
    this.#command = command;
    this.#args = args;
    this.#onEvent = onEvent;
    this.#start();
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#restart);
    this.#child?.kill('SIGTERM');
  }

  #start(): void {
    const child = spawn('setpriv', [...TIED, this.#command, ...this.#args], { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#child = child;
    child.stdout.on('data', () => {
      if (!this.#isStopped) this.#onEvent();
    });
    child.once('error', () => this.#again());
    child.once('exit', () => this.#again());
    child.unref();
  }

  #again(): void {
    if (this.#isStopped || this.#restart !== undefined) return;
    this.#restart = setTimeout(() => {
      this.#restart = undefined;
      this.#start();
    }, RESTART_MS);
    this.#restart.unref();
  }
}
