// SPDX-License-Identifier: Apache-2.0
// The name table as a file, one JSON object a line: so that names outlive the service, and listings have them while it
// is down.

import { readFileSync, rmSync } from 'node:fs';
import { mkdir, open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../addr/ip.ts';
import type { Logger } from '../telemetry/logger.ts';
import { NameTable, type NameRecord } from './name-table.ts';

export const NAMES_FILE = '/run/gate64/names.jsonl';

const VERSION = 1;
/** 255 octets, each as \DDD. */
const MAX_NAME_TEXT = 4 * 255;
const MIN_INTERVAL_MS = 1000;
/** After a write of d ms the next begins 100·d ms later at the earliest. */
const REST_PER_WORK = 100;
/** DNS answers wait for so many records to become text. */
const RECORDS_A_TURN = 500;

/** Undefined when there is none, or none that this version knows. Lines that are not whole are left out. */
export function readNames(path: string = NAMES_FILE): NameRecord[] | undefined {
  let text;
  try {
    text = readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
  const [head = '', ...lines] = text.split('\n');
  if (parse(head)?.['version'] !== VERSION) return undefined;
  return lines.flatMap((line) => readRecord(line) ?? []);
}

/** True when there was one. */
export function removeNames(path: string = NAMES_FILE): boolean {
  const had = readNames(path) !== undefined;
  for (const each of [path, `${path}.new`]) rmSync(each, { force: true });
  return had;
}

/** Keeps the file as the table is, some seconds behind. */
export class NameFile {
  readonly #table: NameTable;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #path: string;
  #timer: NodeJS.Timeout | undefined;
  #written: number;
  #running: Promise<void> = Promise.resolve();
  #hasFailed = false;

  private constructor(table: NameTable, log: Pick<Logger, 'warn'>, path: string) {
    this.#table = table;
    this.#log = log;
    this.#path = path;
    this.#written = table.version;
    this.#schedule(MIN_INTERVAL_MS);
  }

  /** Puts into `table` what the file has. */
  static open(table: NameTable, log: Pick<Logger, 'warn'>, path: string = NAMES_FILE): NameFile {
    table.restore(readNames(path) ?? [], Date.now());
    return new NameFile(table, log, path);
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
    const { version } = this.#table;
    if (version === this.#written) return;
    try {
      await mkdir(dirname(this.#path), { recursive: true, mode: 0o755 });
      const records = this.#table.records(Date.now());
      // For its owner alone: it says which pod asks for what.
      const file = await open(`${this.#path}.new`, 'w', 0o600);
      try {
        await file.write(`${JSON.stringify({ version: VERSION })}\n`);
        for (let at = 0; at < records.length; at += RECORDS_A_TURN) {
          await file.write(
            records
              .slice(at, at + RECORDS_A_TURN)
              .map(recordLine)
              .join(''),
          );
        }
      } finally {
        await file.close();
      }
      // A rename is whole or not at all, whenever the process dies.
      await rename(`${this.#path}.new`, this.#path);
      this.#written = version;
      this.#hasFailed = false;
    } catch (error) {
      if (!this.#hasFailed) {
        this.#log.warn({ err: error, file: this.#path }, 'names cannot be kept; sessions are listed without');
      }
      this.#hasFailed = true;
    }
  }
}

function recordLine({ name, v4, client, firstAt, lastAt, countsUntil }: NameRecord): string {
  const whose = client === '' ? {} : { client };
  return `${JSON.stringify({ name, address: formatIp4(v4), ...whose, firstAt, lastAt, countsUntil })}\n`;
}

function readRecord(line: string): NameRecord | undefined {
  const json = parse(line);
  if (json === undefined) return undefined;
  const { name, address, client = '', firstAt, lastAt, countsUntil } = json;
  if (typeof name !== 'string' || name.length > MAX_NAME_TEXT || !/^[!-~]+$/.test(name)) return undefined;
  if (typeof address !== 'string' || typeof client !== 'string') return undefined;
  if (!isTime(firstAt) || !isTime(lastAt) || !isTime(countsUntil)) return undefined;
  try {
    const whose = client === '' ? '' : formatIp6(parseIp6(client));
    return { name, v4: parseIp4(address), client: whose, firstAt, lastAt, countsUntil };
  } catch {
    return undefined;
  }
}

function isTime(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const json: unknown = JSON.parse(line);
    return typeof json === 'object' && json !== null ? { ...json } : undefined;
  } catch {
    return undefined;
  }
}
