// SPDX-License-Identifier: Apache-2.0
// The upstream resolvers as one: asks the healthiest, then the others, and is done within a budget whatever they do.
// TC=1 is asked again over TCP (RFC 2181 §9, RFC 7766 §5); servers without EDNS are asked without (RFC 6891 §7).

import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import type { Upstream } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';
import { rcodeLabel, type DnsObserver } from './observer.ts';
import type { UpstreamQuery } from './query.ts';
import { StreamChannel } from './upstream-stream.ts';
import { UdpChannel } from './upstream-udp.ts';
import { FLAG, HEADER_LENGTH, RCODE, TYPE, rcodeOf, readMessage, type Message } from './wire.ts';

/** When the next attempt starts if the ones before are silent, in milliseconds from the first. */
const ATTEMPT_AT_MS = [0, 350, 800, 1250];
const FAILURES_UNTIL_DOWN = 2;
const MAX_DOWN_MS = 30_000;
/** How long an upstream that led back here is left alone: routes and addresses change. */
const OURSELVES_MS = 60_000;

function isServerError(rcode: number): boolean {
  return rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN;
}

/** A question put to one server. */
interface Asked {
  cancel(): void;
  /** What waits on a connection need not be sent again: nothing is lost there. */
  isOnStream(): boolean;
}

class Server {
  readonly label: string;
  readonly endpoint: Endpoint;
  failures = 0;
  downUntilMs = 0;
  ourselvesUntilMs = 0;
  readonly udp: UdpChannel | undefined;
  readonly #stream: StreamChannel;
  readonly #observer: DnsObserver;
  #refusesEdns = false;

  constructor(upstream: Upstream, observer: DnsObserver) {
    this.endpoint = upstream.endpoint;
    this.label = formatEndpoint(upstream.endpoint);
    this.udp = upstream.kind === 'tls' ? undefined : new UdpChannel(upstream.endpoint);
    this.#stream = new StreamChannel(upstream);
    this.#observer = observer;
  }

  get pending(): number {
    return (this.udp?.pending ?? 0) + this.#stream.pending;
  }

  /** `done` is called once at most; never after the question was cancelled. */
  ask(query: UpstreamQuery, done: (result: Message | Error) => void): Asked {
    let isOnStream = false;
    const startedAt = performance.now();
    let cancel: (() => void) | undefined;
    let isWithoutOpt = this.#refusesEdns && query.withoutOpt !== undefined;
    const finish = (result: Message | Error, outcome: string) => {
      this.#observer.upstream(this.label, outcome, (performance.now() - startedAt) / 1000);
      done(result);
    };
    const fail = (error: Error) => {
      this.miss();
      finish(error, 'refused');
    };
    const onAnswer = (bytes: Buffer, isStream: boolean) => {
      if (!isStream && bytes.length >= HEADER_LENGTH && bytes.readUInt16BE(2) & FLAG.TC) return send(true);
      let message: Message;
      try {
        message = readMessage(bytes.readUInt16BE(4) === 0 ? withQuestion(bytes, query.bytes) : bytes);
      } catch (error) {
        this.miss();
        return finish(error as Error, 'malformed');
      }
      this.failures = 0;
      this.downUntilMs = 0;
      const rcode = rcodeOf(message);
      if ((rcode === RCODE.FORMERR || rcode === RCODE.NOTIMP) && !isWithoutOpt && query.withoutOpt !== undefined) {
        if (!message.records.some((record) => record.type === TYPE.OPT)) {
          isWithoutOpt = true;
          return send(isStream);
        }
      } else if (isWithoutOpt && !isServerError(rcode)) {
        this.#refusesEdns = true;
      }
      return finish(message, rcodeLabel(rcode));
    };
    const send = (isStream: boolean) => {
      const bytes = isWithoutOpt && query.withoutOpt !== undefined ? query.withoutOpt : query.bytes;
      const channel = isStream || this.udp === undefined ? this.#stream : this.udp;
      isOnStream = channel === this.#stream;
      try {
        cancel = channel.ask(bytes, { onAnswer: (answer) => onAnswer(answer, isOnStream), onError: fail });
      } catch (error) {
        // No ID or file descriptor left, for instance: as if the server had refused, but nothing to hold against it.
        finish(error as Error, 'refused');
      }
    };
    send(this.udp === undefined);
    return { cancel: () => cancel?.(), isOnStream: () => isOnStream };
  }

  miss(): void {
    this.failures++;
    if (this.failures < FAILURES_UNTIL_DOWN) return;
    this.downUntilMs = performance.now() + Math.min(MAX_DOWN_MS, 500 * 2 ** Math.min(this.failures, 10));
  }

  close(): void {
    this.udp?.close();
    this.#stream.close();
  }
}

function withQuestion(header: Buffer, query: Buffer): Buffer {
  let end = HEADER_LENGTH;
  while (query[end] !== 0) end += (query[end] as number) + 1;
  const bytes = Buffer.from(query.subarray(0, end + 5));
  header.copy(bytes, 0, 0, 4);
  bytes.fill(0, 6, HEADER_LENGTH);
  return bytes;
}

