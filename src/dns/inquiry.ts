// SPDX-License-Identifier: Apache-2.0
// One question put to one server until there is an answer to use: TC=1 is asked again over TCP (RFC 2181 §9, RFC 7766
// §5), servers without EDNS are asked without (RFC 6891 §7).

import { rcodeLabel, type DnsObserver } from './observer.ts';
import type { Asked, Asker } from './pending.ts';
import { withoutOpt, type UpstreamQuery } from './query.ts';
import type { UpstreamServer } from './upstream-server.ts';
import { TlsFailure } from './upstream-tls.ts';
import {
  FLAG,
  HEADER_LENGTH,
  RCODE,
  TYPE,
  isServerError,
  rcodeOf,
  readMessage,
  skipQuestionName,
  type Message,
} from './wire.ts';

export interface InquiryOwner {
  /** Once at most for an inquiry; never after `cancel`. */
  onResult(server: UpstreamServer, result: Message | Error): void;
}

export class Inquiry implements Asker {
  readonly server: UpstreamServer;
  readonly #query: UpstreamQuery;
  readonly #observer: DnsObserver;
  readonly #owner: InquiryOwner;
  readonly #startedAt = performance.now();
  #state: 'waiting' | 'settled' = 'waiting';
  #isOnStream: boolean;
  #isWithoutOpt: boolean;
  #asked: Asked | undefined;

  /** `isLastResort`: without EDNS, which some drop. */
  constructor(
    server: UpstreamServer,
    query: UpstreamQuery,
    observer: DnsObserver,
    owner: InquiryOwner,
    isLastResort = false,
  ) {
    this.server = server;
    this.#query = query;
    this.#observer = observer;
    this.#owner = owner;
    this.#isOnStream = server.udp === undefined;
    this.#isWithoutOpt = (server.refusesEdns || isLastResort) && query.optAt !== undefined;
  }

  /** It waits on a live connection, where nothing is lost: to ask the same again there would only add to the load. */
  get holdsConnection(): boolean {
    return this.#state === 'waiting' && this.#isOnStream;
  }

  send(): void {
    const { udp, stream } = this.server;
    const bytes = this.#isWithoutOpt ? withoutOpt(this.#query) : this.#query.bytes;
    try {
      this.#asked = (this.#isOnStream || udp === undefined ? stream : udp).ask(bytes, this);
    } catch (error) {
      // No ID or file descriptor left, for instance: as if the server had refused, but nothing to hold against it.
      this.#finish(error as Error, 'refused');
    }
  }

  cancel(): void {
    this.#state = 'settled';
    this.#asked?.cancel();
  }

  onAnswer(bytes: Buffer): void {
    if (!this.#isOnStream && bytes.readUInt16BE(2) & FLAG.TC) {
      this.#isOnStream = true;
      this.send();
      return;
    }
    let message: Message;
    try {
      message = readMessage(bytes.readUInt16BE(4) === 0 ? withQuestion(bytes, this.#query.bytes) : bytes);
    } catch (error) {
      this.server.noteMiss();
      this.#finish(error as Error, 'malformed');
      return;
    }
    this.server.noteAnswer();
    const rcode = rcodeOf(message);
    if (!this.#isWithoutOpt && this.#query.optAt !== undefined && knowsNoEdns(message, rcode)) {
      this.#isWithoutOpt = true;
      this.send();
      return;
    }
    if (this.#isWithoutOpt && !isServerError(rcode)) this.server.noteEdns(false);
    if (!this.#isWithoutOpt && message.records.some(({ type }) => type === TYPE.OPT)) this.server.noteEdns(true);
    this.#finish(message, rcodeLabel(rcode));
  }

  onError(error: Error): void {
    this.server.noteMiss(error.message);
    this.#finish(error, error instanceof TlsFailure ? 'tls' : 'refused');
  }

  #finish(result: Message | Error, label: string): void {
    this.#state = 'settled';
    this.#observer.upstream(this.server.label, label, (performance.now() - this.#startedAt) / 1000);
    this.#owner.onResult(this.server, result);
  }
}

/** RFC 6891 §7: FORMERR or NOTIMP without an OPT of its own. */
function knowsNoEdns(message: Message, rcode: number): boolean {
  return (
    (rcode === RCODE.FORMERR || rcode === RCODE.NOTIMP) && !message.records.some((record) => record.type === TYPE.OPT)
  );
}

/** A bare header as an empty answer to the question of `query`. */
function withQuestion(header: Buffer, query: Buffer): Buffer {
  const bytes = Buffer.from(query.subarray(0, skipQuestionName(query) + 4));
  header.copy(bytes, 0, 0, 4);
  bytes.fill(0, 6, HEADER_LENGTH);
  return bytes;
}
