// SPDX-License-Identifier: Apache-2.0
// Asks one upstream over TCP or TLS by as many connections as the load needs (RFC 7766 §6.2.2). Servers that answer one
// question after the other, that close after an answer, or that leave one unanswered, keep nobody else waiting.

import type { SecureContext } from 'node:tls';
import type { Upstream } from '../config/config.ts';
import type { Asked, Asker, Pending } from './pending.ts';
import { Connection } from './upstream-connection.ts';

/** Connections that questions are put on. */
const MAX_LIVE = 8;
/** With those that have fallen silent, and those for a question that nobody else is to wait behind. */
const MAX_CONNECTIONS = 16;
/** A and AAAA of one name go together; more questions on their way are worth a further connection. */
const SHARED_BY = 2;
/** How often a question is asked again whose connection was closed without answering anything meanwhile. */
const MAX_LOSSES = 2;
const MAX_QUEUED = 40_000;
/** How long a server that closes after one answer gets one question a connection. */
const ONE_EACH_MS = 10_000;

/** A question of one asker, on one connection or several: the first answer is taken. */
class StreamQuestion implements Asked {
  readonly #onCancel: (question: StreamQuestion) => void;
  readonly query: Buffer;
  readonly asker: Asker;
  readonly places = new Map<Connection<Place>, Pending<Place>>();
  losses = 0;
  /** Asked once more on a connection of its own. */
  isSuspect = false;

  constructor(query: Buffer, asker: Asker, onCancel: (question: StreamQuestion) => void) {
    this.query = query;
    this.asker = asker;
    this.#onCancel = onCancel;
  }

  cancel(): void {
    this.#onCancel(this);
    this.leave();
  }

  leave(): void {
    for (const [connection, pending] of this.places) connection.forget(pending);
    this.places.clear();
  }
}

/** A question on one connection. */
class Place implements Asker {
  readonly question: StreamQuestion;
  readonly connection: Connection<Place>;
  readonly #answeredBefore: number;
  readonly #onLost: (place: Place, error: Error) => void;

  constructor(question: StreamQuestion, connection: Connection<Place>, onLost: (place: Place, error: Error) => void) {
    this.question = question;
    this.connection = connection;
    this.#answeredBefore = connection.answered;
    this.#onLost = onLost;
  }

  /** Whether the connection has answered others while this question waited. */
  get hasSeenAnswers(): boolean {
    return this.connection.answered > this.#answeredBefore;
  }

  onAnswer(answer: Buffer): void {
    this.question.places.delete(this.connection);
    this.question.leave();
    this.question.asker.onAnswer(answer);
  }

  onError(error: Error): void {
    this.question.places.delete(this.connection);
    if (this.question.places.size === 0) this.#onLost(this, error);
  }
}

export class StreamChannel {
  readonly #upstream: Upstream;
  readonly #context: SecureContext | undefined;
  #connections: Connection<Place>[] = [];
  /** Those that wait for room. */
  readonly #queue = new Set<StreamQuestion>();
  #oneEachUntilMs = 0;
  /** A connection has ended without a word, and none has answered since: one at a time is tried. */
  #isDoubted = false;
  #isClosed = false;
  readonly #unqueue = (question: StreamQuestion) => void this.#queue.delete(question);

  /** By TLS with `context`. */
  constructor(upstream: Upstream, context?: SecureContext) {
    this.#upstream = upstream;
    this.#context = context;
  }

  /** Questions that are neither answered nor cancelled; one that is on two connections counts twice. */
  get pending(): number {
    return this.#connections.reduce((sum, connection) => sum + connection.pending.size, this.#queue.size);
  }

