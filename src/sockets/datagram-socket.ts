// SPDX-License-Identifier: Apache-2.0
// A UDP socket that takes and sends many datagrams a system call, and answers each from the address that it came to, on a
// wildcard address too.

import { closeSync } from 'node:fs';
import { AF_INET, AF_INET6, AddressTexts, isLinkLocal } from './address-text.ts';
import { Datagram } from './datagram.ts';
import { lastErrno, poll, socketCalls, socketError, type Poll } from './ffi.ts';
import {
  BATCH,
  BATCHES_A_TURN,
  CONTROL,
  CONTROL_WORDS,
  HEADER,
  LONGEST,
  Messages,
  MSG_TRUNC,
  NAME,
  NAME_WORDS,
} from './messages.ts';
import { ownPort, setOption, socketName, SOCK_DGRAM_NONBLOCK_CLOEXEC, SOL_SOCKET, SO_RCVBUF } from './options.ts';

const SO_REUSEPORT = 15;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
/** Datagrams that are answered later, after which a turn takes no more: what they wait for is to be read first. */
const LATER_A_TURN = 32;

export interface DatagramSocketOptions {
  /** 4 octets or 16; all zero: every address. */
  readonly address: Uint8Array;
  /** Interface of a link-local address. */
  readonly zone?: string | undefined;
  /** 0 takes a free one. */
  readonly port: number;
  /** Octets of the kernel's that may wait for us; it clamps them to net.core.rmem_max. */
  readonly receiveBuffer: number;
  /** Whether other sockets, of other processes too, may share the port (SO_REUSEPORT). */
  readonly reusePort?: boolean;
}

/** Says whether an answer comes later; what has been answered meanwhile, or never is, is false. Must not throw. */
export type OnDatagram = (datagram: Datagram) => boolean;

export class DatagramSocket {
  readonly port: number;
  readonly #onDatagram: OnDatagram;
  readonly #isV6: boolean;
  /** On a wildcard address, each answer says where it leaves from. */
  readonly #isWildcard: boolean;
  readonly #texts: AddressTexts;
  readonly #received: Messages;
  readonly #answers: Messages;
  readonly #datagrams: Datagram[];
  readonly #views: (Buffer | undefined)[][] = Array.from({ length: BATCH }, () => []);
  readonly #turn = () => this.#onTurn();
  readonly #flushLater = () => this.#onFlush();
  #fd: number;
  #poll: Poll | undefined;
  #isTurnDue = false;
  #isFlushDue = false;
  #isInTurn = false;
  /** Of this turn, those that are answered later. */
  #later = 0;
  /** Answers that wait to be sent. */
  #waiting = 0;

