// SPDX-License-Identifier: Apache-2.0
// A BPF program behind a descriptor: what the kernel knows of it, test runs on a packet, pinning.

import { closeSync } from 'node:fs';
import { checkBytes, checkInt } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import { libbpf } from './ffi.ts';
import { infoOf, openPinnedFd, pinFd } from './fd.ts';
import { progInfo, StructBuffer, testRunOpts } from './layouts.ts';

export interface TestRunOptions {
  /** Runs of the program on the packet, default 1; the output is that of the last. */
  repeat?: number;
  /** Context before the run, for TC programs a `struct __sk_buff`. */
  ctxIn?: Uint8Array;
  /** Whether to read the context back; default: when `ctxIn` is given. */
  ctxOut?: boolean;
  /** Room for the packet after the run; default: the packet and 512 bytes. */
  dataOutSize?: number;
}

export interface TestRunResult {
  /** Return value, as an unsigned number (TC_ACT_UNSPEC is 4294967295). */
  retval: number;
  /** Average nanoseconds per run. */
  duration: number;
  data: Uint8Array;
  ctx?: Uint8Array;
}

// Contexts grow with the kernel; longer than any of them so that none is cut.
const ctxOutBytes = 1024;

/** A program. Made by `openPinned` (owns its descriptor) or `BpfObject.program` (the object owns it). */
export class BpfProgram implements Disposable {
  readonly name: string;
  #fd: number;
  readonly #owned: boolean;

  /** Use the factories; `owned` says whether dispose closes the descriptor. */
  protected constructor(name: string, fd: number, owned: boolean) {
    this.name = name;
    this.#fd = fd;
    this.#owned = owned;
  }

  /** Opens a program pinned in a bpffs; its name is the kernel's, cut at 15 characters. */
  static openPinned(path: string): BpfProgram {
    const fd = openPinnedFd(path, 'prog');
    try {
      return new BpfProgram(infoOf(fd, progInfo, `program pinned at ${path}`).text('name'), fd, true);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Open descriptor. Throws LibbpfError `LIBBPF_STATE` before load, after close and with autoload off. */
  get fd(): number {
    if (this.#fd < 0) throw new LibbpfError('LIBBPF_STATE', `program ${this.name} is not loaded or already closed`);
    return this.#fd;
  }

  /** Kernel's id of the program. */
  get id(): number {
    return infoOf(this.fd, progInfo, `program ${this.name}`).u32('id');
  }

  /** Instructions the verifier walked through at load; 0 on kernels before 5.16. */
  verifiedInstructions(): number {
    return infoOf(this.fd, progInfo, `program ${this.name}`).u32('verified_insns');
  }

  /**
   * BPF_PROG_TEST_RUN. Nothing leaves the machine. TC programs need at least 14 bytes (an Ethernet header); the
   * kernel's skb has no device but lo. Throws LibbpfError, `ENOSPC` when `dataOutSize` is too small.
   */
  testRun(packet: Uint8Array, options: TestRunOptions = {}): TestRunResult {
    checkBytes('packet', packet);
    const repeat = checkInt('repeat', options.repeat ?? 1, 1, 0x7fffffff);
    const roomBytes = checkInt('dataOutSize', options.dataOutSize ?? packet.length + 512, 0, 1 << 24);
    const data = Buffer.alloc(roomBytes);
    const opts = new StructBuffer(testRunOpts).set('repeat', repeat);
    if (packet.length > 0) opts.point('data_in', packet).set('data_size_in', packet.length);
    if (roomBytes > 0) opts.point('data_out', data).set('data_size_out', roomBytes);
    if (options.ctxIn) {
      checkBytes('ctxIn', options.ctxIn);
      opts.point('ctx_in', options.ctxIn).set('ctx_size_in', options.ctxIn.length);
    }
    const ctx = (options.ctxOut ?? options.ctxIn !== undefined) ? Buffer.alloc(ctxOutBytes) : undefined;
    if (ctx) opts.point('ctx_out', ctx).set('ctx_size_out', ctx.length);
    const result = libbpf().programTestRun(this.fd, opts.bytes);
    if (result < 0) throw systemError(`cannot test-run program ${this.name}`, result);
    return {
      retval: opts.u32('retval'),
      duration: opts.u32('duration'),
      data: data.subarray(0, opts.u32('data_size_out')),
      ...(ctx ? { ctx: ctx.subarray(0, opts.u32('ctx_size_out')) } : {}),
    };
  }

  /** Pins below a mounted bpffs. */
  pin(path: string): void {
    pinFd(this.fd, path, `program ${this.name}`);
  }

  /** Closes the descriptor if this instance owns it; further calls throw. */
  close(): void {
    if (this.#fd >= 0 && this.#owned) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** For the owning object: the descriptor after load, -1 after close. */
  protected bind(fd: number): void {
    this.#fd = fd;
  }
}
