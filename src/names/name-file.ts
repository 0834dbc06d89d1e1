// SPDX-License-Identifier: Apache-2.0
// The name table in a file: its lines, and what of them is believed.

import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../addr/ip.ts';
import type { Logger } from '../telemetry/logger.ts';
import { LinesFile, readLines, type Json } from './lines-file.ts';
import type { NameRecord, NameTable } from './name-table.ts';

export const NAMES_FILE = '/run/gate64/names.jsonl';

/** 255 octets, each as \DDD. */
const MAX_NAME_TEXT = 4 * 255;

/** Undefined when there is no file. */
export function readNames(path: string = NAMES_FILE): NameRecord[] | undefined {
  return readLines(path)?.flatMap((line) => readRecord(line) ?? []);
}

/** Puts into `table` what the file has, and from then on into the file what the table has. */
export function keepNames(table: NameTable, log: Pick<Logger, 'warn'>, path: string = NAMES_FILE): LinesFile {
  table.restore(readNames(path) ?? [], Date.now());
  const source = {
    get version() {
      return table.version;
    },
    lines: (wallMs: number) => table.records(wallMs).map((record) => () => recordJson(record)),
  };
  return new LinesFile(path, source, log);
}

export function recordJson({ name, v4, client, firstAt, lastAt, countsUntil }: NameRecord): Json {
  const whose = client === '' ? {} : { client };
  return { name, address: formatIp4(v4), ...whose, firstAt, lastAt, countsUntil };
}

/** Undefined for what is no record. */
export function readRecord(json: Json): NameRecord | undefined {
  const { name, address, client = '', firstAt, lastAt, countsUntil } = json;
  if (!isNameText(name) || typeof address !== 'string' || typeof client !== 'string') return undefined;
  if (!isCount(firstAt) || !isCount(lastAt) || !isCount(countsUntil)) return undefined;
  try {
    const whose = client === '' ? '' : formatIp6(parseIp6(client));
    return { name, v4: parseIp4(address), client: whose, firstAt, lastAt, countsUntil };
  } catch {
    return undefined;
  }
}

/** A name as dns/wire.ts writes it: safe to print. */
export function isNameText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NAME_TEXT && /^[!-~]+$/.test(value);
}

export function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value);
}
