// SPDX-License-Identifier: Apache-2.0
// A DNS server over TLS whose way with connections a test writes down.

import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import tls, { createServer, type Server, type TLSSocket } from 'node:tls';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { makeCertificate } from './certificate.ts';

/** What to do with `query`, the `nth` of its connection, from 1. */
export type OnQuery = (query: Buffer, answer: (bytes: Buffer) => void, socket: TLSSocket, nth: number) => void;

export class TlsServer {
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();
  readonly #authorities: string[];
  /** Connections that are open, the most that were so at once, and all there were. */
  open = 0;
  most = 0;
  accepted = 0;

  private constructor(server: Server, authorities: string[]) {
    this.#server = server;
    this.#authorities = authorities;
    server.on('secureConnection', (socket) => {
      this.#sockets.add(socket);
      this.accepted++;
      this.most = Math.max(this.most, ++this.open);
      socket.on('close', () => {
        this.#sockets.delete(socket);
        this.open--;
      });
    });
  }

  /** Its certificate is trusted by this process until `stop`. */
  static async start(onQuery: OnQuery): Promise<TlsServer> {
    const authorities = tls.getCACertificates('default');
    const { key, cert } = makeCertificate();
    tls.setDefaultCACertificates([cert]);
    const server = createServer({ key, cert }, (socket) => {
      const reader = new FrameReader();
      let nth = 0;
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (query) => onQuery(query, (bytes) => socket.write(frame(bytes)), socket, ++nth)),
      );
    });
    server.on('tlsClientError', () => {});
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new TlsServer(server, authorities);
  }

  get upstream() {
    const { port } = this.#server.address() as AddressInfo;
    return { kind: 'tls' as const, endpoint: { family: 4 as const, host: '127.0.0.1', port } };
  }

  async stop(): Promise<void> {
    tls.setDefaultCACertificates(this.#authorities);
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((done) => this.#server.close(done));
  }
}
