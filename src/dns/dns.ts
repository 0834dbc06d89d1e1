// SPDX-License-Identifier: Apache-2.0
// The DNS half as service.ts sees it: listeners, forwarder, cache and upstreams, started, changed and stopped as one.

import { networkInterfaces } from 'node:os';
import { formatEndpoint, type Endpoint, type Ip4Net, type Ip6Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { Upstream } from '../config/config.ts';
import { AnswerCache, type Clock } from './cache.ts';
import { Forwarder } from './forwarder.ts';
import { isWildcard } from './listener-wildcard.ts';
import type { Listener, QueryHandler } from './listener.ts';
import { openListeners } from './listeners.ts';
import { SILENT_OBSERVER, type DnsObserver, type Transport } from './observer.ts';
import { RESOLV_CONF, readResolvConf, watchResolvConf } from './resolv-conf.ts';
import { UpstreamPool } from './upstream.ts';

export interface DnsOptions {
  readonly prefixes: readonly Prefix64[];
  /** UDP and TCP each. Port 0 takes a free one. */
  readonly listen: readonly Endpoint[];
  readonly upstreams: readonly Upstream[] | 'resolv.conf';
  readonly resolvConfPath?: string | undefined;
  readonly translateAll: boolean;
  readonly excludeAaaa: readonly Ip6Net[];
  readonly allowNonGlobalIpv4: readonly Ip4Net[];
  readonly cache: { readonly maxEntries: number };
  readonly observer?: DnsObserver | undefined;
  /** A name has led to an IPv4 address by synthesis; it may be used for `ttlSeconds`. */
  readonly onSynthesized?: ((name: string, v4: number, ttlSeconds: number) => void) | undefined;
  /** Milliseconds on a monotonic clock, for the cache's TTLs. */
  readonly now?: Clock | undefined;
}

export interface DnsListener {
  readonly protocol: Transport;
  readonly address: string;
  readonly port: number;
}

export interface DnsStats {
  readonly cacheEntries: number;
  /** Queries waiting for upstream. */
  readonly inFlight: number;
  readonly upstreams: readonly string[];
}

export interface Dns {
  readonly listeners: readonly DnsListener[];
  readonly stats: DnsStats;
  /** Listening, with at least one upstream to ask. */
  ready(): boolean;
  /** New prefixes, upstreams and addresses take effect at once; the cache starts empty. Throws G64_LISTEN, changing nothing. */
  reload(options: DnsOptions): Promise<void>;
  stop(): Promise<void>;
}

class DnsService implements Dns {
  #options: DnsOptions;
  #listeners: Listener[] = [];
  #upstreams: readonly Upstream[] = [];
  #pool: UpstreamPool;
  #cache: AnswerCache;
  #forwarder: Forwarder;
  #unwatch = () => {};
  #isStopped = false;

  constructor(options: DnsOptions) {
    this.#options = options;
    this.#pool = new UpstreamPool([], options.observer ?? SILENT_OBSERVER);
    this.#cache = new AnswerCache(0, performance.now.bind(performance));
    this.#forwarder = this.#makeForwarder();
  }

  // Listeners outlive the forwarder behind them.
  readonly #handle: QueryHandler = (query, transport, port, reply) =>
    this.#forwarder.handle(query, transport, port, reply);

  get listeners(): readonly DnsListener[] {
    return this.#listeners.map(({ protocol, endpoint }) => ({ protocol, address: endpoint.host, port: endpoint.port }));
  }

  get stats(): DnsStats {
    return {
      cacheEntries: this.#cache.size,
      inFlight: this.#forwarder.inFlight,
      upstreams: this.#upstreams.map(({ endpoint }) => formatEndpoint(endpoint)),
    };
  }

  ready(): boolean {
    return !this.#isStopped && this.#listeners.length > 0 && this.#pool.size > 0;
  }

  async reload(options: DnsOptions): Promise<void> {
    const path = options.resolvConfPath ?? RESOLV_CONF;
    const upstreams = options.upstreams === 'resolv.conf' ? readResolvConf(path) : options.upstreams;
    await this.#listen(options.listen);
    this.#options = options;
    this.#unwatch();
    this.#unwatch = () => {};
    this.#use(upstreams);
    if (options.upstreams === 'resolv.conf') {
      this.#unwatch = watchResolvConf(path, (changed) => this.#use(changed));
    }
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#unwatch();
    const listeners = this.#listeners;
    this.#listeners = [];
    await Promise.all(listeners.map((listener) => listener.close()));
    this.#pool.close();
  }

  /** Opens what is new before anything old is closed, so that a failure leaves all as it was. */
  async #listen(endpoints: readonly Endpoint[]): Promise<void> {
    const isWanted = (listener: Listener) =>
      endpoints.some(
        ({ host, port }) => host === listener.endpoint.host && (port === listener.endpoint.port || port === 0),
      );
    const kept = this.#listeners.filter(isWanted);
    const opened: Listener[] = [];
    try {
      for (const endpoint of endpoints) {
        if (
          kept.some(
            (listener) =>
              listener.endpoint.host === endpoint.host && [0, listener.endpoint.port].includes(endpoint.port),
          )
        ) {
          continue;
        }
        opened.push(...(await openListeners(endpoint, this.#handle)));
      }
    } catch (error) {
      await Promise.all(opened.map((listener) => listener.close()));
      throw error;
    }
    const dropped = this.#listeners.filter((listener) => !kept.includes(listener));
    this.#listeners = [...kept, ...opened];
    await Promise.all(dropped.map((listener) => listener.close()));
  }

  #use(upstreams: readonly Upstream[]): void {
    const old = this.#pool;
    const own = ownAddresses(this.#listeners);
    // Asking ourselves would only wait for ourselves.
    this.#upstreams = upstreams.filter(({ endpoint }) => !own.has(formatEndpoint(endpoint)));
    this.#pool = new UpstreamPool(this.#upstreams, this.#options.observer ?? SILENT_OBSERVER);
    this.#cache = new AnswerCache(
      this.#options.cache.maxEntries,
      this.#options.now ?? performance.now.bind(performance),
    );
    this.#forwarder = this.#makeForwarder();
    // Questions still in flight get the time that any question gets.
    setTimeout(() => old.close(), 2000).unref();
  }

  #makeForwarder(): Forwarder {
    const { prefixes, translateAll, excludeAaaa, allowNonGlobalIpv4, observer, onSynthesized, now } = this.#options;
    return new Forwarder({
      policy: { prefixes, translateAll, excludeAaaa, allowNonGlobalIpv4 },
      upstreams: this.#pool,
      cache: this.#cache,
      observer: observer ?? SILENT_OBSERVER,
      onSynthesized,
      now: now ?? performance.now.bind(performance),
    });
  }
}

function ownAddresses(listeners: readonly Listener[]): Set<string> {
  const own = new Set<string>();
  const local = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  for (const { endpoint } of listeners) {
    own.add(formatEndpoint(endpoint));
    if (!isWildcard(endpoint)) continue;
    for (const { address, family } of local) {
      own.add(formatEndpoint({ family: family === 'IPv6' ? 6 : 4, host: address, port: endpoint.port }));
    }
  }
  return own;
}

/** Starts the DNS half. Throws G64_LISTEN, or G64_DNS_UPSTREAM when resolv.conf is to be used and cannot be read. */
export async function createDns(options: DnsOptions): Promise<Dns> {
  const dns = new DnsService(options);
  await dns.reload(options);
  return dns;
}
