// SPDX-License-Identifier: Apache-2.0
// Asks one upstream over TCP or TLS: one connection, many questions on it, closed when idle (RFC 7766, RFC 7858).

import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Upstream } from '../config/config.ts';
import { FrameReader, frame } from './frames.ts';
import { PendingTable, type Asker, type Pending } from './pending.ts';

/** Below the 10 s after which many servers close, so that a question seldom meets a closing connection. */
const IDLE_MS = 5000;
/** A path can vanish without a word, and TCP would go on trying for minutes. */
const STALLED_MS = 5000;

class Connection {
  readonly pending = new PendingTable();
  isClosed = false;
  hasAnswered = false;
  readonly #socket: Socket;
  /** When the first question was sent after the last octets came. */
  #silentSinceMs: number | undefined;

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
    this.#socket.on('data', (chunk: Buffer) => {
      this.#silentSinceMs = undefined;
      reader.push(chunk, (message) => this.#onMessage(message));
    });
    this.#socket.on('error', (error) => this.close(error));
    this.#socket.on('close', () => this.close(new Error('the server closed the connection')));
  }

  /** Questions were sent, and nothing has come for longer than any of them waits. */
  get isStalled(): boolean {
    return this.#silentSinceMs !== undefined && performance.now() - this.#silentSinceMs > STALLED_MS;
  }

  send(bytes: Buffer): void {
    this.#silentSinceMs ??= performance.now();
    this.#socket.write(frame(bytes));
  }

  #onMessage(bytes: Buffer): void {
    const pending = this.pending.takeAnswered(bytes);
    if (pending === undefined) return;
    this.hasAnswered = true;
    pending.asker.onAnswer(Buffer.from(bytes));
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#socket.destroy();
    this.pending.fail(error);
  }
}

/** A question on its way; sent a second time when the connection had answered before and was then closed. */
class StreamQuestion implements Asker {
  readonly #open: () => Connection;
  readonly #query: Buffer;
  readonly #asker: Asker;
  #sent: { readonly on: Connection; readonly as: Pending; readonly mayRepeat: boolean } | undefined;

  constructor(open: () => Connection, query: Buffer, asker: Asker) {
    this.#open = open;
    this.#query = query;
    this.#asker = asker;
  }

  /** Throws when the connection has no ID left. */
  send(isRepeated = false): void {
    const on = this.#open();
    const as = on.pending.add(this.#query, this);
    this.#sent = { on, as, mayRepeat: on.hasAnswered && !isRepeated };
    on.send(as.query);
  }

  cancel(): void {
    if (this.#sent) this.#sent.on.pending.remove(this.#sent.as);
  }

  onAnswer(answer: Buffer): void {
    this.#asker.onAnswer(answer);
  }

  onError(error: Error): void {
    // RFC 7766 §6.2.4: a connection closed while idle says nothing about the server.
    if (this.#sent?.mayRepeat !== true) return this.#asker.onError(error);
    try {
      this.send(true);
    } catch (cause) {
      this.#asker.onError(cause as Error);
    }
  }
}

export class StreamChannel {
  readonly #upstream: Upstream;
  #connection: Connection | undefined;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return this.#connection?.pending.size ?? 0;
  }

  /** Sends a copy of `query` under a random ID. Returns what stops waiting. Throws when no ID is free. */
  ask(query: Buffer, asker: Asker): () => void {
    const question = new StreamQuestion(() => this.#open(), query, asker);
    question.send();
    return () => question.cancel();
  }

  close(): void {
    this.#connection?.close(new Error('the upstream is no longer used'));
    this.#connection = undefined;
  }

  #open(): Connection {
    if (this.#connection?.isStalled) this.#connection.close(new Error('the server has fallen silent'));
    if (this.#connection === undefined || this.#connection.isClosed) this.#connection = new Connection(this.#upstream);
    return this.#connection;
  }
}
