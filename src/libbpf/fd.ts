// SPDX-License-Identifier: Apache-2.0
// Descriptors of BPF objects: which kind one is, what the kernel says about it, pinning and opening pinned ones.

import { closeSync, readFileSync } from 'node:fs';
import { checkString } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import { libbpf } from './ffi.ts';
import type { Layout } from './layouts.ts';
import { StructBuffer } from './layouts.ts';

export type ObjectKind = 'map' | 'prog' | 'link';

/** Kind of BPF object behind a descriptor, undefined for anything else. */
export function kindOf(fd: number): ObjectKind | undefined {
  let text;
  try {
    text = readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1');
  } catch {
    return undefined;
  }
  return (['map', 'prog', 'link'] as const).find((kind) => text.includes(`\n${kind}_type:`));
}

/** Opens a pinned object. Throws LibbpfError (`ENOENT`, `LIBBPF_WRONG_KIND`, …); the caller closes the descriptor. */
export function openPinnedFd(path: string, kind: ObjectKind): number {
  const fd = libbpf().objGet(checkString('pin path', path));
  if (fd < 0) throw systemError(`cannot open pinned ${kind} ${path}`, fd);
  const found = kindOf(fd);
  if (found !== undefined && found !== kind) {
    closeSync(fd);
    throw new LibbpfError('LIBBPF_WRONG_KIND', `${path} pins a ${found}: expected a ${kind}`);
  }
  return fd;
}

/** Pins a descriptor below a mounted bpffs. Throws LibbpfError (`EEXIST`, `EPERM` outside bpffs, …). */
export function pinFd(fd: number, path: string, what: string): void {
  const result = libbpf().objPin(fd, checkString('pin path', path));
  if (result < 0) throw systemError(`cannot pin ${what} at ${path}`, result);
}

/** BPF_OBJ_GET_INFO_BY_FD into the fields of `layout`; a kernel with a shorter struct leaves the rest zero. */
export function infoOf(fd: number, layout: Layout, what: string): StructBuffer {
  const info = new StructBuffer(layout);
  const size = new Uint32Array([info.bytes.length]);
  const result = libbpf().infoByFd(fd, info.bytes, size);
  if (result < 0) throw systemError(`cannot read the kernel's information on ${what}`, result);
  return info;
}
