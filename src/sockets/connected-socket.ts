// SPDX-License-Identifier: Apache-2.0
// UDP sockets that are connected to a peer each, so that the kernel lets in what comes from there alone, and says when nobody
// listens. They share the memory that datagrams come to and leave from: many a system call, of one socket at a time.

import { closeSync } from 'node:fs';
import { AF_INET, AF_INET6, addressText } from './address-text.ts';
import { EAGAIN, lastErrno, poll, socketCalls, socketError, type Poll } from './ffi.ts';
import { BATCH, BATCHES_A_TURN, HEADER, LONGEST, Messages, MSG_TRUNC, NAME } from './messages.ts';
import { ownPort, setOption, socketName, SOCK_DGRAM_NONBLOCK_CLOEXEC, SOL_SOCKET, SO_RCVBUF } from './options.ts';

export interface ConnectedSocketOptions {
  /** The peer: 4 octets or 16. */
  readonly address: Uint8Array;
  /** Interface of a link-local address. */
  readonly zone?: string | undefined;
  readonly port: number;
  /** Octets of the kernel's that may wait for us; it clamps them to net.core.rmem_max. */
  readonly receiveBuffer: number;
}

/** Neither must throw. */
export interface ConnectedSocketEvents {
  /** `bytes` is lent: the next datagram is written there as soon as this is back. */
  onDatagram(bytes: Buffer): void;
  /** Of a datagram sent before, or of what the kernel says of this one; the socket may be used on. */
  onError(error: Error): void;
}

/** Memory of all sockets, since one at a time is read or written. */
let shared: { received: Messages; sent: Messages } | undefined;
const readable = new Set<ConnectedSocket>();
const unsent = new Set<ConnectedSocket>();
let isReadDue = false;
let isSendDue = false;

export class ConnectedSocket {
  /** Our own. */
  readonly address: string;
  readonly port: number;
  readonly #events: ConnectedSocketEvents;
  #fd: number;
  #poll: Poll | undefined;
  #waiting: Buffer[] = [];
  readonly #onRefused = (errno: number) => {
    this.#events.onError(socketError('sendmmsg', errno));
    // Unless it closed us.
    return this.#fd >= 0;
  };

  /** Throws an Error with the errno's name for its `code`, or koffi's where native code cannot be had. */
  constructor(options: ConnectedSocketOptions, events: ConnectedSocketEvents) {
    const family = options.address.length === 16 ? AF_INET6 : AF_INET;
    const calls = socketCalls();
    this.#events = events;
    this.#fd = calls.socket(family, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    if (this.#fd < 0) throw socketError('socket', lastErrno());
    try {
      setOption(this.#fd, SOL_SOCKET, SO_RCVBUF, options.receiveBuffer);
      const name = socketName(family, options);
      if (calls.connect(this.#fd, name, name.length) !== 0) throw socketError('connect', lastErrno());
      this.port = ownPort(this.#fd, name);
      this.address = ownAddress(family, name);
      shared ??= { received: new Messages(AF_INET6), sent: new Messages(AF_INET6) };
      this.#poll = poll(this.#fd, () => this.#onReadable());
      this.#poll.unref();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What waits to be sent or read is lost. */
  close(): void {
    if (this.#fd < 0) return;
    this.#poll?.close();
    this.#poll = undefined;
    closeSync(this.#fd);
    this.#fd = -1;
    this.#waiting = [];
    readable.delete(this);
    unsent.delete(this);
  }

  /** Leaves with what else is sent in this turn of the event loop. */
  send(bytes: Buffer): void {
    if (this.#fd < 0 || bytes.length > LONGEST) return;
    this.#waiting.push(bytes);
    unsent.add(this);
    if (isSendDue) return;
    isSendDue = true;
    setImmediate(sendAll);
  }

  // A native callback is left at once.
  #onReadable(): void {
    readable.add(this);
    if (isReadDue) return;
    isReadDue = true;
    setImmediate(readAll);
  }

  /** What is not taken in a turn wakes us again. */
  read(): void {
    const { received } = shared as { received: Messages };
    const { headers } = received;
    for (let batch = 0; batch < BATCHES_A_TURN && this.#fd >= 0; batch++) {
      const count = socketCalls().recvmmsg(this.#fd, received.headerBytes, BATCH, 0, null);
      if (count < 0) {
        const errno = lastErrno();
        if (errno !== EAGAIN) this.#events.onError(socketError('recvmmsg', errno));
        return;
      }
      for (let i = 0; i < count && this.#fd >= 0; i++) {
        const at = i * HEADER.words;
        // What is cut off is no answer.
        if (((headers[at + HEADER.flags] as number) & MSG_TRUNC) !== 0) continue;
        this.#events.onDatagram(received.slot(i).subarray(0, headers[at + HEADER.length]));
      }
      for (let i = 0; i < count; i++) received.renew(i);
      if (count < BATCH) return;
    }
  }

  /** What finds no room is lost as any datagram may be; who asks will ask again. */
  flush(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    const { sent } = shared as { sent: Messages };
    for (let from = 0; from < waiting.length; from += BATCH) {
      const count = Math.min(BATCH, waiting.length - from);
      for (let i = 0; i < count; i++) {
        const bytes = waiting[from + i] as Buffer;
        sent.slot(i).set(bytes);
        sent.setLength(i, bytes.length);
        // To the peer.
        sent.headers[i * HEADER.words + HEADER.nameLength] = 0;
        sent.headers[i * HEADER.words + HEADER.controlLength] = 0;
      }
      if (!sent.send(this.#fd, count, this.#onRefused)) return;
    }
  }
}

function readAll(): void {
  isReadDue = false;
  const now = [...readable];
  readable.clear();
  for (const socket of now) socket.read();
}

function sendAll(): void {
  isSendDue = false;
  const now = [...unsent];
  unsent.clear();
  for (const socket of now) socket.flush();
}

/** Of a struct sockaddr_in or sockaddr_in6. */
function ownAddress(family: number, name: Uint8Array): string {
  const words = new Uint32Array(name.buffer);
  if (family === AF_INET) return addressText(family, words[NAME.v4.address] as number, 0, 0, 0, 0);
  const [a = 0, b = 0, c = 0, d = 0] = words.subarray(NAME.v6.address);
  return addressText(family, a, b, c, d, words[NAME.v6.zone] as number);
}
