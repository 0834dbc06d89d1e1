// SPDX-License-Identifier: Apache-2.0
// flock(2), which Node lacks: who takes over pinned maps has to be alone with them.

import { systemError } from './errors.ts';
import { lastErrno, libc } from './ffi.ts';

const LOCK_EX = 2;
const LOCK_NB = 4;
const EAGAIN = 11;

/**
 * Locks an open file until its descriptor is closed, at the latest when the process ends; false while another open file
 * has the lock. Throws LibbpfError.
 */
export function lockFile(fd: number): boolean {
  if (libc().flock(fd, LOCK_EX | LOCK_NB) === 0) return true;
  const errno = lastErrno();
  if (errno === EAGAIN) return false;
  throw systemError('cannot lock the file', -errno);
}
