// SPDX-License-Identifier: Apache-2.0
// One datagram as it was received: what it holds, who sent it and where it came to; and the way back.

/** The socket behind it. */
export interface DatagramWay {
  readonly port: number;
  text(a: number, b: number, c: number, d: number, zone: number): string;
  room(): Buffer;
  send(to: Datagram, length: number): void;
}

const NOTHING = Buffer.alloc(0);
/** Lengths of which the views are kept. */
const KEPT_LENGTHS = 256;

/** The words of addresses are as in memory, read in this machine's order; IPv4 has the first of each alone. */
export class Datagram {
  /** Lent: the socket writes the next datagram there as soon as the handler is back. */
  bytes: Buffer = NOTHING;
  familyAndPort = 0;
  a = 0;
  b = 0;
  c = 0;
  d = 0;
  zone = 0;
  hasLocal = false;
  localA = 0;
  localB = 0;
  localC = 0;
  localD = 0;
  /** The interface that it came in by. */
  ifindex = 0;
  /** Once, and at once where the handler said so. */
  readonly reply = (answer: Buffer): void => {
    this.#way.room().set(answer);
    this.#way.send(this, answer.length);
    this.isAnswered = true;
  };
  isAnswered = false;
  #address: string | undefined;
  readonly #way: DatagramWay;
  readonly #slot: Buffer;
  readonly #views: (Buffer | undefined)[];

  /** `views` of `slot`, by length, outlive the datagram: the next one there has them too. */
  constructor(way: DatagramWay, slot: Buffer, views: (Buffer | undefined)[]) {
    this.#way = way;
    this.#slot = slot;
    this.#views = views;
  }

  get address(): string {
    return (this.#address ??= this.#way.text(this.a, this.b, this.c, this.d, this.zone));
  }

  get port(): number {
    const raw = this.familyAndPort >>> 16;
    return ((raw & 255) << 8) | (raw >> 8);
  }

  /** Where it came to. */
  get local(): { address: string; port: number; ifindex: number } | undefined {
    if (!this.hasLocal) return undefined;
    const { localA, localB, localC, localD, ifindex } = this;
    return { address: this.#way.text(localA, localB, localC, localD, ifindex), port: this.#way.port, ifindex };
  }

  arrive(length: number): void {
    this.isAnswered = false;
    this.#address = undefined;
    if (length >= KEPT_LENGTHS) this.bytes = this.#slot.subarray(0, length);
    else this.bytes = this.#views[length] ??= this.#slot.subarray(0, length);
  }
}
