// SPDX-License-Identifier: Apache-2.0
// The upstream resolvers as one: asks the healthiest, then the others, and is done within a budget whatever they do.

import type { Upstream } from '../config/config.ts';
import { Exchange } from './exchange.ts';
import type { DnsObserver } from './observer.ts';
import type { UpstreamQuery } from './query.ts';
import { openDgram } from './upstream-dgram.ts';
import { UpstreamServer } from './upstream-server.ts';
import type { OpenUpstreamSocket } from './upstream-socket.ts';
import type { Message } from './wire.ts';

/** Questions still in flight at a server that leaves the list get the time that any question gets. */
const GRACE_MS = 2000;

export class UpstreamPool {
  /** What servers are asked by over UDP that come into the list from now on. */
  openSocket: OpenUpstreamSocket = openDgram;
  readonly #observer: DnsObserver;
  readonly #onReason: (server: UpstreamServer) => void;
  #servers: readonly UpstreamServer[] = [];
  /** No longer asked, with the timer that closes them. */
  readonly #leaving = new Map<UpstreamServer, NodeJS.Timeout>();

  /** `onReason` hears when the reason changes why a server cannot be asked. */
  constructor(upstreams: readonly Upstream[], observer: DnsObserver, onReason?: (server: UpstreamServer) => void) {
    this.#observer = observer;
    this.#onReason = onReason ?? (() => {});
    this.replace(upstreams);
  }

  get size(): number {
    return this.#servers.length;
  }

  /** Questions sent and neither answered nor cancelled. */
  get pending(): number {
    return this.#all().reduce((sum, server) => sum + server.pending, 0);
  }

  /** Those that could not be asked the last time, with why. */
  get failing(): { readonly upstream: string; readonly reason: string }[] {
    return this.#servers.flatMap(({ label, reason }) => (reason === undefined ? [] : [{ upstream: label, reason }]));
  }

  /**
   * Asks `upstreams` from now on. Those that were there before keep their connections, and what is known of them; those
   * over TLS if `authorities` (PEM) are the same too.
   */
  replace(upstreams: readonly Upstream[], authorities: readonly string[] = []): void {
    const before = this.#all();
    this.#servers = upstreams.map((upstream) => {
      const at = before.findIndex((server) => server.isFor(upstream, authorities));
      return (
        before.splice(at, at < 0 ? 0 : 1)[0] ??
        new UpstreamServer(upstream, authorities, this.openSocket, this.#onReason)
      );
    });
    for (const server of this.#servers) {
      server.forgetLoop();
      clearTimeout(this.#leaving.get(server));
      this.#leaving.delete(server);
    }
    for (const server of before) if (!this.#leaving.has(server)) this.#leave(server);
  }

  /** Undefined when no server has answered within `budgetMs`. Error RCODEs of all servers are answers. */
  exchange(query: UpstreamQuery, budgetMs: number): Promise<Message | undefined> {
    return new Exchange(this.#order(), query, budgetMs, this.#observer).run();
  }

  /** Marks the upstream whose query has come back to our own listener; when that happens again it is not asked again for a while. */
  noteLoop(port: number, query: Buffer, address?: string): boolean {
    return this.#all().some((server) => server.noteLoop(port, query, address));
  }

  close(): void {
    for (const timer of this.#leaving.values()) clearTimeout(timer);
    for (const server of this.#all()) server.close();
    this.#leaving.clear();
  }

  #all(): UpstreamServer[] {
    return [...this.#servers, ...this.#leaving.keys()];
  }

  #leave(server: UpstreamServer): void {
    const close = () => {
      this.#leaving.delete(server);
      server.close();
    };
    this.#leaving.set(server, setTimeout(close, GRACE_MS).unref());
  }

  /** In the configured order, those that lately failed last. */
  #order(): readonly UpstreamServer[] {
    const now = performance.now();
    if (this.#servers.every((server) => server.downUntilMs === 0 && !server.isOurselves)) return this.#servers;
    const usable = this.#servers.filter((server) => !server.isOurselves);
    return [
      ...usable.filter((server) => server.downUntilMs <= now),
      ...usable.filter((server) => server.downUntilMs > now).sort((a, b) => a.downUntilMs - b.downUntilMs),
    ];
  }
}
