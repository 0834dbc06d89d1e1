// SPDX-License-Identifier: Apache-2.0
// The questions that one socket or connection waits for: their IDs, and which of them a message answers.

import { freeId } from './message-id.ts';
import { FLAG, HEADER_LENGTH, sameQuestion } from './wire.ts';

/** Who asked: hears of one answer or one error, and of nothing once the question is removed. */
export interface Asker {
  onAnswer(answer: Buffer): void;
  onError(error: Error): void;
}

/** A question that was put to a server. */
export interface Asked {
  /** Nobody waits for it any more: its asker hears of nothing. */
  cancel(): void;
}

export interface Pending<A extends Asker = Asker> {
  readonly id: number;
  /** What is sent: the question under its ID. */
  readonly query: Buffer;
  readonly asker: A;
}

export class PendingTable<A extends Asker = Asker> {
  readonly #entries = new Map<number, Pending<A>>();

  get size(): number {
    return this.#entries.size;
  }

  /** Who waits, the longest first. */
  askers(): A[] {
    return [...this.#entries.values()].map(({ asker }) => asker);
  }

  /** Copies `query` and gives it a random free ID. Throws when 65 536 questions are waiting already. */
  add(query: Buffer, asker: A): Pending<A> {
    const id = freeId(this.#entries);
    if (id === undefined) throw new Error('too many questions are waiting for this server');
    const bytes = Buffer.from(query);
    bytes.writeUInt16BE(id, 0);
    const pending = { id, query: bytes, asker };
    this.#entries.set(id, pending);
    return pending;
  }

  /** False when it has been settled before: its ID may be another question's by now. */
  remove(pending: Pending<A>): boolean {
    if (this.#entries.get(pending.id) !== pending) return false;
    this.#entries.delete(pending.id);
    return true;
  }

  /** Removes and returns the question that `message` answers. RFC 5452 §9.1: it must match in every respect. */
  takeAnswered(message: Buffer): Pending<A> | undefined {
    if (message.length < HEADER_LENGTH || (message.readUInt16BE(2) & FLAG.QR) === 0) return undefined;
    return this.#take(message, answers);
  }

  /** Removes and returns the question that `query` is. */
  takeAsked(query: Buffer): Pending<A> | undefined {
    return this.#take(query, sameQuestion);
  }

  #take(message: Buffer, matches: (message: Buffer, query: Buffer) => boolean): Pending<A> | undefined {
    const pending = this.#entries.get(message.readUInt16BE(0));
    if (pending === undefined || !matches(message, pending.query)) return undefined;
    this.remove(pending);
    return pending;
  }

  /** Ends every question with `error`. */
  fail(error: Error): void {
    // An asker may remove others while this runs; the map's iterator passes over them.
    for (const pending of this.#entries.values()) {
      this.remove(pending);
      pending.asker.onError(error);
    }
  }
}

/** A bare header with an error is what servers send that could not read the question (FORMERR above all). */
function answers(answer: Buffer, query: Buffer): boolean {
  if (answer.length === HEADER_LENGTH && answer.readUInt16BE(4) === 0 && ((answer[3] as number) & 15) !== 0)
    return true;
  return answer.readUInt16BE(4) === 1 && sameQuestion(answer, query);
}
