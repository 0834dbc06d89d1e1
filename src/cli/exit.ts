// SPDX-License-Identifier: Apache-2.0
// Exit codes: 0 fine, 1 a problem was found, 2 the command was called wrongly.

export const EXIT_FINE = 0;
export const EXIT_PROBLEM = 1;
export const EXIT_USAGE = 2;

/** Ends a command whose output has already said what there is to say. */
export class ExitCode extends Error {
  override name = 'ExitCode';
  readonly exitCode: number;

  constructor(exitCode: number) {
    super(`exit ${exitCode}`);
    this.exitCode = exitCode;
  }
}
