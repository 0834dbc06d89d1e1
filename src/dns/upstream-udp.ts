// SPDX-License-Identifier: Apache-2.0
// Asks one upstream over UDP so that an answer is hard to forge (RFC 5452): several sockets on random ports, changed
// often, random IDs, the peer's address checked by the kernel (connected sockets), the question checked here.

import { randomInt } from 'node:crypto';
import type { Endpoint } from '../addr/ip.ts';
import { openDgram } from './upstream-dgram.ts';
import type { OpenUpstreamSocket, UpstreamSocket } from './upstream-socket.ts';
import { PendingTable, type Asked, type Asker, type Pending } from './pending.ts';

const MAX_SOCKETS = 8;
const USES_PER_SOCKET = 256;
/** Longer than any exchange lasts, so that a retired socket has nothing left to wait for. */
const RETIRED_SOCKET_MS = 5000;
/** As long as the first attempt of an exchange: a socket that leaves a question unanswered so long may be the reason. */
const SILENT_MS = 300;

class UdpSocket {
  readonly pending = new PendingTable();
  uses = 0;
  isClosed = false;
  /** When the first question was sent that nothing has come after. */
  silentSinceMs: number | undefined;
  answeredAtMs = -Infinity;
  /** Our own, once it is connected. */
  #port = 0;
  #address = '';
  readonly #byPort: Map<number, UdpSocket>;
  readonly #socket: UpstreamSocket;

  /** `byPort` has it while it is connected. */
  constructor(endpoint: Endpoint, open: OpenUpstreamSocket, byPort: Map<number, UdpSocket>) {
    this.#byPort = byPort;
    this.#socket = open(endpoint, {
      onConnected: (port, address) => {
        this.#port = port;
        this.#address = address;
        byPort.set(port, this);
      },
      onMessage: (bytes) => this.#onMessage(bytes),
      onError: (error) => this.close(error),
    });
  }

  takeOwn(query: Buffer, address: string | undefined): Pending | undefined {
    if (address !== undefined && !sameAddress(address, this.#address)) return undefined;
    return this.pending.takeAsked(query);
  }

  send(bytes: Buffer): void {
    this.silentSinceMs ??= performance.now();
    this.#socket.send(bytes);
  }

  #onMessage(bytes: Buffer): void {
    // What answers nothing is dropped: the true answer may still come.
    const pending = this.pending.takeAnswered(bytes);
    if (pending === undefined) return;
    this.silentSinceMs = undefined;
    this.answeredAtMs = performance.now();
    pending.asker.onAnswer(bytes);
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#byPort.delete(this.#port);
    this.#socket.close();
    this.pending.fail(error);
  }
}

/** Sent by one socket; where that has failed once by another. */
class UdpQuestion implements Asker, Asked {
  readonly #channel: UdpChannel;
  readonly #query: Buffer;
  readonly #asker: Asker;
  #socket: UdpSocket | undefined;
  #pending: Pending | undefined;
  #hasFailed = false;

  constructor(channel: UdpChannel, query: Buffer, asker: Asker) {
    this.#channel = channel;
    this.#query = query;
    this.#asker = asker;
  }

  send(socket: UdpSocket): void {
    this.#socket = socket;
    this.#pending = socket.pending.add(this.#query, this);
    socket.send(this.#pending.query);
  }

  cancel(): void {
    if (this.#pending) this.#socket?.pending.remove(this.#pending);
  }

  onAnswer(answer: Buffer): void {
    this.#asker.onAnswer(answer);
  }

  onError(error: Error): void {
    const isFirst = !this.#hasFailed;
    this.#hasFailed = true;
    try {
      const socket = isFirst ? this.#channel.another(error) : undefined;
      if (socket) this.send(socket);
      else this.#asker.onError(error);
    } catch (cause) {
      this.#asker.onError(cause as Error);
    }
  }
}

export class UdpChannel {
  readonly #endpoint: Endpoint;
  readonly #open: OpenUpstreamSocket;
  readonly #sockets: UdpSocket[] = [];
  readonly #retired = new Set<UdpSocket>();
  readonly #byPort = new Map<number, UdpSocket>();
  #isClosed = false;

  constructor(endpoint: Endpoint, open: OpenUpstreamSocket = openDgram) {
    this.#endpoint = endpoint;
    this.#open = open;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return [...this.#sockets, ...this.#retired].reduce((sum, socket) => sum + socket.pending.size, 0);
  }

  /** Sends a copy of `query` under a random ID. Throws when no ID is free. */
  ask(query: Buffer, asker: Asker): Asked {
    const question = new UdpQuestion(this, query, asker);
    question.send(this.#pick());
    return question;
  }

  /** By another socket, where it was the node that failed; else undefined. Throws when none can be had. */
  another(error: Error): UdpSocket | undefined {
    if (this.#isClosed || isOfServer(error)) return undefined;
    // Such as an address that is no longer the node's: the other sockets have it too.
    this.#renew();
    return this.#pick();
  }

  /** Removes and returns the query that this channel has sent itself, known by port, address, ID and question. */
  takeOwn(port: number, query: Buffer, address?: string): Pending | undefined {
    // Asked of every question that the cache does not answer, while hundreds of sockets may be retired.
    return this.#byPort.get(port)?.takeOwn(query, address);
  }

  close(): void {
    this.#isClosed = true;
    const error = new Error('the upstream is no longer used');
    for (const socket of [...this.#sockets, ...this.#retired]) socket.close(error);
    this.#sockets.length = 0;
    this.#retired.clear();
  }

  #pick(): UdpSocket {
    this.#renewSilent();
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
      socket = new UdpSocket(this.#endpoint, this.#open, this.#byPort);
      this.#sockets.push(socket);
    }
    socket.uses++;
    return socket;
  }

  /**
   * A connected socket keeps the source address that the route had for it, and goes on using it when the node has another
   * one. So where one has been silent, only those that have answered meanwhile are used on.
   */
  #renewSilent(): void {
    const silentMs = performance.now() - SILENT_MS;
    let sinceMs = Infinity;
    for (const socket of this.#sockets) sinceMs = Math.min(sinceMs, socket.silentSinceMs ?? Infinity);
    if (sinceMs < silentMs) this.#renew(sinceMs);
  }

  /** Takes the sockets out of use that have not answered since. */
  #renew(sinceMs = Infinity): void {
    for (let i = this.#sockets.length - 1; i >= 0; i--) {
      const socket = this.#sockets[i] as UdpSocket;
      if (socket.answeredAtMs > sinceMs) continue;
      this.#sockets.splice(i, 1);
      if (!socket.isClosed) this.#retire(socket);
    }
  }

  #retire(socket: UdpSocket): void {
    this.#retired.add(socket);
    setTimeout(() => {
      this.#retired.delete(socket);
      if (!this.#isClosed) socket.close(new Error('the socket has been retired'));
    }, RETIRED_SOCKET_MS).unref();
  }
}

/** ECONNREFUSED is the server's word; all other errors are the node's, or of the way there. */
function isOfServer(error: Error): boolean {
  return 'code' in error && error.code === 'ECONNREFUSED';
}

/** Without zones, and IPv4 as a listener for both families shows it. */
function sameAddress(a: string, b: string): boolean {
  const bare = (text: string) => text.replace(/^::ffff:(?=\d+\.)/, '').replace(/%.*$/, '');
  return bare(a) === bare(b);
}
