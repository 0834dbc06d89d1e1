// SPDX-License-Identifier: Apache-2.0
// What the commands need from outside: streams, the data plane's reader, the running service, a resolver. Tests put
// their own here. What is large is loaded when a command asks for it: `version` must not load the BPF binding.

import type { Endpoint } from '../addr/ip.ts';
import type { Config } from '../config/config.ts';
import type { LoadedConfig } from '../config/load.ts';
import type { DatapathReader } from '../datapath/datapath.ts';
import type { ServiceStatus } from '../telemetry/status.ts';
import { Gate64Error } from '../errors.ts';
import { lookup, type LookupAnswer, type LookupType } from './lookup.ts';
import { fetchStatus } from './status-client.ts';

export interface Output {
  write(text: string): void;
  readonly isTerminal: boolean;
  /** Columns of the terminal; Infinity elsewhere, where nothing is left out. */
  readonly width: number;
  readonly colour: boolean;
}

class StreamOutput implements Output {
  readonly isTerminal: boolean;
  readonly width: number;
  readonly colour: boolean;
  readonly #stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
    this.isTerminal = stream.isTTY;
    this.width = stream.isTTY ? stream.columns : Infinity;
    // https://no-color.org: any value but the empty one.
    this.colour = stream.isTTY && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb';
    // `gate64 sessions | head` closes the pipe early, which is no error of ours.
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error;
      process.exit(0);
    });
  }

  write(text: string): void {
    this.#stream.write(text);
  }
}

export interface CliContext {
  readonly stdout: Output;
  readonly stderr: Output;
  /** Milliseconds since the epoch. */
  now(): number;
  /** Ends on a signal; for commands that go on until they are stopped. */
  readonly signal: AbortSignal;
  /** Throws G64_DATAPATH_MISSING when this node has no data plane. */
  openReader(): Promise<DatapathReader>;
  /** What the running service says; undefined when none answers at `listen`. */
  fetchStatus(listen: Endpoint): Promise<ServiceStatus | undefined>;
  lookup(server: Endpoint, name: string, type: LookupType): Promise<LookupAnswer>;
  runService(config: Config, loaded: LoadedConfig): Promise<number>;
  /** Says what was done, such as "removed: device gate64". */
  uninstall(config: Config): Promise<readonly string[]>;
}

export function defaultContext(): CliContext {
  const stop = new AbortController();
  return {
    stdout: new StreamOutput(process.stdout),
    stderr: new StreamOutput(process.stderr),
    now: Date.now,
    get signal() {
      if (process.listenerCount('SIGINT') === 0) process.once('SIGINT', () => stop.abort());
      return stop.signal;
    },
    openReader: async () => {
      const { openReader } = await import('../datapath/open.ts');
      return asRoot('read the data plane', () => Promise.resolve(openReader()));
    },
    fetchStatus,
    lookup: (server, name, type) => lookup(server, name, type),
    runService: async (config, loaded) => (await import('../service.ts')).runService(config, loaded),
    uninstall: async (config) => {
      const { uninstall } = await import('../service.ts');
      return asRoot('take gate64 off this node', () => uninstall(config));
    },
  };
}

/** Maps, devices and rules are root's: a refusal by the kernel is told as what it is. */
async function asRoot<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    const refused = ['EACCES', 'EPERM'].includes(code) || process.getuid?.() !== 0;
    if (!refused || code === 'G64_DATAPATH_MISSING') throw cause;
    throw new Gate64Error('G64_NO_CAPABILITY', `this user may not ${what}`, { cause, hint: 'run it as root' });
  }
}
