// SPDX-License-Identifier: Apache-2.0
// DNS over TCP (RFC 7766): pipelined queries, answers in any order, limits on what one client may hold open. dns2's
// server as shell, its parser bypassed.

import type { Server, Socket } from 'node:net';
import dns2 from 'dns2';
import type { Endpoint } from '../addr/ip.ts';
import { FrameReader, frame } from './frames.ts';
import { listenError } from './listener-dgram.ts';
import type { Listener, QueryHandler } from './listener.ts';

/** CoreDNS keeps a connection for 10 s: we must not be the first to close it. */
const IDLE_MS = 20_000;
const MAX_CONNECTIONS = 1024;
/** Queries of one connection being answered; more wait in its socket. */
const MAX_IN_FLIGHT = 128;
/** A client that sends but does not read. */
const MAX_UNREAD_OCTETS = 1024 * 1024;

const { TCPServer } = dns2 as unknown as { TCPServer: new () => Server & { handle(socket: Socket): void } };

class TcpShell extends TCPServer {
  handler: QueryHandler | undefined;
  readonly sockets = new Set<Socket>();

  override handle(socket: Socket): void {
    const { handler } = this;
    if (handler === undefined) {
      socket.destroy();
      return;
    }
    this.sockets.add(socket);
    const port = socket.remotePort ?? 0;
    const reader = new FrameReader();
    let inFlight = 0;
    let hasEnded = false;
    const finish = () => {
      if (hasEnded && inFlight === 0) socket.end();
    };
    socket.setNoDelay(true);
    socket.setTimeout(IDLE_MS, () => {
      // FIN first; a client that does not answer it is gone.
      if (socket.writableEnded) socket.destroy();
      else socket.end();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.sockets.delete(socket));
    // RFC 7766 §6.2.3: a client may close its half and still wait for answers.
    socket.on('end', () => {
      hasEnded = true;
      finish();
    });
    socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, (message) => {
        inFlight++;
        let isAnswered = false;
        const done = (answer?: Buffer) => {
          if (isAnswered) return;
          isAnswered = true;
          inFlight--;
          if (answer && !socket.destroyed && socket.writable) {
            socket.write(frame(answer));
            if (socket.writableLength > MAX_UNREAD_OCTETS) socket.destroy();
          }
          if (inFlight < MAX_IN_FLIGHT && socket.isPaused()) socket.resume();
          finish();
        };
        handler(message, 'tcp', port, done);
      });
      if (inFlight >= MAX_IN_FLIGHT) socket.pause();
    });
  }
}

/** Throws G64_LISTEN. */
export function listenTcp(endpoint: Endpoint, handler: QueryHandler): Promise<Listener> {
  const server = new TcpShell();
  server.handler = handler;
  server.maxConnections = MAX_CONNECTIONS;
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(listenError('TCP', endpoint, cause)));
    server.listen({ port: endpoint.port, host: endpoint.host, ipv6Only: endpoint.family === 6 }, () => {
      server.removeAllListeners('error');
      server.on('error', () => {});
      const address = server.address();
      resolve({
        protocol: 'tcp',
        endpoint: { ...endpoint, port: address !== null && typeof address === 'object' ? address.port : endpoint.port },
        close: () => closeServer(server),
      });
    });
  });
}

/** FIN, not RST: a client with a pooled connection retries for free (CoreDNS), and answers on their way still arrive. */
function closeServer(server: TcpShell): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => {
      for (const socket of server.sockets) socket.destroy();
    }, 500);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    for (const socket of server.sockets) socket.end();
  });
}
