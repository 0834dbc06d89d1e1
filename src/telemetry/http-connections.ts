// SPDX-License-Identifier: Apache-2.0
// Which HTTP connections stay open: a bounded number, so that DNS, which a process shares its descriptors with, is never
// short of any.

import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** A probe, some scrapers and command lines need a handful. */
export const MAX_CONNECTIONS = 256;

/** Beyond the limit the connection that has waited longest goes, not the new one: nobody keeps a probe out by waiting. */
export class HttpConnections {
  /** In the order of their waiting. */
  readonly #idle = new Set<Socket>();
  /** Those with a request that is being answered. */
  readonly #busy = new Set<Socket>();

  watch(server: Server): void {
    server.on('connection', (socket) => this.#admit(socket));
    server.on('request', ({ socket }, response) => {
      this.#idle.delete(socket);
      this.#busy.add(socket);
      response.once('close', () => {
        this.#busy.delete(socket);
        if (!socket.destroyed) this.#idle.add(socket);
      });
    });
  }

  #admit(socket: Socket): void {
    this.#idle.add(socket);
    socket.once('close', () => {
      this.#idle.delete(socket);
      this.#busy.delete(socket);
    });
    if (this.#idle.size + this.#busy.size <= MAX_CONNECTIONS) return;
    // An answer that is taken in slowly has waited, too.
    const [longest] = this.#busy.size >= MAX_CONNECTIONS ? this.#busy : this.#idle;
    this.#idle.delete(longest ?? socket);
    this.#busy.delete(longest ?? socket);
    (longest ?? socket).destroy();
  }
}
