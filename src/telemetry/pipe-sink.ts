// SPDX-License-Identifier: Apache-2.0
// Log lines into a pipe or a socket that its reader may leave full: what does not fit waits in a bounded buffer, what does
// not fit there is lost and counted. The caller never waits.

import { fstatSync, writeSync } from 'node:fs';

const BUFFERED_OCTETS = 1024 * 1024;
const RETRY_MS = 50;
/** The last lines before the process ends are tried for this long. */
const LAST_MS = 200;

export interface PipeSinkOptions {
  /** Non-blocking. */
  readonly fd: number;
  readonly bufferedOctets?: number;
  /** Told how many lines were lost when lines fit again. */
  readonly onLost: (lines: number) => void;
}

/** Whether a full reader would make a writer wait. */
export function isPipe(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFIFO() || stat.isSocket();
  } catch {
    return false;
  }
}

export class PipeSink {
  readonly #fd: number;
  readonly #room: number;
  readonly #onLost: (lines: number) => void;
  #waiting: Buffer[] = [];
  #octets = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;
  /** Nobody reads any more. */
  #isBroken = false;

  constructor(options: PipeSinkOptions) {
    this.#fd = options.fd;
    this.#room = options.bufferedOctets ?? BUFFERED_OCTETS;
    this.#onLost = options.onLost;
  }

  write(line: string): void {
    const bytes = Buffer.from(line);
    if (this.#isBroken || this.#octets + bytes.length > this.#room) {
      this.#lost++;
      return;
    }
    this.#waiting.push(bytes);
    this.#octets += bytes.length;
    if (this.#timer === undefined) this.#flow();
  }

  /** For the end of the process, where nothing comes after: waits a moment for a slow reader. */
  end(): void {
    clearTimeout(this.#timer);
    const pause = new Int32Array(new SharedArrayBuffer(4));
    const end = performance.now() + LAST_MS;
    while (!this.#drain() && performance.now() < end) Atomics.wait(pause, 0, 0, 10);
  }

  #flow(): void {
    this.#timer = undefined;
    if (!this.#drain()) {
      this.#timer = setTimeout(() => this.#flow(), RETRY_MS);
      this.#timer.unref();
    } else if (this.#lost > 0 && !this.#isBroken) {
      const lost = this.#lost;
      this.#lost = 0;
      this.#onLost(lost);
    }
  }

  /** Writes what fits; says whether that was all. */
  #drain(): boolean {
    let first = 0;
    try {
      for (; first < this.#waiting.length; first++) {
        const bytes = this.#waiting[first] as Buffer;
        const written = writeSync(this.#fd, bytes);
        this.#octets -= written;
        if (written === bytes.length) continue;
        this.#waiting[first] = bytes.subarray(written);
        return false;
      }
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return false;
      // EPIPE: whoever read has gone, and a log that nobody reads ends nothing.
      this.#isBroken = true;
      this.#lost += this.#waiting.length;
      first = this.#waiting.length;
      this.#octets = 0;
      return true;
    } finally {
      this.#waiting.splice(0, first);
    }
  }
}
