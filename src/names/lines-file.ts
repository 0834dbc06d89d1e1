// SPDX-License-Identifier: Apache-2.0
// A bounded table in memory as a file, one JSON object a line: so that it outlives the service, and listings have it while
// the service is down.

import { readFileSync, rmSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from '../telemetry/logger.ts';

const VERSION = 1;
const MIN_INTERVAL_MS = 1000;
/** After a write of d ms the next begins 100·d ms later at the earliest. */
const REST_PER_WORK = 100;
/** DNS answers wait for so many records to become text. */
const RECORDS_A_TURN = 500;

export type Json = Readonly<Record<string, unknown>>;

/** Where the records come from. */
export interface LinesSource {
  /** Another number after every change. */
  readonly version: number;
  /** What is to be written, made into JSON bit by bit. */
  lines(wallMs: number): readonly (() => Json)[];
}

/** The objects in it; undefined when there is no file, or none that this version knows. Lines that are cut off are left out. */
export function readLines(path: string): Json[] | undefined {
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  const [head = '', ...lines] = text.split('\n');
  if (parse(head)?.['version'] !== VERSION) return undefined;
  return lines.map(parse).filter((json) => json !== undefined);
}

/** True when there was one. */
export function removeLines(path: string): boolean {
  const had = readLines(path) !== undefined;
  for (const each of [path, `${path}.new`]) rmSync(each, { force: true });
  return had;
}

/** Keeps a file as its source is, some seconds behind. */
export class LinesFile {
  readonly #path: string;
  readonly #source: LinesSource;
  readonly #log: Pick<Logger, 'warn'>;
  #timer: NodeJS.Timeout | undefined;
  #written: number;
  #running: Promise<void> = Promise.resolve();
  #hasFailed = false;

  constructor(path: string, source: LinesSource, log: Pick<Logger, 'warn'>) {
    this.#path = path;
    this.#source = source;
    this.#log = log;
    this.#written = source.version;
    this.#schedule(MIN_INTERVAL_MS);
  }

  /** Writes what is not written yet. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#running;
    await this.#write();
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => {
      const startedAt = performance.now();
      this.#running = this.#write();
      void this.#running.then(() => {
        if (this.#timer === undefined) return;
        this.#schedule(Math.max(MIN_INTERVAL_MS, (performance.now() - startedAt) * REST_PER_WORK));
      });
    }, delayMs).unref();
  }

  async #write(): Promise<void> {
    const { version } = this.#source;
    if (version === this.#written) return;
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o755 });
      const records = this.#source.lines(Date.now());
      // For its owner alone: it says which pod asks for what.
      const file = await open(`${this.#path}.new`, 'w', 0o600);
      try {
        await file.write(`${JSON.stringify({ version: VERSION })}\n`);
        for (let at = 0; at < records.length; at += RECORDS_A_TURN) {
          const turn = records.slice(at, at + RECORDS_A_TURN);
          await file.write(turn.map((record) => `${JSON.stringify(record())}\n`).join(''));
        }
      } finally {
        await file.close();
      }
      // A rename is whole or not at all, whenever the process dies.
      await rename(`${this.#path}.new`, this.#path);
      this.#written = version;
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) this.#log.warn({ err: error, file: this.#path }, 'names cannot be kept in a file');
      this.#hasFailed = true;
    }
  }
}

function parse(line: string): Json | undefined {
  try {
    const json: unknown = JSON.parse(line);
    return typeof json === 'object' && json !== null ? { ...json } : undefined;
  } catch {
    return undefined;
  }
}
