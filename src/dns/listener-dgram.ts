// SPDX-License-Identifier: Apache-2.0
// DNS over UDP on node:dgram: dns2's server as shell, its parser bypassed so that octets stay what they were.

import type { RemoteInfo, Socket, SocketOptions } from 'node:dgram';
import dns2 from 'dns2';
import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { Listener, QueryHandler } from './listener.ts';

/** Room for a burst while the event loop is busy; the kernel clamps it to net.core.rmem_max. */
const RECEIVE_BUFFER_OCTETS = 4 * 1024 * 1024;

// dns2 hands `type` on to dgram.Socket, which takes options there; dns2's types know only the two strings.
const { UDPServer } = dns2 as unknown as {
  UDPServer: new (options: { type: SocketOptions }) => Socket & { handle(bytes: Buffer, from: RemoteInfo): void };
};

class UdpShell extends UDPServer {
  handler: QueryHandler | undefined;

  override handle(bytes: Buffer, from: RemoteInfo): void {
    // Port 0 cannot be answered, and sending to it throws.
    if (from.port === 0) return;
    this.handler?.(bytes, 'udp', from.port, (answer) => {
      try {
        // Without a callback: an answer that cannot be delivered is lost as any datagram may be; the client asks again.
        this.send(answer, from.port, from.address);
      } catch {
        // Closed meanwhile: the client asks again, as for any datagram that was lost.
      }
    });
  }
}

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

/** Throws G64_LISTEN. */
export function listenUdp(endpoint: Endpoint, handler: QueryHandler): Promise<Listener> {
  const socket = new UdpShell({
    type: {
      type: endpoint.family === 6 ? 'udp6' : 'udp4',
      ipv6Only: endpoint.family === 6,
      recvBufferSize: RECEIVE_BUFFER_OCTETS,
      // The types know the options of dns.lookup; what dgram calls it with is the family alone.
      lookup: addressItself as unknown as NonNullable<SocketOptions['lookup']>,
    },
  });
  socket.handler = handler;
  return new Promise((resolve, reject) => {
    socket.once('error', (cause) => {
      socket.close();
      reject(listenError('UDP', endpoint, cause));
    });
    socket.bind(endpoint.port, endpoint.host, () => {
      socket.removeAllListeners('error');
      // ICMP errors of clients that are gone surface here; they concern nobody.
      socket.on('error', () => {});
      resolve({
        protocol: 'udp',
        endpoint: { ...endpoint, port: socket.address().port },
        close: () => new Promise((closed) => socket.close(() => closed())),
      });
    });
  });
}

export function listenError(protocol: string, endpoint: Endpoint, cause: unknown): Gate64Error {
  const code = (cause as NodeJS.ErrnoException).code;
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program listens there: stop it, or choose another port in dns.listen',
    EADDRNOTAVAIL: 'no interface of this host has that address: correct dns.listen',
    EACCES: 'ports below 1024 need CAP_NET_BIND_SERVICE: run as root, or choose a higher port in dns.listen',
  };
  const hint = hints[code ?? ''];
  return new Gate64Error(
    'G64_LISTEN',
    `cannot listen on ${formatEndpoint(endpoint)} (${protocol}): ${code ?? (cause as Error).message}`,
    hint === undefined ? { cause } : { cause, hint },
  );
}
