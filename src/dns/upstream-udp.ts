// SPDX-License-Identifier: Apache-2.0
// Asks one upstream over UDP so that an answer is hard to forge (RFC 5452): several sockets on random ports, changed
// often, random IDs, the peer's address checked by the kernel (connected sockets), the question checked here.

import { createSocket, type Socket } from 'node:dgram';
import { randomInt } from 'node:crypto';
import type { Endpoint } from '../addr/ip.ts';
import { PendingTable, type Asker, type Pending } from './pending.ts';

const MAX_SOCKETS = 8;
/** Answers to a burst of questions come as a burst. */
const RECEIVE_BUFFER_OCTETS = 1024 * 1024;
const USES_PER_SOCKET = 256;
/** Longer than any exchange lasts, so that a retired socket has nothing left to wait for. */
const RETIRED_SOCKET_MS = 5000;

class UdpSocket {
  readonly pending = new PendingTable();
  uses = 0;
  isClosed = false;
  #port = 0;
  readonly #socket: Socket;
  #waiting: Buffer[] | undefined = [];

  constructor(endpoint: Endpoint) {
    this.#socket = createSocket({
      type: endpoint.family === 6 ? 'udp6' : 'udp4',
      recvBufferSize: RECEIVE_BUFFER_OCTETS,
    });
    this.#socket.unref();
    this.#socket.on('message', (bytes) => this.#onMessage(bytes));
    // ECONNREFUSED arrives here: a port nobody listens on is noticed at once, without a timeout.
    this.#socket.on('error', (error) => this.close(error));
    this.#socket.on('connect', () => {
      this.#port = this.#socket.address().port;
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const bytes of waiting) this.#send(bytes);
    });
    this.#socket.connect(endpoint.port, endpoint.host);
  }

  get port(): number {
    return this.#port;
  }

  send(bytes: Buffer): void {
    if (this.#waiting) this.#waiting.push(bytes);
    else this.#send(bytes);
  }

  #send(bytes: Buffer): void {
    if (this.isClosed) return;
    this.#socket.send(bytes, (error) => {
      if (error) this.close(error);
    });
  }

  #onMessage(bytes: Buffer): void {
    // What answers nothing is dropped: the true answer may still come.
    this.pending.takeAnswered(bytes)?.asker.onAnswer(bytes);
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#socket.close();
    this.pending.fail(error);
  }
}

export class UdpChannel {
  readonly #endpoint: Endpoint;
  readonly #sockets: UdpSocket[] = [];
  readonly #retired = new Set<UdpSocket>();
  #isClosed = false;

  constructor(endpoint: Endpoint) {
    this.#endpoint = endpoint;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return [...this.#sockets, ...this.#retired].reduce((sum, socket) => sum + socket.pending.size, 0);
  }

  /** Sends a copy of `query` under a random ID. Returns what stops waiting. Throws when no ID is free. */
  ask(query: Buffer, asker: Asker): () => void {
    const socket = this.#pick();
    const pending = socket.pending.add(query, asker);
    socket.send(pending.query);
    return () => void socket.pending.remove(pending);
  }

  /** Removes and returns the query that this channel has sent itself, known by port, ID and question. */
  takeOwn(port: number, query: Buffer): Pending | undefined {
    for (const socket of [...this.#sockets, ...this.#retired]) {
      const pending = socket.port === port ? socket.pending.takeAsked(query) : undefined;
      if (pending) return pending;
    }
    return undefined;
  }

  close(): void {
    this.#isClosed = true;
    const error = new Error('the upstream is no longer used');
    for (const socket of [...this.#sockets, ...this.#retired]) socket.close(error);
    this.#sockets.length = 0;
    this.#retired.clear();
  }

  #pick(): UdpSocket {
    for (let i = this.#sockets.length - 1; i >= 0; i--) {
      const socket = this.#sockets[i] as UdpSocket;
      if (socket.isClosed) this.#sockets.splice(i, 1);
      else if (socket.uses >= USES_PER_SOCKET) {
        this.#sockets.splice(i, 1);
        this.#retire(socket);
      }
    }
    const at = randomInt(MAX_SOCKETS);
    let socket = this.#sockets[at];
    if (socket === undefined) {
      socket = new UdpSocket(this.#endpoint);
      this.#sockets.push(socket);
    }
    socket.uses++;
    return socket;
  }

  #retire(socket: UdpSocket): void {
    this.#retired.add(socket);
    setTimeout(() => {
      this.#retired.delete(socket);
      if (!this.#isClosed) socket.close(new Error('the socket has been retired'));
    }, RETIRED_SOCKET_MS).unref();
  }
}
