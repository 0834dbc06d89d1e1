// SPDX-License-Identifier: Apache-2.0
// Lines at the end of a file that somebody else may move aside (logrotate). What the disk does not take at once waits in a
// bounded buffer, what does not fit there is lost and counted. The caller never waits.

import { constants } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import type { Logger } from './logger.ts';

const BUFFERED_OCTETS = 4 * 1024 * 1024;
const RETRY_MS = 5000;
/** A disk that hangs does not keep the process from ending. */
const LAST_MS = 2000;

const NEWLINE = 10;
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

export interface AppendFileOptions {
  readonly path: string;
  readonly log: Pick<Logger, 'warn' | 'info'>;
  /** Lines that stand before all others in a file that is opened. */
  readonly head: () => readonly string[];
  /** The line that stands for so many that were lost. */
  readonly gap: (lines: number) => string;
  readonly bufferedOctets?: number;
  readonly retryMs?: number;
}

export class AppendFile {
  readonly #options: AppendFileOptions;
  #handle: FileHandle | undefined;
  /** Device and inode of what is open. */
  #identity = '';
  /** Whether to see first if the path leads to another file now. */
  #mustLook = true;
  #waiting: string[] = [];
  /** What is being written, with how much of it was. */
  #chunk = Buffer.alloc(0);
  #written = 0;
  /** Of both. */
  #octets = 0;
  #lost = 0;
  #running: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #hasFailed = false;
  #isStopped = false;

  constructor(options: AppendFileOptions) {
    this.#options = options;
    this.#flush();
  }

  get path(): string {
    return this.#options.path;
  }

  /** `line` without its end. */
  write(line: string): void {
    const octets = Buffer.byteLength(line) + 1;
    if (this.#octets + octets > (this.#options.bufferedOctets ?? BUFFERED_OCTETS)) {
      this.#lost++;
      return;
    }
    this.#waiting.push(line);
    this.#octets += octets;
    if (this.#retry === undefined) this.#flush();
  }

  /** Goes on in the file that the path leads to now. */
  reopen(): void {
    this.#mustLook = true;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#flush();
  }

  /** Writes what is left, as far as that takes no longer than a moment. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAST_MS);
    await Promise.race([this.#end(), promise]);
    clearTimeout(timer);
  }

  async #end(): Promise<void> {
    await this.#running;
    this.#flush();
    await this.#running;
    await this.#handle?.close();
    this.#handle = undefined;
  }

  #flush(): void {
    this.#running ??= this.#drain().finally(() => {
      this.#running = undefined;
      const isLeft = this.#mustLook || this.#waiting.length > 0;
      if (isLeft && this.#retry === undefined && !this.#isStopped) this.#flush();
    });
  }

  /** Never rejects. */
  async #drain(): Promise<void> {
    const { path, log, retryMs } = this.#options;
    try {
      for (;;) {
        if (this.#mustLook) await this.#open();
        if (this.#written === this.#chunk.length && !this.#next()) break;
        const handle = this.#handle as FileHandle;
        const { bytesWritten } = await handle.write(this.#chunk, this.#written);
        this.#written += bytesWritten;
      }
      if (this.#hasFailed) log.info({ file: path }, 'the file can be written again');
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) log.warn({ err: error, file: path }, 'the file cannot be written; trying again');
      this.#hasFailed = true;
      if (!this.#isStopped) this.#retry = setTimeout(() => this.reopen(), retryMs ?? RETRY_MS).unref();
    }
  }

  /** Takes up what waits; false when nothing does. */
  #next(): boolean {
    this.#octets -= this.#chunk.length;
    const lines = this.#waiting;
    this.#waiting = [];
    if (this.#lost > 0) {
      const line = this.#options.gap(this.#lost);
      this.#options.log.warn({ file: this.path, lines: this.#lost }, 'lines were lost, since the file took none');
      this.#lost = 0;
      lines.push(line);
      this.#octets += Buffer.byteLength(line) + 1;
    }
    this.#chunk = textOf(lines);
    this.#written = 0;
    return lines.length > 0;
  }

  async #open(): Promise<void> {
    const { path, head } = this.#options;
    this.#mustLook = false;
    if (this.#handle !== undefined) {
      const there = await stat(path).catch(() => undefined);
      if (there !== undefined && identityOf(there) === this.#identity) return;
      await this.#handle.close();
      this.#handle = undefined;
    }
    try {
      // For its owner alone, and no pipe: its reader could hold everything up.
      const handle = await open(path, APPEND, 0o600);
      const found = await handle.stat();
      if (!found.isFile()) {
        await handle.close();
        throw new Error(`${path} is no regular file`);
      }
      this.#handle = handle;
      this.#identity = identityOf(found);
    } catch (error) {
      this.#mustLook = true;
      throw error;
    }
    // A line that was cut off by the change of files stands whole in the new one.
    const rest = this.#chunk.subarray(
      this.#written === 0 ? 0 : this.#chunk.lastIndexOf(NEWLINE, this.#written - 1) + 1,
    );
    const chunk = Buffer.concat([textOf(head()), rest]);
    this.#octets += chunk.length - this.#chunk.length;
    this.#chunk = chunk;
    this.#written = 0;
  }
}

function textOf(lines: readonly string[]): Buffer<ArrayBuffer> {
  return Buffer.from(lines.map((line) => `${line}\n`).join(''));
}

function identityOf({ dev, ino }: { dev: number; ino: number }): string {
  return `${dev} ${ino}`;
}
