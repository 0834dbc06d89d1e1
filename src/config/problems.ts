// SPDX-License-Identifier: Apache-2.0
// What is wrong with a configuration file: one line a problem, `file:line:column: what is wrong; what was expected`.

import { Gate64Error } from '../errors.ts';

/** `line` and `column` count from 1. */
export interface ConfigProblem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** A problem before its place in the file is known. */
export interface Finding {
  readonly path: readonly PropertyKey[];
  /** Whether the key itself is meant rather than its value. */
  readonly atKey?: boolean;
  readonly message: string;
}

/** All problems of one file, by position. The message is one line a problem; G64_CONFIG_SYNTAX or G64_CONFIG_INVALID. */
export class ConfigError extends Gate64Error {
  override name = 'ConfigError';
  readonly file: string;
  readonly problems: readonly ConfigProblem[];

  constructor(
    code: 'G64_CONFIG_SYNTAX' | 'G64_CONFIG_INVALID',
    file: string,
    problems: readonly ConfigProblem[],
    options: { cause?: unknown } = {},
  ) {
    const ordered = inOrder(problems);
    super(code, ordered.map((problem) => formatProblem(file, problem)).join('\n'), options);
    this.file = file;
    this.problems = ordered;
  }
}

export function formatProblem(file: string, problem: ConfigProblem): string {
  return `${file}:${problem.line}:${problem.column}: ${problem.message}`;
}

/** By position, each once. */
export function inOrder(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const seen = new Set<string>();
  return [...problems]
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .filter((problem) => {
      const text = formatProblem('', problem);
      return !seen.has(text) && seen.add(text) !== undefined;
    });
}

/** `nat64.pool[0].ports` */
export function keyName(path: readonly PropertyKey[]): string {
  return path.reduce<string>((name, part) => {
    if (typeof part === 'number') return `${name}[${part}]`;
    return name === '' ? String(part) : `${name}.${String(part)}`;
  }, '');
}

const MAX_SHOWN = 60;

/** A value as it would stand in the file, cut short. */
export function showValue(value: unknown): string {
  if (value === null) return 'an empty value';
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN - 1)}…` : text;
}
