// SPDX-License-Identifier: Apache-2.0
// Map iterators (bpf_iter, Linux 5.8): a BPF program writes what it wants of each element, we read the bytes. One
// system call moves many elements, and the program can leave out those that do not matter.

import { closeSync, readSync } from 'node:fs';
import { checkInt } from './check.ts';
import { systemError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { attachTypes } from './kinds.ts';
import { linkCreateOpts, StructBuffer } from './layouts.ts';
import type { BpfMap } from './map.ts';
import type { BpfProgram } from './program.ts';

export interface IterateOptions {
  /** Bytes the program writes per element; chunks then never split one. Default 1. */
  recordSize?: number;
}

const chunkBytes = 256 << 10;
// The kernel gives EAGAIN after a million elements in a row for which the program wrote nothing.
const maxEmptyReads = 100_000;

/**
 * Runs an `iter/bpf_map_elem` program over a map. Without `onChunk` gives all that it wrote; with it hands over
 * chunks, each with memory of its own, and gives an empty buffer. Throws LibbpfError.
 */
export function iterateMap(
  program: BpfProgram,
  map: BpfMap,
  onChunk?: (chunk: Buffer) => void,
  options: IterateOptions = {},
): Buffer {
  const recordSize = checkInt('recordSize', options.recordSize ?? 1, 1, chunkBytes);
  const info = Buffer.alloc(16);
  info.writeUInt32LE(map.fd, 0);
  // union bpf_iter_link_info starts with map.map_fd; telling the kernel 4 bytes keeps clear of later members.
  const opts = new StructBuffer(linkCreateOpts).point('iter_info', info).set('iter_info_len', 4);
  const link = libbpf().linkCreate(program.fd, 0, attachTypes.iter, opts.bytes);
  if (link < 0) throw systemError(`cannot run iterator ${program.name} over map ${map.name}`, link);
  let iterator = -1;
  try {
    iterator = libbpf().iterCreate(link);
    if (iterator < 0) throw systemError(`cannot start iterator ${program.name} over map ${map.name}`, iterator);
    const chunks: Buffer[] = [];
    readAll(iterator, recordSize, onChunk ?? ((chunk) => chunks.push(chunk)));
    return Buffer.concat(chunks);
  } finally {
    if (iterator >= 0) closeSync(iterator);
    closeSync(link);
  }
}

function readAll(fd: number, recordSize: number, onChunk: (chunk: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  let emptyReads = 0;
  for (;;) {
    const buffer = Buffer.allocUnsafe(rest.length + chunkBytes);
    rest.copy(buffer);
    let got;
    try {
      got = readSync(fd, buffer, rest.length, chunkBytes, null);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN' && emptyReads++ < maxEmptyReads) continue;
      throw error;
    }
    const end = rest.length + got;
    const whole = got === 0 ? end : end - (end % recordSize);
    if (whole > 0) onChunk(buffer.subarray(0, whole));
    if (got === 0) return;
    rest = buffer.subarray(whole, end);
  }
}
