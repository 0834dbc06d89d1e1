// SPDX-License-Identifier: Apache-2.0
// A UDP socket to an upstream, many datagrams a system call. Loads native code: imported when it is wanted.

import { ip4Octets, parseIp4, parseIp6, type Endpoint } from '../addr/ip.ts';
import { ConnectedSocket } from '../sockets/mod.ts';
import { UPSTREAM_BUFFER_OCTETS, type UpstreamSocket, type UpstreamSocketEvents } from './upstream-socket.ts';

export class BatchedUpstreamSocket implements UpstreamSocket {
  /** Undefined where it could not be had: its error comes with the next turn. */
  readonly #socket: ConnectedSocket | undefined;
  #isClosed = false;

  constructor({ family, host: text, port }: Endpoint, events: UpstreamSocketEvents) {
    const [host = '', zone] = text.split('%', 2);
    const address = family === 6 ? parseIp6(host) : ip4Octets(parseIp4(host));
    try {
      this.#socket = new ConnectedSocket(
        { address, zone, port, receiveBuffer: UPSTREAM_BUFFER_OCTETS },
        {
          onDatagram: (bytes) => events.onMessage(Buffer.from(bytes)),
          onError: (error) => events.onError(error),
        },
      );
      events.onConnected(this.#socket.port, this.#socket.address);
    } catch (error) {
      setImmediate(() => {
        if (!this.#isClosed) events.onError(error as Error);
      });
    }
  }

  send(bytes: Buffer): void {
    this.#socket?.send(bytes);
  }

  close(): void {
    this.#isClosed = true;
    this.#socket?.close();
  }
}
