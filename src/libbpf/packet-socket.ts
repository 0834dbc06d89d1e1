// SPDX-License-Identifier: Apache-2.0
// packet(7), which Node lacks: frames as an interface receives them, and frames sent out of any. Takes CAP_NET_RAW.

import { closeSync } from 'node:fs';
import { checkBytes, checkInt } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import { lastErrno, libc } from './ffi.ts';
import { pollWake, type Wake } from './wake.ts';

const AF_PACKET = 17;
const SOCK_RAW_NONBLOCK_CLOEXEC = 3 | 0o4000 | 0o2000000;
const ETH_P_ALL = 3;
const SOL_SOCKET = 1;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const SOL_PACKET = 263;
const PACKET_IGNORE_OUTGOING = 23;
const MSG_TRUNC = 0x20;
/** The largest packet behind its Ethernet header. */
const MAX_FRAME = 65_535 + 14;
// What one turn of the event loop may take before others run.
const maxFramesPerTurn = 256;

export interface PacketSocketOptions {
  /** Interface whose received frames are wanted. */
  readonly ifindex: number;
  /** skb->mark of what is sent, unless that says otherwise. */
  readonly mark: number;
  /** Bytes of the kernel's that may wait for us. */
  readonly receiveBuffer: number;
}

/**
 * `onFrames` gets copies of whole frames, in order, from setImmediate. Does not keep the process alive. Frames that were
 * received before it was made, or while nobody read and the buffer was full, are lost.
 */
export class PacketSocket implements Disposable {
  readonly #onFrames: (frames: Uint8Array[]) => void;
  readonly #buffer = new Uint8Array(MAX_FRAME);
  readonly #mark: number;
  #fd = -1;
  /** SO_MARK as it stands. */
  #marked: number | undefined;
  #wake: Wake | undefined;
  #pending = false;

  /** Throws LibbpfError (`EPERM`, `ENODEV`, …). */
  constructor(options: PacketSocketOptions, onFrames: (frames: Uint8Array[]) => void) {
    const { ifindex, mark, receiveBuffer } = options;
    checkInt('ifindex', ifindex, 1, 0x7fffffff);
    this.#onFrames = onFrames;
    this.#mark = mark;
    // Protocol 0: nothing is received before it is bound to its interface.
    this.#fd = libc().socket(AF_PACKET, SOCK_RAW_NONBLOCK_CLOEXEC, 0);
    if (this.#fd < 0) throw systemError('cannot open a packet socket', lastErrno());
    try {
      this.#set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1);
      this.#setMark(mark);
      this.#set(SOL_SOCKET, SO_RCVBUFFORCE, receiveBuffer);
      const address = linkAddress(ifindex, ETH_P_ALL);
      if (libc().bind(this.#fd, address, address.length) !== 0) {
        throw systemError(`cannot bind a packet socket to interface ${ifindex}`, lastErrno());
      }
      this.#wake = pollWake(this.#fd, 10, () => this.#schedule());
      this.#wake.unref();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Sends a whole frame out of an interface, whose qdisc and programs see it. False if the kernel refused it. */
  send(frame: Uint8Array, ifindex: number, protocol: number, mark = this.#mark): boolean {
    checkBytes('frame', frame);
    if (this.#fd < 0) throw new LibbpfError('LIBBPF_STATE', 'the packet socket is closed');
    this.#setMark(mark);
    const address = linkAddress(ifindex, protocol);
    return Number(libc().sendto(this.#fd, frame, frame.length, 0, address, address.length)) === frame.length;
  }

  close(): void {
    this.#wake?.close();
    this.#wake = undefined;
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #setMark(mark: number): void {
    if (this.#marked === mark) return;
    this.#set(SOL_SOCKET, SO_MARK, mark);
    this.#marked = mark;
  }

  #set(level: number, option: number, value: number): void {
    const bytes = new Uint8Array(Uint32Array.of(value).buffer);
    if (libc().setsockopt(this.#fd, level, option, bytes, bytes.length) !== 0) {
      throw systemError(`cannot set option ${option} of a packet socket`, lastErrno());
    }
  }

  // As a ring buffer does: a native callback is left at once.
  #schedule(): void {
    if (this.#pending) return;
    this.#pending = true;
    setImmediate(() => {
      this.#pending = false;
      if (this.#fd < 0) return;
      const frames = this.#take();
      if (frames.length > 0) this.#onFrames(frames);
    }).unref();
  }

  /** What is there; what is more wakes us again. An interface that goes down or away is an error once, then silence. */
  #take(): Uint8Array[] {
    const frames: Uint8Array[] = [];
    for (let i = 0; i < maxFramesPerTurn; i++) {
      const length = Number(libc().recv(this.#fd, this.#buffer, this.#buffer.length, MSG_TRUNC));
      if (length < 0) break;
      if (length <= this.#buffer.length) frames.push(this.#buffer.slice(0, length));
    }
    return frames;
  }
}

/** struct sockaddr_ll */
function linkAddress(ifindex: number, protocol: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_PACKET, true);
  view.setUint16(2, protocol, false);
  view.setInt32(4, ifindex, true);
  return bytes;
}
