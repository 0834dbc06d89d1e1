// SPDX-License-Identifier: Apache-2.0
// DNS over UDP on one address or all of them, many datagrams a system call. Loads native code: imported by listeners.ts alone,
// when it is wanted.

import { ip4Octets, parseIp4, parseIp6, type Endpoint } from '../addr/ip.ts';
import { DatagramSocket } from '../sockets/mod.ts';
import { RECEIVE_BUFFER_OCTETS, listenError, type Listener, type QueryHandler, type SocketShare } from './listener.ts';

export class BatchedListener implements Listener {
  readonly protocol = 'udp';
  readonly kind = 'batched';
  readonly endpoint: Endpoint;
  readonly #socket: DatagramSocket;

  private constructor(socket: DatagramSocket, endpoint: Endpoint) {
    this.#socket = socket;
    this.endpoint = endpoint;
  }

  /** Throws G64_LISTEN. */
  static start(endpoint: Endpoint, handler: QueryHandler, { reusePort = false }: SocketShare = {}): BatchedListener {
    const [host = '', zone] = endpoint.host.split('%', 2);
    try {
      const socket = new DatagramSocket(
        {
          address: endpoint.family === 6 ? parseIp6(host) : ip4Octets(parseIp4(host)),
          zone,
          port: endpoint.port,
          receiveBuffer: RECEIVE_BUFFER_OCTETS,
          reusePort,
        },
        (datagram) => handler(datagram.bytes, 'udp', datagram, datagram.reply) && !datagram.isAnswered,
      );
      return new BatchedListener(socket, { ...endpoint, port: socket.port });
    } catch (cause) {
      throw listenError('UDP', endpoint, cause);
    }
  }

  close(): Promise<void> {
    this.#socket.close();
    return Promise.resolve();
  }
}
