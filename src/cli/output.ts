// SPDX-License-Identifier: Apache-2.0
// `-o table|json`: a table on a terminal, JSON into pipes and files, unless told otherwise.

import { Option } from 'commander';
import type { Output } from './context.ts';

export interface OutputOptions {
  readonly output?: 'table' | 'json';
}

export function outputOption(otherwise = 'default: table on a terminal, else json'): Option {
  return new Option('-o, --output <format>', `table or json (${otherwise})`).choices(['table', 'json']);
}

/** For commands that print one event after the other: as JSON, one line each. */
export function emitLine(output: Output, options: OutputOptions, json: unknown, text: () => string): void {
  const format = options.output ?? (output.isTerminal ? 'table' : 'json');
  output.write(`${format === 'json' ? JSON.stringify(json) : text()}\n`);
}

/** Writes `json` as it is or what `table` makes. */
export function emit(output: Output, options: OutputOptions, json: unknown, table: () => string): void {
  const format = options.output ?? (output.isTerminal ? 'table' : 'json');
  output.write(format === 'json' ? `${JSON.stringify(json, null, 2)}\n` : table());
}
