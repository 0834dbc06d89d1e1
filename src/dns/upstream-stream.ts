// SPDX-License-Identifier: Apache-2.0
// Asks one upstream over TCP or TLS: one connection, many questions on it, closed when idle (RFC 7766, RFC 7858).

import { randomInt } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Upstream } from '../config/config.ts';
import { FrameReader, frame } from './frames.ts';
import { answers, type Pending } from './upstream-udp.ts';
import { FLAG, HEADER_LENGTH } from './wire.ts';

/** Below the 10 s after which many servers close, so that a question seldom meets a closing connection. */
const IDLE_MS = 5000;

class Connection {
  readonly pending = new Map<number, Pending>();
  isClosed = false;
  answered = 0;
  readonly #socket: Socket;

  constructor({ kind, endpoint: { host, port }, serverName }: Upstream) {
    // Without a server name the certificate must name the address (RFC 7858 §3.2, RFC 8310 §8.1).
    const name = serverName === undefined ? {} : { servername: serverName };
    this.#socket =
      kind === 'tls' ? connectTls({ host, port, ALPNProtocols: ['dot'], ...name }) : connect({ host, port });
    this.#socket.setNoDelay(true);
    this.#socket.unref();
    this.#socket.setTimeout(IDLE_MS, () => {
      if (this.pending.size === 0) this.close(new Error('the connection was idle'));
    });
    const reader = new FrameReader();
    this.#socket.on('data', (chunk: Buffer) => reader.push(chunk, (message) => this.#onMessage(message)));
    this.#socket.on('error', (error) => this.close(error));
    this.#socket.on('close', () => this.close(new Error('the server closed the connection')));
  }

  send(bytes: Buffer): void {
    this.#socket.write(frame(bytes));
  }

  #onMessage(bytes: Buffer): void {
    if (bytes.length < HEADER_LENGTH) return;
    const id = bytes.readUInt16BE(0);
    const pending = this.pending.get(id);
    if (pending === undefined || (bytes.readUInt16BE(2) & FLAG.QR) === 0 || !answers(bytes, pending.query)) return;
    this.pending.delete(id);
    this.answered++;
    pending.onAnswer(Buffer.from(bytes));
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#socket.destroy();
    const pending = [...this.pending.values()];
    this.pending.clear();
    for (const one of pending) one.onError(error);
  }
}

export class StreamChannel {
  readonly #upstream: Upstream;
  #connection: Connection | undefined;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  /** Sends a copy of `query` under a random ID. Returns what stops waiting. */
  ask(query: Buffer, onAnswer: (answer: Buffer) => void, onError: (error: Error) => void): () => void {
    let cancelled = false;
    let cancel: (() => void) | undefined;
    const attempt = (mayRetry: boolean) => {
      if (this.#connection === undefined || this.#connection.isClosed) {
        this.#connection = new Connection(this.#upstream);
      }
      const connection = this.#connection;
      const isReused = connection.answered > 0;
      let id = randomInt(0x10000);
      while (connection.pending.has(id)) id = (id + 1) & 0xffff;
      const bytes = Buffer.from(query);
      bytes.writeUInt16BE(id, 0);
      connection.pending.set(id, {
        query: bytes,
        onAnswer,
        onError: (error) => {
          // RFC 7766 §6.2.4: a connection closed while idle says nothing about the server.
          if (isReused && mayRetry && !cancelled) attempt(false);
          else onError(error);
        },
      });
      connection.send(bytes);
      cancel = () => connection.pending.delete(id);
    };
    attempt(true);
    return () => {
      cancelled = true;
      cancel?.();
    };
  }

  close(): void {
    this.#connection?.close(new Error('the upstream is no longer used'));
    this.#connection = undefined;
  }
}