export class UpstreamPool {
  readonly #servers: readonly Server[];
  readonly #observer: DnsObserver;

  constructor(upstreams: readonly Upstream[], observer: DnsObserver) {
    this.#servers = upstreams.map((upstream) => new Server(upstream, observer));
    this.#observer = observer;
  }

  get size(): number {
    return this.#servers.length;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return this.#servers.reduce((sum, server) => sum + server.pending, 0);
  }

  /** Rejects with G64_DNS_UPSTREAM after `budgetMs` at the latest. Error RCODEs of all servers resolve: they are answers. */
  exchange(query: UpstreamQuery, budgetMs: number): Promise<Message> {
    return new Promise((resolve, reject) => {
      const servers = this.#order();
      const startedAt = performance.now();
      const asked: { readonly server: Server; readonly question: Asked }[] = [];
      const silent = new Set<Server>();
      const missed = new Set<Server>();
      let attempts = 0;
      let errorAnswer: Message | undefined;
      let lastError: unknown;
      let timer: NodeJS.Timeout | undefined;
      let isSettled = false;

      const miss = () => {
        for (const server of silent) {
          if (!missed.has(server)) server.miss();
          missed.add(server);
        }
      };
      const settle = (isTimeout: boolean, message?: Message) => {
        if (isSettled) return;
        isSettled = true;
        clearTimeout(timer);
        for (const { question } of asked) question.cancel();
        if (isTimeout) {
          miss();
          for (const server of silent) this.#observer.upstream(server.label, 'timeout', budgetMs / 1000);
        }
        const outcome = message ?? errorAnswer;
        if (outcome) resolve(outcome);
        else reject(this.#failure(lastError, budgetMs));
      };
      const attempt = () => {
        const server = servers[attempts % servers.length] as Server;
        attempts++;
        const isWaiting = (one: (typeof asked)[number]) => one.server === server && one.question.isOnStream();
        if (silent.has(server) && asked.some(isWaiting)) return;
        silent.add(server);
        const onResult = (result: Message | Error) => {
          if (isSettled) return;
          silent.delete(server);
          if (result instanceof Error) {
            lastError = result;
          } else if (isServerError(rcodeOf(result))) {
            errorAnswer ??= result;
          } else {
            settle(false, result);
            return;
          }
          if (attempts < servers.length) next();
          else if (silent.size === 0) settle(false);
        };
        asked.push({ server, question: server.ask(query, onResult) });
      };
      const next = () => {
        clearTimeout(timer);
        attempt();
        schedule();
      };
      const schedule = () => {
        clearTimeout(timer);
        if (isSettled) return;
        const elapsedMs = performance.now() - startedAt;
        const nextAtMs =
          attempts < Math.max(ATTEMPT_AT_MS.length, servers.length) ? nextStart(attempts, elapsedMs) : budgetMs;
        const isLast = nextAtMs >= budgetMs;
        timer = setTimeout(
          () => {
            if (isLast) return settle(true);
            // Silence counts against a server only where another can be asked instead.
            if (servers.length > 1) miss();
            next();
          },
          Math.max(1, Math.min(nextAtMs, budgetMs) - elapsedMs),
        );
      };

      if (servers.length === 0) {
        settle(false);
        return;
      }
      attempt();
      schedule();
    });
  }

  /** Marks the upstream whose query has come back to our own listener; it is not asked again for a while. */
  noteLoop(port: number, query: Buffer): boolean {
    for (const server of this.#servers) {
      if (server.udp === undefined) continue;
      // Before its exchange fails, so that the next attempt does not choose it again.
      const before = server.ourselvesUntilMs;
      server.ourselvesUntilMs = performance.now() + OURSELVES_MS;
      if (server.udp.failOwn(port, query)) return true;
      server.ourselvesUntilMs = before;
    }
    return false;
  }

  close(): void {
    for (const server of this.#servers) server.close();
  }

  /** In the configured order, those that lately failed last. */
  #order(): Server[] {
    const now = performance.now();
    const usable = this.#servers.filter((server) => server.ourselvesUntilMs <= now);
    return [
      ...usable.filter((server) => server.downUntilMs <= now),
      ...usable.filter((server) => server.downUntilMs > now).sort((a, b) => a.downUntilMs - b.downUntilMs),
    ];
  }

  #failure(cause: unknown, budgetMs: number): Gate64Error {
    const names = this.#servers.map(
      (server) => server.label + (server.ourselvesUntilMs > performance.now() ? ' (which is gate64 itself)' : ''),
    );
    const hint = 'check dns.upstreams, and that these resolvers can be reached from this host';
    if (names.length === 0) {
      return new Gate64Error('G64_DNS_UPSTREAM', 'there is no upstream resolver to ask', { hint });
    }
    return new Gate64Error('G64_DNS_UPSTREAM', `no answer within ${budgetMs} ms from ${names.join(', ')}`, {
      cause,
      hint,
    });
  }
}

function nextStart(attempts: number, elapsedMs: number): number {
  return ATTEMPT_AT_MS[attempts] ?? elapsedMs + 200;
}
