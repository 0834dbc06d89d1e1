// SPDX-License-Identifier: Apache-2.0
// One client's connection (RFC 7766): pipelined queries, answers in any order. It reads no more than it may answer.

import type { Socket } from 'node:net';
import { FrameReader, frame } from './frames.ts';
import type { Peer, QueryHandler } from './listener.ts';

/** Queries of one connection being answered; more wait in its socket. */
const MAX_IN_FLIGHT = 128;
/** With more answers unread than this nothing more is read. */
const ENOUGH_UNREAD_OCTETS = 64 * 1024;
/** Answers to what was read before may come to more; with these the client does not read at all. */
const MAX_UNREAD_OCTETS = 512 * 1024;
const NOTHING = Buffer.alloc(0);

/** Milliseconds. */
export interface ConnectionTimes {
  /** Without a query. CoreDNS keeps a connection for 10 s: we must not be the first to close it. */
  readonly idle: number;
  /** From a message's first octet to its last. */
  readonly message: number;
  /** For the client to take any of the answers that wait. */
  readonly unread: number;
  /** From our FIN to the client's. */
  readonly closing: number;
}

export interface ConnectionOwner {
  readonly handler: QueryHandler;
  /** A whole query has come: of its client's connections this is the busiest. */
  onQuery(connection: Connection): void;
  /** `connection.held` may have changed. */
  onHeld(connection: Connection): void;
}

export class Connection {
  readonly peer: Peer;
  /** Octets that were last counted as its own. */
  counted = 0;
  readonly #socket: Socket;
  readonly #owner: ConnectionOwner;
  readonly #reader = new FrameReader();
  #inFlight = 0;
  #isReading = false;
  #isPaused = false;
  #hasEnded = false;
  /** Times of performance.now(). The message that is coming has begun: */
  #partialSince: number | undefined;
  #activeAt = performance.now();
  /** Some of the answers have left, or there were none before. */
  #takenAt = 0;
  #endedAt: number | undefined;

  constructor(socket: Socket, owner: ConnectionOwner) {
    this.peer = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    this.#socket = socket;
    this.#owner = owner;
    socket.setNoDelay(true);
    socket.on('error', () => socket.destroy());
    // RFC 7766 §6.2.3: a client may close its half and still wait for answers.
    socket.on('end', () => {
      this.#hasEnded = true;
      this.#finish();
    });
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
  }

  /** Octets of memory that it takes: of queries that have come and of answers that have not left. */
  get held(): number {
    return this.#socket.destroyed ? 0 : this.#reader.kept + this.#socket.readableLength + this.#socket.writableLength;
  }

  end(): void {
    this.#endedAt ??= performance.now();
    this.#socket.end();
  }

  /** RST: nothing of it is left, in the kernel either, whatever the client does. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }

  /** Ends what has lasted too long. */
  look(now: number, times: ConnectionTimes): void {
    const isOver = (since: number | undefined, ms: number) => since !== undefined && now - since > ms;
    if (
      isOver(this.#endedAt, times.closing) ||
      isOver(this.#partialSince, times.message) ||
      (this.#socket.writableLength > 0 && isOver(this.#takenAt, times.unread))
    ) {
      this.reset();
    } else if (this.#inFlight === 0 && isOver(this.#activeAt, times.idle)) {
      this.end();
    }
  }

  #read(chunk: Buffer): void {
    this.#isReading = true;
    const isWanted = this.#reader.push(chunk, (message) => this.#onQuery(message));
    this.#isReading = false;
    if (this.#socket.destroyed) return;
    if (!isWanted || this.#isFull) {
      this.#isPaused = true;
      this.#socket.pause();
      // It is us who make it wait.
      this.#partialSince = undefined;
    } else if (this.#reader.hasPartial) {
      this.#partialSince ??= performance.now();
    }
    this.#owner.onHeld(this);
  }

  get #isFull(): boolean {
    return this.#inFlight >= MAX_IN_FLIGHT || this.#socket.writableLength > ENOUGH_UNREAD_OCTETS;
  }

  /** Says whether the next one may come. */
  #onQuery(query: Buffer): boolean {
    this.#partialSince = undefined;
    this.#activeAt = performance.now();
    this.#owner.onQuery(this);
    this.#inFlight++;
    const isAnswered = this.#owner.handler(query, 'tcp', this.peer, (answer) => this.#onAnswer(answer));
    // Who sends what is no query does not speak DNS.
    if (!isAnswered) this.reset();
    return !this.#socket.destroyed && !this.#isFull;
  }

  #onAnswer(answer: Buffer): void {
    const socket = this.#socket;
    this.#inFlight--;
    if (socket.destroyed) return;
    this.#activeAt = performance.now();
    if (socket.writable) {
      if (socket.writableLength === 0) this.#takenAt = this.#activeAt;
      socket.write(frame(answer), () => this.#onTaken());
      if (socket.writableLength > MAX_UNREAD_OCTETS) return this.reset();
      this.#owner.onHeld(this);
    }
    this.#goOn();
  }

  #onTaken(): void {
    if (this.#socket.destroyed) return;
    this.#takenAt = performance.now();
    this.#owner.onHeld(this);
    this.#goOn();
  }

  #goOn(): void {
    if (this.#isReading) return;
    if (this.#isPaused && !this.#isFull) {
      this.#isPaused = false;
      this.#read(NOTHING);
      if (!this.#isPaused && !this.#socket.destroyed) this.#socket.resume();
    }
    this.#finish();
  }

  #finish(): void {
    if (this.#hasEnded && this.#inFlight === 0 && !this.#isPaused) this.end();
  }
}
