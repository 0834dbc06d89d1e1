// SPDX-License-Identifier: Apache-2.0
// The DNS half as service.ts sees it: listeners, forwarder, cache and upstreams, started, changed and stopped as one.

import { networkInterfaces } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import type { Destinations } from '../addr/destinations.ts';
import { formatEndpoint, type Endpoint, type Ip6Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { Upstream } from '../config/config.ts';
import type { Logger } from '../telemetry/logger.ts';
import { renderTruncated, type Answer, type OnSynthesized } from './answer.ts';
import { AnswerCache, type CacheBounds, type Clock } from './cache.ts';
import { Clients, type AllowedClients } from './clients.ts';
import { areRefusedOtherwise, type Dns64Policy } from './decide.ts';
import { Forwarder } from './forwarder.ts';
import { HotAnswers, type KernelStats } from './hot.ts';
import type { KernelAnswers } from '../kernel-dns/kernel-answers.ts';
import { isWildcard } from './listener-wildcard.ts';
import type { Listener, ListenerKind, QueryHandler, Reply, SocketShare } from './listener.ts';
import { openListeners, type ListenerChoice } from './listeners.ts';
import { OUR_UDP_SIZE } from './query.ts';
import { SILENT_OBSERVER, type DnsObserver, type Transport } from './observer.ts';
import { RateLimit } from './rate-limit.ts';
import { RESOLV_CONF, ResolvConfWatch, readResolvConf } from './resolv-conf.ts';
import { readAuthorities } from './upstream-tls.ts';
import { UpstreamPool } from './upstream.ts';
import { TYPE } from './wire.ts';

const LOCAL: AllowedClients = ['local'];

/** What a reload may change. */
export interface DnsSettings {
  readonly prefixes: readonly Prefix64[];
  /** UDP and TCP each. Port 0 takes a free one. */
  readonly listen: readonly Endpoint[];
  /** How datagrams are taken, by listeners opened from then on; default "auto". */
  readonly listener?: ListenerChoice | undefined;
  readonly upstreams: readonly Upstream[] | 'resolv.conf';
  readonly resolvConfPath?: string | undefined;
  /** `ca`: a PEM file of authorities that TLS upstreams are believed by, beside the known ones; empty: none. */
  readonly tls?: { readonly ca?: string | undefined } | undefined;
  readonly translateAll: boolean;
  readonly ignoreChecking?: boolean | undefined;
  readonly excludeAaaa: readonly Ip6Net[];
  /** By configuration alone; setDestinations() takes its place where a NAT64 runs beside. */
  readonly destinations: Destinations;
  /** Default: local ones. */
  readonly allowClients?: AllowedClients | undefined;
  /** Answers by UDP a second for a network; 0, the default: no limit. */
  readonly maxRate?: number | undefined;
  /** For whom there is no such limit; default: local ones, as a cluster's CoreDNS asks from one address. */
  readonly unlimitedClients?: AllowedClients | undefined;
  /** Octets of an answer over UDP at most; default 1232. */
  readonly maxUdpSize?: number | undefined;
  readonly cache: CacheBounds;
}

export interface DnsOptions extends DnsSettings {
  /** Whether other processes listen on the same ports. */
  readonly reusePort?: boolean | undefined;
  readonly observer?: DnsObserver | undefined;
  /** Gets what an operator should know of the upstreams. */
  readonly log?: Pick<Logger, 'warn' | 'info'> | undefined;
  /**
   * Told of every answer that may be used for `ttlSeconds`, those of the cache too; of a question that one client repeats
   * within a second once.
   */
  readonly onSynthesized?: OnSynthesized | undefined;
  /** Gives answers that are asked for again and again; ended with this. `now` must be performance.now() then. */
  readonly kernel?: KernelAnswers | undefined;
  /** An answer is the kernel's when it was given so often from the cache; default 3. */
  readonly kernelAfter?: number | undefined;
  /** Milliseconds on a monotonic clock, for the cache's TTLs. */
  readonly now?: Clock | undefined;
}

export interface DnsListener {
  readonly protocol: Transport;
  readonly address: string;
  readonly port: number;
  /** How datagrams are taken; of UDP alone. */
  readonly kind?: ListenerKind;
}

export interface DnsStats {
  readonly cacheEntries: number;
  /** Octets that they take in memory. */
  readonly cacheBytes: number;
  /** What the kernel gives; undefined where it gives nothing. */
  readonly kernel: KernelStats | undefined;
  /** Queries waiting for upstream. */
  readonly inFlight: number;
  readonly upstreams: readonly string[];
  /** Those of them that could not be asked the last time. */
  readonly failing: readonly { readonly upstream: string; readonly reason: string }[];
}

/** What service.ts has: the half in its own process, or processes that each run one. */
export interface DnsHalf {
  readonly listeners: readonly DnsListener[];
  readonly stats: DnsStats;
  /** Processes that answer, of those that are to; undefined where it is this one. */
  readonly workers?: WorkerCounts | undefined;
  ready(): boolean;
  reload(settings: DnsSettings): Promise<void>;
  setDestinations(destinations: Destinations): void;
  stop(): Promise<void>;
}

export interface WorkerCounts {
  readonly running: number;
  readonly wanted: number;
}

export class DnsService implements DnsHalf {
  readonly #observer: DnsObserver;
  readonly #onSynthesized: DnsOptions['onSynthesized'];
  readonly #now: Clock;
  readonly #pool: UpstreamPool;
  readonly #hot: HotAnswers | undefined;
  readonly #share: SocketShare;
  // Listeners outlive the forwarder behind them.
  readonly #handle: QueryHandler = (query, transport, from, reply) => {
    // Once: reading the clock is a tenth of the processor time of an answer.
    const now = this.#now();
    if (this.#clients.allows(from.address, now)) {
      if (transport === 'udp' && this.#isLimited(from.address, now)) {
        if (this.#isTooOften(query, from.address, now, reply)) return false;
        // The kernel would not count its answers.
        return this.#forwarder.handle(query, transport, { address: from.address, port: from.port }, reply, now);
      }
      return this.#forwarder.handle(query, transport, from, reply, now);
    }
    this.#observer.clientRefused(transport, from.address);
    const refusal = this.#clients.refusal(query, transport);
    if (refusal) reply(refusal);
    return refusal !== undefined;
  };
  readonly #log: DnsOptions['log'];
  /** Names in resolv.conf that were said to be no use. */
  readonly #unusable = new Set<string>();
  readonly #sayUnusable = (address: string): void => {
    if (this.#unusable.has(address)) return;
    this.#unusable.add(address);
    this.#log?.warn({ nameserver: address }, 'resolv.conf names what is no address');
  };
  #settings: DnsSettings;
  #clients: Clients;
  #unlimited: Clients;
  #rate: RateLimit;
  /** What the NAT64 beside has in force. */
  #destinations: Destinations | undefined;
  #listeners: Listener[] = [];
  /** As configured, or as resolv.conf last named some. */
  #known: readonly Upstream[] = [];
  /** Those that are asked. */
  #upstreams: readonly Upstream[] = [];
  /** PEM, of `dns.tls.ca`. */
  #authorities: readonly string[] = [];
  #cache: AnswerCache;
  #forwarder: Forwarder;
  #watch: ResolvConfWatch | undefined;
  #isStopped = false;
  /** No upstream answered the last time. */
  #isDeaf = false;

  private constructor(options: DnsOptions) {
    this.#observer = options.observer ?? SILENT_OBSERVER;
    this.#onSynthesized = options.onSynthesized;
    this.#log = options.log;
    this.#share = { reusePort: options.reusePort ?? false };
    this.#now = options.now ?? (() => performance.now());
    this.#settings = options;
    this.#clients = new Clients(options.allowClients ?? LOCAL);
    this.#unlimited = new Clients(options.unlimitedClients ?? LOCAL);
    this.#rate = new RateLimit(options.maxRate ?? 0);
    this.#pool = new UpstreamPool([], this.#observer, ({ label, reason, isNoted }) => {
      // Of servers that refuse or say nothing the metrics tell, and that none is left the log; what is wrong with a
      // certificate or a zone is said of each.
      if (!isNoted) return this.#noteUpstreams();
      if (reason === undefined) options.log?.info({ upstream: label }, 'the upstream answers again');
      else options.log?.warn({ upstream: label, reason }, 'the upstream cannot be asked');
    });
    this.#cache = new AnswerCache(options.cache, this.#now);
    const { kernel, log } = options;
    this.#hot =
      kernel &&
      new HotAnswers(kernel, {
        minUses: options.kernelAfter,
        onUse: (key) => this.#cache.use(key),
        onProblem: (error) => log?.warn({ err: error }, 'the kernel gives no DNS answers any more (dns.kernelCache)'),
      });
    this.#forwarder = this.#makeForwarder();
  }

  /** Throws G64_LISTEN, or G64_DNS_UPSTREAM when resolv.conf is to be used and cannot be read. */
  static async start(options: DnsOptions): Promise<DnsService> {
    const dns = new DnsService(options);
    await dns.reload(options);
    return dns;
  }

  get listeners(): readonly DnsListener[] {
    return this.#listeners.map(({ protocol, endpoint: { host, port }, kind }) => {
      const listener = { protocol, address: host, port };
      return kind === undefined ? listener : { ...listener, kind };
    });
  }

  get stats(): DnsStats {
    return {
      cacheEntries: this.#cache.size,
      cacheBytes: this.#cache.bytes,
      kernel: this.#hot?.stats(),
      inFlight: this.#forwarder.inFlight,
      upstreams: this.#upstreams.map(({ endpoint }) => formatEndpoint(endpoint)),
      failing: this.#pool.failing,
    };
  }

  /** Listening, with at least one upstream to ask. */
  ready(): boolean {
    return !this.#isStopped && this.#listeners.length > 0 && this.#pool.size > 0;
  }

  /**
   * Everything takes effect at once; what stays the same keeps its connections and its cached answers. Throws G64_LISTEN,
   * G64_DNS_UPSTREAM, or G64_CONFIG_INVALID for a file of authorities, changing nothing.
   */
  async reload(settings: DnsSettings): Promise<void> {
    const path = settings.upstreams === 'resolv.conf' ? (settings.resolvConfPath ?? RESOLV_CONF) : undefined;
    const upstreams =
      settings.upstreams === 'resolv.conf' ? readResolvConf(path as string, this.#sayUnusable) : settings.upstreams;
    const ca = settings.tls?.ca ?? '';
    const authorities = ca === '' ? [] : readAuthorities(ca);
    await this.#listen(settings.listen, settings.listener);
    await this.#askBatched();
    const before = this.#policy;
    const { maxUdpSize } = this.#settings;
    this.#settings = settings;
    this.#clients = this.#clients.allowing(settings.allowClients ?? LOCAL);
    this.#unlimited = this.#unlimited.allowing(settings.unlimitedClients ?? LOCAL);
    const maxRate = settings.maxRate ?? 0;
    if (maxRate !== this.#rate.rate) this.#rate = new RateLimit(maxRate);
    // What is kept stays as it is: sizes are of one client's answer.
    if (maxUdpSize !== settings.maxUdpSize) this.#remake(() => true);
    this.#cache.resize(settings.cache);
    this.#decideAnew(before);
    this.#use(upstreams, authorities);
    // Clients, sizes, listeners: who has had an answer before is asked anew.
    const ports = new Set(this.#listeners.map(({ endpoint }) => endpoint.port));
    this.#hot?.configure([...ports], settings.maxUdpSize ?? OUR_UDP_SIZE);
    if (this.#watch?.path === path) return;
    this.#watch?.close();
    this.#watch =
      path === undefined
        ? undefined
        : new ResolvConfWatch(path, (changed) => this.#use(changed), undefined, this.#sayUnusable);
  }

  /**
   * What the NAT64 of the same process refuses, from now on instead of what the configuration alone says, over reloads too.
   * Takes effect at once; kept answers go where it changes what was decided.
   */
  setDestinations(destinations: Destinations): void {
    const before = this.#policy;
    this.#destinations = destinations;
    this.#decideAnew(before);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#watch?.close();
    this.#hot?.close();
    const listeners = this.#listeners;
    this.#listeners = [];
    await Promise.all(listeners.map((listener) => listener.close()));
    this.#pool.close();
  }

  #isLimited(address: string, now: number): boolean {
    return this.#rate.rate !== 0 && !this.#unlimited.allows(address, now);
  }

  /** Whether a query by UDP is beyond the rate; it has then been dealt with. */
  #isTooOften(query: Buffer, address: string, now: number, reply: Reply): boolean {
    const verdict = this.#rate.judge(address);
    if (verdict === 'answer') return false;
    const truncated = verdict === 'truncate' ? renderTruncated(query) : undefined;
    this.#observer.rateLimited(truncated === undefined ? 'dropped' : 'truncated');
    if (truncated !== undefined) reply(truncated);
    return true;
  }

  /** Opens what is new before anything old is closed, so that a failure leaves all as it was. */
  async #listen(endpoints: readonly Endpoint[], choice: ListenerChoice | undefined): Promise<void> {
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
        opened.push(...(await openListeners(endpoint, this.#handle, choice, this.#share)));
      }
    } catch (error) {
      await Promise.all(opened.map((listener) => listener.close()));
      throw error;
    }
    const dropped = this.#listeners.filter((listener) => !kept.includes(listener));
    this.#listeners = [...kept, ...opened];
    await Promise.all(dropped.map((listener) => listener.close()));
  }

  /** That no upstream answers, and that one does again: each once. */
  #noteUpstreams(): void {
    const { failing, size } = this.#pool;
    const isDeaf = size > 0 && failing.length === size;
    if (isDeaf === this.#isDeaf) return;
    this.#isDeaf = isDeaf;
    if (isDeaf) this.#log?.warn({ upstreams: failing }, 'no upstream answers; names that are not cached are SERVFAIL');
    else this.#log?.info({}, 'an upstream answers again');
  }

  /** Where clients' datagrams are taken many a system call, upstreams' are too. */
  async #askBatched(): Promise<void> {
    if (!this.#listeners.some(({ kind }) => kind === 'batched')) return;
    const { BatchedUpstreamSocket } = await import('./upstream-batched.ts');
    this.#pool.openSocket = (endpoint, events) => new BatchedUpstreamSocket(endpoint, events);
  }

  /** The one place where upstreams change. With equal ones the cache keeps what it has from them. */
  #use(upstreams: readonly Upstream[], authorities = this.#authorities): void {
    // A resolv.conf that names none is being written, or its network is away: those known before may still answer.
    if (upstreams.length > 0) this.#known = upstreams;
    const own = ownAddresses(this.#listeners);
    // Asking ourselves would only wait for ourselves.
    const asked = this.#known.filter(({ endpoint }) => !own.has(formatEndpoint(endpoint)));
    if (isDeepStrictEqual([asked, authorities], [this.#upstreams, this.#authorities])) return;
    this.#upstreams = asked;
    this.#authorities = authorities;
    this.#pool.replace(asked, authorities);
    // Others may know other answers.
    this.#remake(() => false);
  }

  get #policy(): Dns64Policy {
    const { prefixes, translateAll, ignoreChecking = false, excludeAaaa, destinations } = this.#settings;
    return {
      prefixes,
      translateAll,
      ignoreChecking,
      excludeAaaa,
      destinations: this.#destinations ?? destinations,
    };
  }

  /** Keeps what would be answered the same under the policy now as under `before`. */
  #decideAnew(before: Dns64Policy): void {
    const now = this.#policy;
    if (isDeepStrictEqual(now, before)) return;
    const isOfDestinations = isDeepStrictEqual(now, { ...before, destinations: now.destinations });
    this.#remake((answer) =>
      isOfDestinations ? !areRefusedOtherwise(answer.considered ?? [], before, now) : !isDecided(answer),
    );
  }

  /** What is asked from now on is decided anew; the forwarder before still answers what it was asked. */
  #remake(isKept: (answer: Answer) => boolean): void {
    this.#hot?.flush();
    this.#cache = this.#cache.successor(isKept);
    this.#forwarder = this.#makeForwarder();
  }

  #makeForwarder(): Forwarder {
    return new Forwarder({
      policy: this.#policy,
      maxUdpSize: this.#settings.maxUdpSize ?? OUR_UDP_SIZE,
      upstreams: this.#pool,
      cache: this.#cache,
      observer: this.#observer,
      onSynthesized: this.#onSynthesized,
      hot: this.#hot,
      now: this.#now,
    });
  }
}

/** Whether the policy had a say in an answer. All others are upstream's own. */
function isDecided({ body, questionEnd, outcome }: Answer): boolean {
  if (outcome === 'checkingDisabled' || outcome === 'class') return false;
  const type = body.readUInt16BE(questionEnd - 4);
  return type === TYPE.AAAA || type === TYPE.PTR;
}

function ownAddresses(listeners: readonly Listener[]): Set<string> {
  const own = new Set<string>();
  const local = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  for (const { endpoint } of listeners) {
    own.add(formatEndpoint(endpoint));
    if (!isWildcard(endpoint)) continue;
    for (const { address } of local) {
      own.add(formatEndpoint({ host: address, port: endpoint.port }));
    }
  }
  return own;
}
