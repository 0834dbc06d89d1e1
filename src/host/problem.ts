// SPDX-License-Identifier: Apache-2.0
// What a look at the node finds wrong, before anything is changed.

import { Gate64Error, type ErrorCode } from '../errors.ts';

/** `error`: gate64 cannot run like this. `warning`: it runs, but something will not work or may break. */
export interface HostProblem {
  readonly severity: 'error' | 'warning';
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint?: string | undefined;
}

export function problemOf(error: Gate64Error): HostProblem {
  return { severity: 'error', code: error.code, message: error.message, hint: error.hint };
}

export function errorOf(problem: HostProblem): Gate64Error {
  return new Gate64Error(problem.code, problem.message, problem.hint === undefined ? {} : { hint: problem.hint });
}

/** The first error among `problems` as an exception; the others are named in its message. */
export function throwErrors(problems: readonly HostProblem[]): void {
  const errors = problems.filter((problem) => problem.severity === 'error');
  const [first, ...others] = errors;
  if (first === undefined) return;
  if (others.length === 0) throw errorOf(first);
  const rest = others.map((problem) => problem.message).join('; ');
  throw errorOf({ ...first, message: `${first.message} (and also: ${rest})` });
}
