// SPDX-License-Identifier: Apache-2.0
// A UDP socket to an upstream, by Node's own sockets: works everywhere.

import { createSocket, type Socket } from 'node:dgram';
import type { Endpoint } from '../addr/ip.ts';
import {
  UPSTREAM_BUFFER_OCTETS,
  type OpenUpstreamSocket,
  type UpstreamSocket,
  type UpstreamSocketEvents,
} from './upstream-socket.ts';

export class DgramUpstreamSocket implements UpstreamSocket {
  readonly #socket: Socket;
  readonly #events: UpstreamSocketEvents;
  #waiting: Buffer[] | undefined = [];
  #isClosed = false;

  constructor(endpoint: Endpoint, events: UpstreamSocketEvents) {
    this.#events = events;
    this.#socket = createSocket({
      type: endpoint.family === 6 ? 'udp6' : 'udp4',
      recvBufferSize: UPSTREAM_BUFFER_OCTETS,
    });
    this.#socket.unref();
    this.#socket.on('message', (bytes) => events.onMessage(bytes));
    this.#socket.on('error', (error) => events.onError(error));
    this.#socket.on('connect', () => {
      const { port, address } = this.#socket.address();
      events.onConnected(port, address);
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const bytes of waiting) this.#send(bytes);
    });
    this.#socket.connect(endpoint.port, endpoint.host);
  }

  send(bytes: Buffer): void {
    if (this.#waiting) this.#waiting.push(bytes);
    else this.#send(bytes);
  }

  #send(bytes: Buffer): void {
    if (this.#isClosed) return;
    this.#socket.send(bytes, (error) => {
      if (error) this.#events.onError(error);
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#socket.close();
  }
}

export const openDgram: OpenUpstreamSocket = (endpoint, events) => new DgramUpstreamSocket(endpoint, events);
