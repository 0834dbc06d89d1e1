// SPDX-License-Identifier: Apache-2.0
// One connection to an upstream over TCP or TLS, and the questions that wait on it (RFC 7766, RFC 7858).

import { connect, type Socket } from 'node:net';
import { connect as connectTls, type SecureContext } from 'node:tls';
import type { Upstream } from '../config/config.ts';
import { FrameReader, frame } from './frames.ts';
import { PendingTable, type Asker, type Pending } from './pending.ts';
import { TlsFailure, tlsOptions } from './upstream-tls.ts';

/** Below the 10 s after which many servers close, so that a question seldom meets a closing connection. */
const IDLE_MS = 5000;
const KEEP_ALIVE_MS = 1000;
/** As long as the first attempt of an exchange: who says nothing for that long gets no further question. */
const SILENT_MS = 350;
/** Longer than any question waits. */
const GIVEN_UP_MS = 2000;
const MAX_IN_FLIGHT = 128;
/** What a server that does not read may leave with us, beyond what the kernel holds. */
const MAX_UNSENT_OCTETS = 64 * 1024;

/** What a connection tells the channel that opened it. */
export interface ConnectionEvents {
  /** It has answered, or has been closed: something else may be asked. */
  readonly onChange: () => void;
  /** Questions wait, and nothing has come for as long as the first attempt of an exchange lasts. */
  readonly onSilence: () => void;
}

export class Connection<A extends Asker> {
  readonly pending = new PendingTable<A>();
  /** For a question that others must not wait behind; until it has answered. */
  isApart = false;
  isClosed = false;
  /** TCP, and TLS where that is asked for, stand. */
  isOpen = false;
  isSilent = false;
  /** Questions put on it, and answers that came. */
  asked = 0;
  answered = 0;
  readonly #socket: Socket;
  readonly #events: ConnectionEvents;
  /** When the first question was sent after the last sign of life. */
  #silentSinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** Over TLS with `context`. */
  constructor(upstream: Upstream, context: SecureContext | undefined, events: ConnectionEvents) {
    const { host, port } = upstream.endpoint;
    this.#events = events;
    this.#socket = context ? connectTls(tlsOptions(upstream, context)) : connect({ host, port });
    let isConnected = false;
    this.#socket.setNoDelay(true);
    this.#socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.#socket.unref();
    this.#socket.setTimeout(IDLE_MS, () => {
      if (this.pending.size === 0) this.close(new Error('the connection was idle'));
    });
    const reader = new FrameReader();
    this.#socket.on('connect', () => {
      isConnected = true;
      this.isOpen = context === undefined;
      this.#onLife();
    });
    this.#socket.on('secureConnect', () => {
      this.isOpen = true;
      this.#onLife();
    });
    this.#socket.on('data', (chunk: Buffer) => {
      this.#onLife();
      reader.push(chunk, (message) => this.#onMessage(message));
    });
    this.#socket.on('error', (error) =>
      this.close(isConnected && !this.isOpen ? new TlsFailure(error.message, { cause: error }) : error),
    );
    this.#socket.on('end', () => this.close(new Error('the server closed the connection')));
    this.#socket.on('close', () => this.close(new Error('the server closed the connection')));
  }

  get takesMore(): boolean {
    return !this.isSilent && !this.isApart && this.pending.size < MAX_IN_FLIGHT && this.reads;
  }

  /** What is written leaves. */
  get reads(): boolean {
    return !this.isClosed && this.#socket.writableLength < MAX_UNSENT_OCTETS;
  }

  /** Sends a copy of `query` under a random ID. */
  ask(query: Buffer, asker: A): Pending<A> {
    const pending = this.pending.add(query, asker);
    this.asked++;
    this.#silentSinceMs ??= performance.now();
    this.#lookIn(SILENT_MS);
    this.#socket.write(frame(pending.query));
    return pending;
  }

  /** Nobody waits for it any more. What has left a question unanswered is not asked another one. */
  forget(pending: Pending<A>): void {
    this.pending.remove(pending);
    if (this.isSilent && this.pending.size === 0) this.close(new Error('the server has fallen silent'));
  }

  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.#timer);
    this.#socket.destroy();
    this.pending.fail(error);
    this.#events.onChange();
  }

  #onLife(): void {
    this.isSilent = false;
    this.#silentSinceMs = this.pending.size > 0 ? performance.now() : undefined;
  }

  #look(): void {
    this.#timer = undefined;
    if (this.isClosed || this.#silentSinceMs === undefined) return;
    const silentMs = performance.now() - this.#silentSinceMs;
    if (silentMs >= GIVEN_UP_MS || (silentMs >= SILENT_MS && this.pending.size === 0)) {
      return this.close(new Error('the server has fallen silent'));
    }
    this.#lookIn((silentMs < SILENT_MS ? SILENT_MS : GIVEN_UP_MS) - silentMs);
    if (silentMs < SILENT_MS || this.isSilent) return;
    this.isSilent = true;
    this.#events.onSilence();
  }

  /** After what has come meanwhile is read: this process may have been busy itself. */
  #lookIn(delayMs: number): void {
    this.#timer ??= setTimeout(() => setImmediate(() => this.#look()), Math.ceil(delayMs)).unref();
  }

  #onMessage(bytes: Buffer): void {
    const pending = this.pending.takeAnswered(bytes);
    if (pending === undefined) return;
    this.answered++;
    this.isApart = false;
    if (this.pending.size === 0) this.#silentSinceMs = undefined;
    pending.asker.onAnswer(Buffer.from(bytes));
    this.#events.onChange();
  }
}
