// SPDX-License-Identifier: Apache-2.0
// An error for people.

import { ConfigError, formatProblem } from '../config/problems.ts';
import { Gate64Error } from '../errors.ts';

/** One line what is wrong, one what to do; the problems of a configuration file as they are. */
export function errorText(error: unknown, withStack: boolean = false): string {
  const stack = withStack && error instanceof Error ? `${error.stack ?? ''}\n` : '';
  if (error instanceof ConfigError) {
    return error.problems.map((problem) => `${formatProblem(error.file, problem)}\n`).join('') + stack;
  }
  const message = error instanceof Error ? error.message : String(error);
  const hint = error instanceof Gate64Error && error.hint !== undefined ? `hint: ${error.hint}\n` : '';
  return `gate64: ${message}\n${hint}${stack}`;
}
