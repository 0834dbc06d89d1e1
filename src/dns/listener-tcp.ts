// SPDX-License-Identifier: Apache-2.0
// DNS over TCP (RFC 7766): pipelined queries, answers in any order, limits on what one client may hold open.

import { createServer, type Server, type Socket } from 'node:net';
import type { Endpoint } from '../addr/ip.ts';
import { FrameReader, frame } from './frames.ts';
import { listenError, type Listener, type QueryHandler } from './listener.ts';

/** CoreDNS keeps a connection for 10 s: we must not be the first to close it. */
const IDLE_MS = 20_000;
const MAX_CONNECTIONS = 1024;
/** Queries of one connection being answered; more wait in its socket. */
const MAX_IN_FLIGHT = 128;
/** A client that sends but does not read. */
const MAX_UNREAD_OCTETS = 1024 * 1024;
/** How long a client has for closing its half when the listener closes. */
const CLOSE_MS = 500;

/** One client's connection. */
class Connection {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #handler: QueryHandler;
  readonly #reader = new FrameReader();
  #inFlight = 0;
  #hasEnded = false;

  constructor(socket: Socket, handler: QueryHandler) {
    this.#socket = socket;
    this.#port = socket.remotePort ?? 0;
    this.#handler = handler;
    socket.setNoDelay(true);
    socket.setTimeout(IDLE_MS, () => {
      // FIN first; a client that does not answer it is gone.
      if (socket.writableEnded) socket.destroy();
      else socket.end();
    });
    socket.on('error', () => socket.destroy());
    // RFC 7766 §6.2.3: a client may close its half and still wait for answers.
    socket.on('end', () => {
      this.#hasEnded = true;
      this.#finish();
    });
    socket.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk, (message) => this.#onQuery(message));
      if (this.#inFlight >= MAX_IN_FLIGHT) socket.pause();
    });
  }

  end(): void {
    this.#socket.end();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #onQuery(query: Buffer): void {
    this.#inFlight++;
    let isAnswered = false;
    this.#handler(query, 'tcp', this.#port, (answer) => {
      if (isAnswered) return;
      isAnswered = true;
      this.#onAnswer(answer);
    });
  }

  #onAnswer(answer: Buffer): void {
    const socket = this.#socket;
    this.#inFlight--;
    if (!socket.destroyed && socket.writable) {
      socket.write(frame(answer));
      if (socket.writableLength > MAX_UNREAD_OCTETS) socket.destroy();
    }
    if (this.#inFlight < MAX_IN_FLIGHT && socket.isPaused()) socket.resume();
    this.#finish();
  }

  #finish(): void {
    if (this.#hasEnded && this.#inFlight === 0) this.#socket.end();
  }
}

export class TcpListener implements Listener {
  readonly protocol = 'tcp';
  readonly endpoint: Endpoint;
  readonly #server: Server;
  readonly #connections = new Set<Connection>();

  private constructor(server: Server, endpoint: Endpoint, handler: QueryHandler) {
    this.#server = server;
    this.endpoint = endpoint;
    server.on('error', () => {});
    server.on('connection', (socket) => {
      const connection = new Connection(socket, handler);
      this.#connections.add(connection);
      socket.on('close', () => this.#connections.delete(connection));
    });
  }

  /** Throws G64_LISTEN. */
  static start(endpoint: Endpoint, handler: QueryHandler): Promise<TcpListener> {
    const server = createServer({ allowHalfOpen: true });
    server.maxConnections = MAX_CONNECTIONS;
    return new Promise((resolve, reject) => {
      server.once('error', (cause) => reject(listenError('TCP', endpoint, cause)));
      server.listen({ port: endpoint.port, host: endpoint.host, ipv6Only: endpoint.family === 6 }, () => {
        server.removeAllListeners('error');
        const address = server.address();
        const port = address !== null && typeof address === 'object' ? address.port : endpoint.port;
        resolve(new TcpListener(server, { ...endpoint, port }, handler));
      });
    });
  }

  /** FIN, not RST: a client with a pooled connection retries for free (CoreDNS), and answers on their way still arrive. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      const deadline = setTimeout(() => {
        for (const connection of this.#connections) connection.destroy();
      }, CLOSE_MS);
      this.#server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      for (const connection of this.#connections) connection.end();
    });
  }
}
