// SPDX-License-Identifier: Apache-2.0
// DNS over TCP (RFC 7766) on one address, and which connections may stay (RFC 7766 §6.2.2, §10): no client keeps others out,
// none takes memory without end.

import { createServer, type Server, type Socket } from 'node:net';
import type { Endpoint } from '../addr/ip.ts';
import { listenError, type Listener, type QueryHandler, type SocketShare } from './listener.ts';
import { Connection, type ConnectionOwner, type ConnectionTimes } from './tcp-connection.ts';

const TIMES: ConnectionTimes = { idle: 20_000, message: 5000, unread: 5000, closing: 2000 };
const MAX_CONNECTIONS = 1024;
const LEAST_PER_CLIENT = 16;
/** Of all connections together. */
const MAX_HELD_OCTETS = 32 * 1024 * 1024;
const LOOK_MS = 250;
/** How long a client has for closing its half when the listener closes. */
const CLOSE_MS = 500;

export interface TcpOptions extends SocketShare {
  readonly times?: Partial<ConnectionTimes>;
  readonly maxConnections?: number;
}

export class TcpListener implements Listener, ConnectionOwner {
  readonly protocol = 'tcp';
  readonly endpoint: Endpoint;
  readonly handler: QueryHandler;
  readonly #server: Server;
  readonly #times: ConnectionTimes;
  readonly #maxConnections: number;
  readonly #maxPerClient: number;
  readonly #connections = new Set<Connection>();
  /** By address; of each client's connections the idlest is first. */
  readonly #clients = new Map<string, Set<Connection>>();
  readonly #timer: NodeJS.Timeout;
  #heldOctets = 0;

  private constructor(server: Server, endpoint: Endpoint, handler: QueryHandler, options: TcpOptions) {
    this.#server = server;
    this.endpoint = endpoint;
    this.handler = handler;
    this.#times = { ...TIMES, ...options.times };
    this.#maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
    this.#maxPerClient = Math.max(LEAST_PER_CLIENT, this.#maxConnections >> 3);
    this.#timer = setInterval(() => this.#look(), Math.min(LOOK_MS, ...Object.values(this.#times))).unref();
    server.on('error', () => {});
    server.on('connection', (socket) => this.#onConnection(socket));
  }

  /** Throws G64_LISTEN. */
  static start(endpoint: Endpoint, handler: QueryHandler, options: TcpOptions = {}): Promise<TcpListener> {
    const server = createServer({ allowHalfOpen: true });
    return new Promise((resolve, reject) => {
      server.once('error', (cause) => reject(listenError('TCP', endpoint, cause)));
      const { reusePort = false } = options;
      server.listen({ port: endpoint.port, host: endpoint.host, ipv6Only: endpoint.family === 6, reusePort }, () => {
        server.removeAllListeners('error');
        const address = server.address();
        const port = address !== null && typeof address === 'object' ? address.port : endpoint.port;
        resolve(new TcpListener(server, { ...endpoint, port }, handler, options));
      });
    });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** FIN, not RST: a client with a pooled connection retries for free (CoreDNS), and answers on their way still arrive. */
  close(): Promise<void> {
    clearInterval(this.#timer);
    return new Promise((resolve) => {
      const deadline = setTimeout(() => {
        for (const connection of this.#connections) connection.reset();
      }, CLOSE_MS);
      this.#server.close(() => {
        clearTimeout(deadline);
        resolve();
      });
      for (const connection of this.#connections) connection.end();
    });
  }

  onQuery(connection: Connection): void {
    const own = this.#clients.get(connection.peer.address);
    if (own?.delete(connection)) own.add(connection);
  }

  onHeld(connection: Connection): void {
    const { held } = connection;
    this.#heldOctets += held - connection.counted;
    connection.counted = held;
    while (this.#heldOctets > MAX_HELD_OCTETS) {
      let greediest = connection;
      for (const one of this.#connections) if (one.counted > greediest.counted) greediest = one;
      this.#drop(greediest);
    }
  }

  #onConnection(socket: Socket): void {
    // Gone since it was accepted.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const { remoteAddress } = socket;
    const own = this.#clients.get(remoteAddress);
    if (own !== undefined && own.size >= this.#maxPerClient) this.#drop(first(own));
    else if (this.#connections.size >= this.#maxConnections) this.#drop(first(this.#greediest()));
    const connection = new Connection(socket, this);
    this.#connections.add(connection);
    const connections = this.#clients.get(remoteAddress) ?? new Set();
    this.#clients.set(remoteAddress, connections.add(connection));
    socket.on('close', () => this.#forget(connection));
  }

  #greediest(): Set<Connection> {
    let greediest = new Set<Connection>();
    for (const own of this.#clients.values()) if (own.size > greediest.size) greediest = own;
    return greediest;
  }

  #drop(connection: Connection): void {
    connection.reset();
    this.#forget(connection);
  }

  /** Before its socket says that it has closed: until then more may be asked for. */
  #forget(connection: Connection): void {
    if (!this.#connections.delete(connection)) return;
    this.#heldOctets -= connection.counted;
    connection.counted = 0;
    const { address } = connection.peer;
    const own = this.#clients.get(address);
    own?.delete(connection);
    if (own?.size === 0) this.#clients.delete(address);
  }

  #look(): void {
    const now = performance.now();
    for (const connection of this.#connections) {
      connection.look(now, this.#times);
      this.onHeld(connection);
    }
  }
}

function first(connections: Set<Connection>): Connection {
  return connections.values().next().value as Connection;
}