  /** Sends a copy of `query` under a random ID. Throws when the server takes no more. */
  ask(query: Buffer, asker: Asker): Asked {
    const question = new StreamQuestion(query, asker, this.#unqueue);
    this.#place(question);
    return question;
  }

  close(): void {
    this.#isClosed = true;
    const error = new Error('the upstream is no longer used');
    const queued = [...this.#queue];
    this.#queue.clear();
    for (const connection of this.#connections) connection.close(error);
    for (const { asker } of queued) asker.onError(error);
  }

  /** On a connection, or in the queue. Throws when neither takes it. */
  #place(question: StreamQuestion): void {
    const connection = this.#pick();
    if (connection) return this.#put(question, connection);
    if (!this.#isAlive || this.#queue.size >= MAX_QUEUED) {
      throw new Error('too many questions are waiting for this server');
    }
    this.#queue.add(question);
  }

  #put(question: StreamQuestion, connection: Connection<Place>): void {
    const place = new Place(question, connection, (lost, error) => this.#onLost(lost, error));
    question.places.set(connection, connection.ask(question.query, place));
  }

  /** Whether room is to be expected: some connection takes what is written, and answers. */
  get #isAlive(): boolean {
    return this.#connections.some((connection) => !connection.isSilent && connection.reads);
  }

  get #isOneEach(): boolean {
    return this.#oneEachUntilMs > performance.now();
  }

  #pick(): Connection<Place> | undefined {
    if (this.#isClosed) throw new Error('the upstream is no longer used');
    this.#connections = this.#connections.filter(({ isClosed }) => !isClosed);
    const isOneEach = this.#isOneEach;
    const usable = this.#connections.filter(({ takesMore, asked }) => takesMore && !(isOneEach && asked > 0));
    const free = usable.find(({ pending }) => pending.size < SHARED_BY);
    if (free) return free;
    const live = this.#connections.filter(({ isSilent, isApart }) => !isSilent && !isApart).length;
    if (live < (this.#isDoubted ? 1 : MAX_LIVE) && this.#connections.length < MAX_CONNECTIONS) return this.#connect();
    return usable.sort((a, b) => a.pending.size - b.pending.size)[0];
  }

  #connect(): Connection<Place> {
    const connection: Connection<Place> = new Connection<Place>(this.#upstream, this.#context, {
      onChange: () => this.#onChange(connection),
      onSilence: () => this.#onSilence(connection),
    });
    this.#connections.push(connection);
    return connection;
  }

  #onChange(connection: Connection<Place>): void {
    if (!connection.isClosed) this.#isDoubted = false;
    else if (connection.isSilent && connection.answered === 0) this.#isDoubted = true;
    const isSpent = connection.answered > 0 && connection.pending.size === 0 && this.#isOneEach;
    if (!connection.isClosed && isSpent) return connection.close(new Error('the server answers once a connection'));
    if (this.#isClosed) return;
    this.#connections = this.#connections.filter(({ isClosed }) => !isClosed);
    this.#drain();
  }

  /** What waits behind a question that is not answered goes elsewhere; that one is asked where it holds up nobody. */
  #onSilence(connection: Connection<Place>): void {
    const [first, ...behind] = connection.pending.askers();
    if (first && !first.question.isSuspect && this.#connections.length < MAX_CONNECTIONS) {
      first.question.isSuspect = true;
      const apart = this.#connect();
      apart.isApart = true;
      this.#put(first.question, apart);
    }
    for (const { question } of behind) {
      const other = this.#pick();
      if (other === undefined) break;
      if (!question.places.has(other)) this.#put(question, other);
    }
    this.#drain();
  }

  /** RFC 7766 §6.2.4: a connection that is closed says nothing about its questions. */
  #onLost({ question, connection, hasSeenAnswers }: Place, error: Error): void {
    // Nothing listens there, or it is not believed: to ask again at once would end the same.
    if (this.#isClosed || !connection.isOpen) return question.asker.onError(error);
    if (hasSeenAnswers && connection.answered === 1) this.#oneEachUntilMs = performance.now() + ONE_EACH_MS;
    if (!hasSeenAnswers && question.losses++ >= MAX_LOSSES) return question.asker.onError(error);
    try {
      this.#place(question);
    } catch (cause) {
      question.asker.onError(cause as Error);
    }
  }

  #drain(): void {
    for (const question of this.#queue) {
      const connection = this.#pick();
      if (connection === undefined) return;
      this.#queue.delete(question);
      this.#put(question, connection);
    }
  }
}