  /** Throws an Error with the errno's name for its `code`, or koffi's where native code cannot be had. */
  constructor(options: DatagramSocketOptions, onDatagram: OnDatagram) {
    const family = options.address.length === 16 ? AF_INET6 : AF_INET;
    const calls = socketCalls();
    this.#onDatagram = onDatagram;
    this.#isV6 = family === AF_INET6;
    this.#isWildcard = options.address.every((octet) => octet === 0);
    this.#texts = new AddressTexts(family);
    this.#fd = calls.socket(family, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    if (this.#fd < 0) throw socketError('socket', lastErrno());
    try {
      this.#set(SOL_SOCKET, SO_RCVBUF, options.receiveBuffer);
      if (options.reusePort === true) this.#set(SOL_SOCKET, SO_REUSEPORT, 1);
      if (this.#isV6) {
        this.#set(IPPROTO_IPV6, IPV6_V6ONLY, 1);
        this.#set(IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
      } else this.#set(IPPROTO_IP, IP_PKTINFO, 1);
      const name = socketName(family, options);
      if (calls.bind(this.#fd, name, name.length) !== 0) throw socketError('bind', lastErrno());
      this.port = ownPort(this.#fd, name);
      this.#received = new Messages(family);
      this.#answers = new Messages(family);
      this.#datagrams = Array.from({ length: BATCH }, (_, i) => this.#datagramAt(i));
      this.#poll = poll(this.#fd, () => this.#onReadable());
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** What has been answered is sent; what has not been read is lost. */
  close(): void {
    if (this.#fd < 0) return;
    this.#poll?.close();
    this.#poll = undefined;
    if (this.#waiting > 0) this.#flush();
    closeSync(this.#fd);
    this.#fd = -1;
  }

  /** Address and zone of a datagram, or where it came to. */
  text(a: number, b: number, c: number, d: number, zone: number): string {
    return this.#texts.text(a, b, c, d, zone);
  }

  /** Where the next answer is to be written, for `send`. */
  room(): Buffer {
    if (this.#waiting === BATCH) this.#flush();
    return this.#answers.slot(this.#waiting);
  }

  /** The first octets of `room()` go where `to` came from, from where it came to. */
  send(to: Datagram, length: number): void {
    if (this.#fd < 0 || length > LONGEST) return;
    const i = this.#waiting++;
    const { headers, names, controls } = this.#answers;
    const name = i * NAME_WORDS;
    const control = i * CONTROL_WORDS;
    this.#answers.setLength(i, length);
    names[name] = to.familyAndPort;
    headers[i * HEADER.words + HEADER.controlLength] = this.#isWildcard && to.hasLocal ? this.#answers.controlSpace : 0;
    if (this.#isV6) {
      const at = name + NAME.v6.address;
      names[at] = to.a;
      names[at + 1] = to.b;
      names[at + 2] = to.c;
      names[at + 3] = to.d;
      names[name + NAME.v6.zone] = to.zone;
      const from = control + CONTROL.v6.address;
      controls[from] = to.localA;
      controls[from + 1] = to.localB;
      controls[from + 2] = to.localC;
      controls[from + 3] = to.localD;
      // By which interface is for the routes to say, but where the address is one of an interface alone.
      controls[control + CONTROL.v6.ifindex] = isLinkLocal(to.localA) ? to.ifindex : 0;
    } else {
      names[name + NAME.v4.address] = to.a;
      controls[control + CONTROL.v4.ifindex] = 0;
      controls[control + CONTROL.v4.address] = to.localA;
    }
    if (this.#isInTurn || this.#isFlushDue) return;
    // Those that come from upstream in the same turn of the event loop leave together.
    this.#isFlushDue = true;
    setImmediate(this.#flushLater);
  }

  #set(level: number, option: number, value: number): void {
    setOption(this.#fd, level, option, value);
  }

  // A native callback is left at once. What is not taken in a turn wakes us again.
  #onReadable(): void {
    if (this.#isTurnDue) return;
    this.#isTurnDue = true;
    setImmediate(this.#turn);
  }

  #onTurn(): void {
    this.#isTurnDue = false;
    this.#isInTurn = true;
    this.#later = 0;
    for (let batch = 0; batch < BATCHES_A_TURN && this.#later < LATER_A_TURN && this.#fd >= 0; batch++) {
      // Errors are of clients that are gone; they concern nobody.
      const count = socketCalls().recvmmsg(this.#fd, this.#received.headerBytes, BATCH, 0, null);
      for (let i = 0; i < count; i++) this.#take(i);
      if (this.#waiting > 0) this.#flush();
      if (count < BATCH) break;
    }
    this.#isInTurn = false;
  }

  #datagramAt(i: number): Datagram {
    return new Datagram(this, this.#received.slot(i), this.#views[i] as (Buffer | undefined)[]);
  }

  #onFlush(): void {
    this.#isFlushDue = false;
    if (this.#waiting > 0 && this.#fd >= 0) this.#flush();
  }

  #take(i: number): void {
    const received = this.#received;
    const { headers, names, controls } = received;
    const header = i * HEADER.words;
    const name = i * NAME_WORDS;
    const control = i * CONTROL_WORDS;
    const datagram = this.#datagrams[i] as Datagram;
    const hasLocal = (headers[header + HEADER.controlLength] as number) > 0;
    const isWhole = ((headers[header + HEADER.flags] as number) & MSG_TRUNC) === 0;
    received.renew(i);
    const familyAndPort = names[name] as number;
    // Port 0 cannot be answered.
    if (familyAndPort >>> 16 === 0 || !isWhole) return;
    datagram.familyAndPort = familyAndPort;
    datagram.hasLocal = hasLocal;
    if (this.#isV6) {
      const at = name + NAME.v6.address;
      datagram.a = names[at] as number;
      datagram.b = names[at + 1] as number;
      datagram.c = names[at + 2] as number;
      datagram.d = names[at + 3] as number;
      datagram.zone = names[name + NAME.v6.zone] as number;
      const to = control + CONTROL.v6.address;
      datagram.localA = controls[to] as number;
      datagram.localB = controls[to + 1] as number;
      datagram.localC = controls[to + 2] as number;
      datagram.localD = controls[to + 3] as number;
      datagram.ifindex = controls[control + CONTROL.v6.ifindex] as number;
    } else {
      datagram.a = names[name + NAME.v4.address] as number;
      datagram.ifindex = controls[control + CONTROL.v4.ifindex] as number;
      datagram.localA = controls[control + CONTROL.v4.address] as number;
    }
    datagram.arrive(headers[header + HEADER.length] as number);
    // One that is answered later keeps what it has.
    if (!this.#onDatagram(datagram)) return;
    this.#later++;
    this.#datagrams[i] = this.#datagramAt(i);
  }

  /** What cannot be sent now is lost as any datagram may be; the client asks again. */
  #flush(): void {
    const count = this.#waiting;
    this.#waiting = 0;
    this.#answers.send(this.#fd, count, goOn);
  }
}

// An answer that is refused concerns its client alone.
function goOn(): boolean {
  return true;
}
