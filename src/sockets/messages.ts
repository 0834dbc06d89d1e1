// SPDX-License-Identifier: Apache-2.0
// Memory for recvmmsg(2) and sendmmsg(2): struct mmsghdr, iovec, sockaddr and cmsghdr of each message, laid out once. They
// are the same on x86-64 and arm64, with glibc and musl: 64 bits, little-endian.

import { AF_INET6 } from './address-text.ts';
import { EAGAIN, lastErrno, socketCalls } from './ffi.ts';

/** Messages of one call. */
export const BATCH = 64;
/** What one turn of the event loop takes of a socket before timers and other sockets have theirs. */
export const BATCHES_A_TURN = 4;
/** No datagram is longer. Pages that no datagram reaches cost nothing. */
export const LONGEST = 65_535;
/** Not a power of two, so that the beginnings of messages do not meet in one set of the processor's cache. */
const SLOT = 65_536 + 192;

/** In 32-bit words. struct mmsghdr is 64 octets, sockaddr_in6 28 and the control message of an address 32 or 40. */
export const HEADER = { words: 16, nameLength: 2, controlLength: 10, flags: 12, length: 14 } as const;
export const NAME_WORDS = 8;
export const CONTROL_WORDS = 16;
/** sockaddr: family and port are one word. IPv6 has the flow label between. */
export const NAME = { v4: { address: 1 }, v6: { address: 2, zone: 6 } } as const;
/** Behind struct cmsghdr: in_pktinfo is interface, local address, destination; in6_pktinfo address, interface. */
export const CONTROL = { v4: { ifindex: 4, address: 5 }, v6: { address: 4, ifindex: 8 } } as const;
/** Of a header's flags: the datagram was longer than its room. */
export const MSG_TRUNC = 0x20;
const CMSG_LENGTH = { v4: 16 + 12, v6: 16 + 20 } as const;

const IPPROTO_IP = 0;
const IPPROTO_IPV6 = 41;
const IP_PKTINFO = 8;
const IPV6_PKTINFO = 50;

export class Messages {
  readonly headers = new Uint32Array(BATCH * HEADER.words);
  readonly headerBytes = new Uint8Array(this.headers.buffer);
  readonly names = new Uint32Array(BATCH * NAME_WORDS);
  readonly controls = new Uint32Array(BATCH * CONTROL_WORDS);
  readonly nameLength: number;
  readonly controlSpace: number;
  readonly headersAt: bigint;
  readonly #iovecs = new BigUint64Array(BATCH * 2);
  /** The low words of the iovecs' lengths; the high ones stay zero. */
  readonly #lengths = new Uint32Array(this.#iovecs.buffer, 8);
  readonly #octets = Buffer.alloc(BATCH * SLOT);
  readonly #slots: readonly Buffer[];

  constructor(family: number) {
    const isV6 = family === AF_INET6;
    this.nameLength = isV6 ? 28 : 16;
    this.controlSpace = isV6 ? 40 : 32;
    this.#slots = Array.from({ length: BATCH }, (_, i) => this.#octets.subarray(i * SLOT, i * SLOT + LONGEST));
    this.headersAt = addressOf(this.headers);
    const [octets, names, controls, iovecs] = [this.#octets, this.names, this.controls, this.#iovecs].map(addressOf);
    const pointers = new BigUint64Array(this.headers.buffer);
    for (let i = 0; i < BATCH; i++) {
      const n = BigInt(i);
      this.#iovecs[i * 2] = (octets as bigint) + n * BigInt(SLOT);
      this.#iovecs[i * 2 + 1] = BigInt(LONGEST);
      const at = (i * HEADER.words) / 2;
      pointers[at] = (names as bigint) + n * BigInt(NAME_WORDS * 4);
      pointers[at + 1] = BigInt(this.nameLength);
      pointers[at + 2] = (iovecs as bigint) + n * 16n;
      pointers[at + 3] = 1n;
      pointers[at + 4] = (controls as bigint) + n * BigInt(CONTROL_WORDS * 4);
      pointers[at + 5] = BigInt(this.controlSpace);
      const control = i * CONTROL_WORDS;
      this.controls[control] = isV6 ? CMSG_LENGTH.v6 : CMSG_LENGTH.v4;
      this.controls[control + 2] = isV6 ? IPPROTO_IPV6 : IPPROTO_IP;
      this.controls[control + 3] = isV6 ? IPV6_PKTINFO : IP_PKTINFO;
    }
  }

  /** All the room of a message. */
  slot(i: number): Buffer {
    return this.#slots[i] as Buffer;
  }

  /** What is to be sent of it. */
  setLength(i: number, length: number): void {
    this.#lengths[i * 4] = length;
  }

  /** Once read, for the next recvmmsg: the kernel reads and writes both lengths. */
  renew(i: number): void {
    this.headers[i * HEADER.words + HEADER.nameLength] = this.nameLength;
    this.headers[i * HEADER.words + HEADER.controlLength] = this.controlSpace;
  }

  /**
   * Sends the first `count`; what the kernel refuses is passed over, if `onRefused` (with the errno) says to go on. False where
   * it does not, or the kernel has no more room.
   */
  send(fd: number, count: number, onRefused: (errno: number) => boolean): boolean {
    for (let done = 0; done < count;) {
      const at = done === 0 ? this.headersAt : this.headersAt + BigInt(done * HEADER.words * 4);
      const sent = socketCalls().sendmmsg(fd, at, count - done, 0);
      if (sent > 0) {
        done += sent;
        continue;
      }
      const errno = lastErrno();
      if (errno === EAGAIN) return false;
      // The first of the call, or one before it, was refused.
      done++;
      if (!onRefused(errno)) return false;
    }
    return true;
  }
}

function addressOf(memory: Uint32Array | BigUint64Array | Buffer): bigint {
  const bytes = new Uint8Array(memory.buffer, memory.byteOffset, memory.byteLength);
  return socketCalls().addressOf(bytes, bytes, 0);
}
