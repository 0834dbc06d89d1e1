// SPDX-License-Identifier: Apache-2.0
// The table of usage in a file: its lines, and what of them is believed.

import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../addr/ip.ts';
import type { Logger } from '../telemetry/logger.ts';
import { LinesFile, readLines, type Json } from './lines-file.ts';
import { isCount, isNameText } from './name-file.ts';
import type { Usage, UsageTable } from './usage.ts';

export const USAGE_FILE = '/run/gate64/usage.jsonl';

/** Empty when there is no file. */
export function readUsage(path: string = USAGE_FILE): Usage[] {
  return (readLines(path) ?? []).flatMap((line) => readRow(line) ?? []);
}

/** Puts into `table` what the file has, and from then on into the file what the table has. */
export function keepUsage(table: UsageTable, log: Pick<Logger, 'warn'>, path: string = USAGE_FILE): LinesFile {
  for (const usage of readUsage(path)) table.add(usage);
  const source = {
    get version() {
      return table.version;
    },
    lines: () => table.rows().map((row) => () => ({ ...row })),
  };
  return new LinesFile(path, source, log);
}

function readRow(json: Json): Usage | undefined {
  const { pod, name, destination, isGuess, sessions, bytesOut, bytesIn, firstAt, lastAt } = json;
  if (name !== undefined && !isNameText(name)) return undefined;
  if (typeof pod !== 'string' || typeof destination !== 'string' || typeof isGuess !== 'boolean') return undefined;
  if (!isCount(sessions) || !isCount(bytesOut) || !isCount(bytesIn)) return undefined;
  if (!isCount(firstAt) || !isCount(lastAt)) return undefined;
  try {
    const ends = { pod: formatIp6(parseIp6(pod)), destination: formatIp4(parseIp4(destination)) };
    return { ...ends, name, isGuess, sessions, bytesOut, bytesIn, firstAt, lastAt };
  } catch {
    return undefined;
  }
}
