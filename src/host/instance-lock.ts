// SPDX-License-Identifier: Apache-2.0
// One NAT64 a network namespace, since device, routes and pins are one node's: a locked file in a folder of root's, so that nobody else can be in the way. The kernel
// unlocks it with the process that held it, however that ended, so that no lock is ever stale.

import { closeSync, constants, fstatSync, mkdirSync, openSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lockFile } from '../datapath/file-lock.ts';
import { Gate64Error } from '../errors.ts';
import { STATE_FILE } from './state.ts';

/** Files that their holders remove under our hands. */
const ATTEMPTS = 100;
/** Who may not write there cannot keep the node's old values either (state.ts), and so carries no packets. */
const NO_LOCK = new Set(['EACCES', 'EPERM', 'EROFS']);

/** Held until disposed of, or until the process ends. */
export class InstanceLock implements Disposable {
  readonly #path: string;
  /** Undefined where this user may not hold one. */
  readonly #fd: number | undefined;

  private constructor(path: string, fd: number | undefined) {
    this.#path = path;
    this.#fd = fd;
  }

  /** Throws G64_ALREADY_RUNNING while another process holds it. */
  static take(hint: string, folder: string = dirname(STATE_FILE)): InstanceLock {
    const path = join(folder, `lock-${statSync('/proc/self/ns/net').ino}`);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      let fd;
      try {
        mkdirSync(folder, { recursive: true, mode: 0o755 });
        // For its owner alone: who can open it can lock it.
        fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'ENOENT') continue;
        if (NO_LOCK.has(code ?? '')) return new InstanceLock(path, undefined);
        throw new Gate64Error('G64_HOST_STATE', `${path} cannot be opened`, { cause: error });
      }
      if (lock(fd, path, hint)) return new InstanceLock(path, fd);
      closeSync(fd);
    }
    throw new Gate64Error('G64_ALREADY_RUNNING', `${path} is removed again and again`, { hint });
  }

  [Symbol.dispose](): void {
    if (this.#fd === undefined) return;
    rmSync(this.#path, { force: true });
    closeSync(this.#fd);
    try {
      rmdirSync(dirname(this.#path));
    } catch {
      // There is more in it, or it is mounted.
    }
  }
}

/** False when the file has been removed meanwhile: what is locked then keeps nobody away. */
function lock(fd: number, path: string, hint: string): boolean {
  let locked;
  try {
    locked = lockFile(fd);
  } catch (cause) {
    closeSync(fd);
    throw new Gate64Error('G64_HOST_STATE', `${path} cannot be locked`, { cause });
  }
  if (!locked) {
    closeSync(fd);
    throw new Gate64Error('G64_ALREADY_RUNNING', 'a gate64 service with a NAT64 runs on this node already', { hint });
  }
  return fstatSync(fd).ino === statSync(path, { throwIfNoEntry: false })?.ino;
}
