// SPDX-License-Identifier: Apache-2.0
// Map iterators (bpf_iter, Linux 5.8): a BPF program writes what it wants of each element, we read the bytes. One
// system call moves many elements, and the program can leave out those that do not matter.

import { closeSync, readSync } from 'node:fs';
import { checkInt } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
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

/** A walk over a map that can be read piece by piece, with pauses in between as long as one likes. */
export class MapIterator implements Disposable {
  readonly #link: number;
  readonly #fd: number;
  #closed = false;

  /** Runs an `iter/bpf_map_elem` program; it starts to walk at the first read. Throws LibbpfError. */
  constructor(program: BpfProgram, map: BpfMap) {
    const info = Buffer.alloc(16);
    info.writeUInt32LE(map.fd, 0);
    // union bpf_iter_link_info starts with map.map_fd; telling the kernel 4 bytes keeps clear of later members.
    const opts = new StructBuffer(linkCreateOpts).point('iter_info', info).set('iter_info_len', 4);
    this.#link = libbpf().linkCreate(program.fd, 0, attachTypes.iter, opts.bytes);
    if (this.#link < 0) throw systemError(`cannot run iterator ${program.name} over map ${map.name}`, this.#link);
    this.#fd = libbpf().iterCreate(this.#link);
    if (this.#fd < 0) {
      closeSync(this.#link);
      throw systemError(`cannot start iterator ${program.name} over map ${map.name}`, this.#fd);
    }
  }

  /**
   * Walks on until the program has written `length` bytes, or 32 KiB, or the map is at its end, and gives the number of bytes
   * now at `offset` of `buffer`: 0 at the end. With a length that is a multiple of what the program writes at a time, and no
   * more than 32 KiB, no read splits such a record.
   */
  read(buffer: Buffer, offset = 0, length: number = buffer.length - offset): number {
    if (this.#closed) throw new LibbpfError('LIBBPF_STATE', 'the iterator is closed');
    for (let emptyReads = 0; ; emptyReads++) {
      try {
        return readSync(this.#fd, buffer, offset, length, null);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || emptyReads >= maxEmptyReads) throw error;
      }
    }
  }

  /** Ends the walk where it is. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
    closeSync(this.#link);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

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
  using iterator = new MapIterator(program, map);
  const chunks: Buffer[] = [];
  readAll(iterator, recordSize, onChunk ?? ((chunk) => chunks.push(chunk)));
  return Buffer.concat(chunks);
}

function readAll(iterator: MapIterator, recordSize: number, onChunk: (chunk: Buffer) => void): void {
  let rest: Buffer = Buffer.alloc(0);
  for (;;) {
    const buffer = Buffer.allocUnsafe(rest.length + chunkBytes);
    rest.copy(buffer);
    const got = iterator.read(buffer, rest.length, chunkBytes);
    const end = rest.length + got;
    const whole = got === 0 ? end : end - (end % recordSize);
    if (whole > 0) onChunk(buffer.subarray(0, whole));
    if (got === 0) return;
    rest = buffer.subarray(whole, end);
  }
}
