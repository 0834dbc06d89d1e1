// SPDX-License-Identifier: Apache-2.0
// One DNS worker as the service sees it: a process that is told what to do and tells what it did.

import { fork, type ChildProcess } from 'node:child_process';
import { extname, join } from 'node:path';
import type { DestinationRule } from '../addr/destinations.ts';
import {
  errorReceived,
  type FromWorker,
  type ToWorker,
  type WorkerError,
  type WorkerSettings,
  type WorkerState,
} from './worker-protocol.ts';

/** `.ts` from source, `.js` from dist/. */
const PROGRAM = join(import.meta.dirname, `worker${extname(import.meta.filename)}`);
/** One that does not answer for so long is ended. */
const REPLY_MS = 10_000;
const STOP_MS = 5000;

export interface WorkerHears {
  readonly onReport: (report: FromWorker & { kind: 'report' }) => void;
  readonly onLog: (line: FromWorker & { kind: 'log' }) => void;
}

type Request = { readonly kind: 'stop' } | ({ readonly kind: 'apply' } & WorkerSettings);

export class WorkerProcess {
  /** With everything that it told before. */
  readonly ended: Promise<string>;
  readonly #child: ChildProcess;
  readonly #hears: WorkerHears;
  readonly #waiting = new Map<number, (error: WorkerError | 'ended' | undefined) => void>();
  #lastId = 0;
  #state: WorkerState | undefined;
  #isUp = false;
  #settings: WorkerSettings | undefined;

  constructor(hears: WorkerHears) {
    this.#hears = hears;
    // A session of its own: what a terminal sends to all of its processes is the service's to follow.
    this.#child = fork(PROGRAM, [], {
      serialization: 'advanced',
      detached: true,
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
    this.#child.on('message', (message: FromWorker) => this.#onMessage(message));
    this.ended = this.#end();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Undefined until it answers names, and when it has ended. */
  get state(): WorkerState | undefined {
    return this.#isUp ? this.#state : undefined;
  }

  /** What it has in force. */
  get settings(): WorkerSettings | undefined {
    return this.#settings;
  }

  /** Throws what it refuses with. */
  async apply(settings: WorkerSettings): Promise<'applied' | 'ended'> {
    const error = await this.#ask({ kind: 'apply', ...settings }, REPLY_MS);
    if (error === 'ended') return error;
    if (error !== undefined) throw errorReceived(error);
    this.#settings = settings;
    this.#isUp = true;
    return 'applied';
  }

  setDestinations(rules: readonly DestinationRule[]): void {
    this.#tell({ kind: 'destinations', rules });
  }

  async stop(): Promise<void> {
    await this.#ask({ kind: 'stop' }, STOP_MS);
    await this.ended;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async #end(): Promise<string> {
    const child = this.#child;
    const exited = Promise.withResolvers<string>();
    child.once('exit', (code, signal) => exited.resolve(signal ?? `code ${String(code)}`));
    child.on('error', (error) => {
      if (child.pid === undefined) exited.resolve(error.message);
    });
    // What was sent right before the end arrives until then.
    const disconnected = new Promise<void>((resolve) => {
      if (child.connected) child.once('disconnect', resolve);
      else resolve();
    });
    const how = await exited.promise;
    this.#isUp = false;
    if (child.pid !== undefined) await disconnected;
    for (const settle of this.#waiting.values()) settle('ended');
    return how;
  }

  #ask(request: Request, withinMs: number): Promise<WorkerError | 'ended' | undefined> {
    const id = ++this.#lastId;
    return new Promise((resolve) => {
      const late = setTimeout(() => this.kill(), withinMs);
      const settle = (error: WorkerError | 'ended' | undefined) => {
        clearTimeout(late);
        this.#waiting.delete(id);
        resolve(error);
      };
      this.#waiting.set(id, settle);
      if (this.#child.connected) this.#tell({ ...request, id });
      else void this.ended.then(() => settle('ended'));
    });
  }

  #tell(message: ToWorker): void {
    // That it has ended comes by `ended`.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }

  #onMessage(message: FromWorker): void {
    if (message.kind === 'log') {
      this.#hears.onLog(message);
      return;
    }
    if (message.state) this.#state = message.state;
    if (message.kind === 'report') this.#hears.onReport(message);
    else this.#waiting.get(message.id)?.(message.error);
  }
}
