// SPDX-License-Identifier: Apache-2.0
// An uninstall that could not do everything: what it did all the same, and what it could not.

import { Gate64Error } from '../errors.ts';

export class UninstallError extends Gate64Error {
  override name = 'UninstallError';
  /** What was done, such as "removed: device gate64". */
  readonly done: readonly string[];
  /** At least one. */
  readonly failed: readonly unknown[];

  constructor(done: readonly string[], failed: readonly unknown[]) {
    const [first] = failed;
    const texts = failed.map((error) => (error instanceof Error ? error.message : String(error)));
    super(first instanceof Gate64Error ? first.code : 'G64_HOST_STATE', `not everything is gone: ${texts.join('; ')}`, {
      // Where something could be done, a refusal is not for want of rights.
      ...(done.length === 0 ? { cause: first } : {}),
      hint: 'put that right, then uninstall again: what is gone already is passed over',
    });
    this.done = done;
    this.failed = failed;
  }
}
