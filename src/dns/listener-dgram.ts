// SPDX-License-Identifier: Apache-2.0
// DNS over UDP on one address.

import { createSocket, type RemoteInfo, type Socket, type SocketOptions } from 'node:dgram';
import type { Endpoint } from '../addr/ip.ts';
import { RECEIVE_BUFFER_OCTETS, listenError, type Listener, type QueryHandler, type SocketShare } from './listener.ts';

/**
 * Addresses come from recvmsg and need no looking up. The default one is asynchronous even for them, which took a sixth of
 * the processor time of an answer.
 */
function addressItself(
  address: string,
  family: number,
  callback: (error: null, address: string, family: number) => void,
) {
  callback(null, address, family);
}

export class UdpListener implements Listener {
  readonly protocol = 'udp';
  readonly kind = 'dgram';
  readonly endpoint: Endpoint;
  readonly #socket: Socket;
  readonly #handler: QueryHandler;

  private constructor(socket: Socket, endpoint: Endpoint, handler: QueryHandler) {
    this.#socket = socket;
    this.endpoint = endpoint;
    this.#handler = handler;
    // ICMP errors of clients that are gone surface here; they concern nobody.
    socket.on('error', () => {});
    socket.on('message', (bytes, from) => this.#onMessage(bytes, from));
  }

  /** Throws G64_LISTEN. */
  static start(
    endpoint: Endpoint,
    handler: QueryHandler,
    { reusePort = false }: SocketShare = {},
  ): Promise<UdpListener> {
    const socket = createSocket({
      type: endpoint.family === 6 ? 'udp6' : 'udp4',
      ipv6Only: endpoint.family === 6,
      recvBufferSize: RECEIVE_BUFFER_OCTETS,
      reusePort,
      // The types know the options of dns.lookup; what dgram calls it with is the family alone.
      lookup: addressItself as unknown as NonNullable<SocketOptions['lookup']>,
    });
    return new Promise((resolve, reject) => {
      socket.once('error', (cause) => {
        socket.close();
        reject(listenError('UDP', endpoint, cause));
      });
      socket.bind(endpoint.port, endpoint.host, () => {
        socket.removeAllListeners('error');
        resolve(new UdpListener(socket, { ...endpoint, port: socket.address().port }, handler));
      });
    });
  }

  close(): Promise<void> {
    return new Promise((closed) => this.#socket.close(() => closed()));
  }

  #onMessage(bytes: Buffer, from: RemoteInfo): void {
    // Port 0 cannot be answered, and sending to it throws.
    if (from.port === 0) return;
    this.#handler(bytes, 'udp', from, (answer) => {
      try {
        // Without a callback: an answer that cannot be delivered is lost as any datagram may be; the client asks again.
        // A copy, since what the kernel does not take at once waits here.
        this.#socket.send(Buffer.from(answer), from.port, from.address);
      } catch {
        // Closed meanwhile: the client asks again, as for any datagram that was lost.
      }
    });
  }
}
