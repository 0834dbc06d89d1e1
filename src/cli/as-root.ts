// SPDX-License-Identifier: Apache-2.0
// Maps, devices and rules are root's: a refusal by the kernel is told as what it is, and nothing else is.

import { Gate64Error } from '../errors.ts';

const MAX_CAUSES = 8;

/** `what` completes "this user may not …". */
export async function asRoot<T>(what: string, action: () => T | Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    throw new Gate64Error('G64_NO_CAPABILITY', `this user may not ${what}`, { cause, hint: 'run it as root' });
  }
}

/** Whether the kernel has said no for want of rights, to this process or to a command it ran. */
function isRefusal(error: unknown): boolean {
  let at = error;
  for (let depth = 0; at instanceof Error && depth < MAX_CAUSES; depth++, at = at.cause) {
    if (!('code' in at)) continue;
    if (at.code === 'EACCES' || at.code === 'EPERM') return true;
    if (at.code === 'G64_HOST_COMMAND' && /Operation not permitted|Permission denied/.test(at.message)) return true;
  }
  return false;
}
