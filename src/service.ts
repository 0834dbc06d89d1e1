// SPDX-License-Identifier: Apache-2.0
// The service: composes the DNS half and the NAT64 half, reloads, drains, stops. `gate64 run` and `gate64 uninstall`.

import { isDeepStrictEqual } from 'node:util';
import { Destinations, destinationRules, type DestinationRule } from './addr/destinations.ts';
import { formatEndpoint, formatIp6, type Endpoint } from './addr/ip.ts';
import { AcceptedFile } from './config/accepted.ts';
import type { Config } from './config/config.ts';
import { loadAccepted, loadConfig, type LoadedConfig } from './config/load.ts';
import { refuseUnreloadable } from './config/reload.ts';
import { ConfigWatch } from './config/watch.ts';
import { Admissions, type AdmissionProblem } from './datapath/admissions.ts';
import type { SessionRow } from './datapath/datapath.ts';
import { PinnedSite } from './datapath/open.ts';
import { DnsService, type DnsHalf } from './dns/dns.ts';
import { tryListeners } from './dns/listeners.ts';
import { DnsMetrics } from './dns/metrics.ts';
import { readAuthorities } from './dns/upstream-tls.ts';
import { WorkerPool, workerCount, type PoolOptions } from './dns/worker-pool.ts';
import { openKernelDns, type KernelDns } from './kernel-dns/open.ts';
import { LinuxHost } from './host/host.ts';
import { InstanceLock } from './host/instance-lock.ts';
import { Sysctls } from './host/sysctls.ts';
import { UninstallError } from './host/uninstall-error.ts';
import { removeLines } from './names/lines-file.ts';
import { NAMES_FILE } from './names/name-file.ts';
import { Names } from './names/names.ts';
import type { Usage } from './names/usage.ts';
import { USAGE_FILE } from './names/usage-file.ts';
import { InTurns } from './model/in-turns.ts';
import { Nat64Metrics } from './nat64/metrics.ts';
import { allocationFailures, usageOf } from './nat64/views.ts';
import { trackedFlows } from './plan/tracking.ts';
import { Page } from './page/page.ts';
import { Reconciler } from './reconciler.ts';
import { ClusterEvents } from './telemetry/cluster-events.ts';
import { EventApi } from './telemetry/event-api.ts';
import { HttpEndpoint } from './telemetry/http.ts';
import { Logger } from './telemetry/logger.ts';
import { Metrics } from './telemetry/metrics.ts';
import { ServiceMetrics } from './telemetry/service-metrics.ts';
import type { ReloadStatus, ServiceStatus } from './telemetry/status.ts';
import { gate64Version } from './telemetry/version.ts';

/** How long DNS is answered after SIGTERM: as long as CoreDNS's usual `lameduck 5s`, and a second more. */
const LAMEDUCK_MS = 6_000;
/** What is still open then is cut. */
const FORCED_EXIT_MS = 10_000;

class Service {
  readonly #log: Logger;
  readonly #metrics: Metrics;
  readonly #serviceMetrics: ServiceMetrics;
  readonly #dnsMetrics: DnsMetrics;
  readonly #nat64Metrics: Nat64Metrics;
  readonly #names: Names;
  /** A sweep ends hundreds at once: DNS answers wait for so many. */
  readonly #ended = new InTurns<SessionRow>(32, (row) => this.#names.usage.add(this.#usageOf(row)));
  readonly #admissions = new Admissions({ onProblem: (problem, error) => this.#noteAdmission(problem, error) });
  readonly #startedAt = new Date();
  readonly #file: string | undefined;
  readonly #accepted: AcceptedFile;
  readonly #loaded: LoadedConfig;
  #config: Config;
  /** What the NAT64 of this process refuses; undefined while there is none. */
  #destinations: Destinations | undefined;
  #lastReload: ReloadStatus;
  #draining = false;
  #kernelDns: KernelDns = { off: 'not started' };
  #dns: DnsHalf | undefined;
  #node: Reconciler | undefined;
  #lock: InstanceLock | undefined;
  #watch: ConfigWatch | undefined;
  #http: HttpEndpoint | undefined;
  #events: ClusterEvents | undefined;
  readonly #page: Page;

  constructor(loaded: LoadedConfig, accepted: AcceptedFile) {
    this.#loaded = loaded;
    this.#accepted = accepted;
    this.#config = loaded.config;
    this.#file = loaded.file;
    this.#log = new Logger(loaded.config.log);
    this.#metrics = new Metrics({
      onSourceError: (error) => this.#log.warn({ err: error }, 'a metric could not be read'),
    });
    this.#dnsMetrics = new DnsMetrics(
      this.#metrics,
      () => this.#dns?.stats,
      (client) =>
        this.#log.warn({ client }, 'a DNS client is refused: dns.allowClients does not have it (said once an hour)'),
    );
    this.#dnsMetrics.setListen(loaded.config.dns.listen);
    this.#nat64Metrics = new Nat64Metrics(this.#metrics);
    this.#names = new Names(() => this.#config.telemetry, this.#log, this.#metrics);
    const sysctls = new Sysctls();
    this.#serviceMetrics = new ServiceMetrics(this.#metrics, gate64Version(), () =>
      trackedFlows((name) => sysctls.read(name)),
    );
    const { refused } = loaded;
    const at = this.#startedAt.toISOString();
    this.#lastReload = refused ? { at, successful: false, error: refused.message } : { at, successful: true };
    this.#serviceMetrics.configReloaded(this.#lastReload.successful);
    const sources = {
      status: () => this.status(),
      datapath: () => this.#node?.datapath,
      ended: () => this.#names.usage.rows(),
      running: (row: SessionRow) => this.#usageOf(row),
      look: () => this.#node?.lastLook,
    };
    this.#page = new Page(sources, loaded.config.http);
  }

  get log(): Logger {
    return this.#log;
  }

  /**
   * NAT64 comes before DNS: until it is in place names must not lead to it. What else can be refused is looked at before
   * it, since NAT64 changes the node.
   */
  async start(): Promise<void> {
    const { nat64, dns, http } = this.#config;
    // Of DNS forwarders there may be several on a node, of NAT64s one.
    if (nat64.enabled) this.#lock = InstanceLock.take('stop it first; `gate64 status` shows its pid');
    this.#log.info({ version: gate64Version(), config: this.#file ?? 'defaults' }, 'gate64 starts');
    const { refused, text } = this.#loaded;
    if (refused) {
      this.#log.error({ err: refused }, 'configuration refused; the one accepted before is in force');
    }
    this.#http = await this.#startHttp(http.listen);
    if (dns.enabled && dns.tls.ca !== '') readAuthorities(dns.tls.ca);
    for (const endpoint of dns.enabled ? dns.listen : []) await tryListeners(endpoint, dns.listener);
    if (nat64.enabled) this.#names.keepUsage();
    if (nat64.enabled) this.#node = await this.#startNat64();
    if (dns.enabled) this.#names.keepNames();
    if (nat64.enabled) this.#names.follow();
    if (dns.enabled) this.#dns = await this.#startDns();
    if (this.#destinations !== undefined) this.#dns?.setDestinations(this.#destinations);
    this.#page.start();
    this.#events = this.#startEvents();
    this.#log.info(
      { dns: this.#dns ? dns.listen.map(formatEndpoint) : 'disabled', http: formatEndpoint(http.listen) },
      'gate64 serves',
    );
    if (!refused) this.#keep(text);
  }

  async #startDns(): Promise<DnsHalf> {
    const { dns, nat64 } = this.#config;
    const count = workerCount(dns.workers, nat64.admit === 'dns');
    if (count > 1) this.#kernelDns = { off: 'dns.workers is above 1' };
    else this.#kernelDns = await openKernelDns(dns);
    const options = this.#dnsOptions(this.#config);
    return await (count > 1 ? WorkerPool.start(options, count) : DnsService.start(options));
  }

  #startEvents(): ClusterEvents {
    const node = this.#node;
    return new ClusterEvents({
      api: new EventApi(),
      log: this.#log,
      isWanted: () => this.#config.kubernetes.events === 'auto' && process.env['KUBERNETES_SERVICE_HOST'] !== undefined,
      status: () => this.status(),
      exhausted: () => (node ? allocationFailures(node.datapath.drops()).pool_exhausted : 0),
    });
  }

  /** So that a start finds it when the file has become wrong. With the defaults what another file said is in force no more. */
  #keep(text: string | undefined): void {
    try {
      if (this.#file !== undefined && text !== undefined) this.#accepted.write(this.#file, text);
      else if (this.#config.nat64.enabled) this.#accepted.remove();
    } catch (error) {
      const file = this.#accepted.path;
      this.#log.warn({ err: error, file }, 'the configuration cannot be kept for a start with one that is wrong');
    }
  }

  async #startNat64(): Promise<Reconciler> {
    const node = await Reconciler.start({
      config: this.#config,
      host: new LinuxHost(),
      site: new PinnedSite(),
      log: this.#log,
      onEnded: (rows) => this.#ended.add(rows),
      onSweep: (durationMs) => this.#nat64Metrics.observeSweep(durationMs / 1000),
      onConverged: ({ datapath }) => this.#follow(datapath?.destinations ?? []),
    });
    this.#nat64Metrics.start({
      datapath: node.datapath,
      ready: () => node.ready().ready,
      egress: () => this.#config.nat64.egress,
      fragments: () => node.fragments(),
    });
    return node;
  }

  #usageOf(row: SessionRow): Usage {
    const ageMs = Date.now() - row.createdAt;
    return usageOf(row, this.#names.table.nameFor(formatIp6(row.source.v6), row.destination.v4, ageMs));
  }

  /** Without a NAT64 on the node there is nobody to be told; one of a Deployment lives elsewhere. */
  #noteAdmission(problem: AdmissionProblem, error: unknown): void {
    if (problem === 'missing') {
      this.#log.info({}, 'no NAT64 is seen from here: what is answered here admits nobody (nat64.admit)');
    } else if (problem === 'refused') {
      this.#log.warn({ err: error }, 'the NAT64 cannot be told what names were answered with (nat64.admit)');
    } else {
      this.#log.warn(
        {},
        'more addresses were answered than nat64.admit has room for: those that end first are forgotten',
      );
    }
  }

  #admit(v4: number, ttlSeconds: number): void {
    this.#admissions.admit(v4, ttlSeconds + this.#config.nat64.admitGrace);
  }

  /** No name is to lead where the NAT64 does not. */
  #follow(rules: readonly DestinationRule[]): void {
    if (isDeepStrictEqual(rules, this.#destinations?.rules)) return;
    this.#destinations = new Destinations(rules);
    this.#dns?.setDestinations(this.#destinations);
  }

  /** Calls `onChange` when the file says something else than what was loaded. */
  watch(onChange: () => void): void {
    const { text } = this.#loaded;
    if (this.#file !== undefined && text !== undefined) this.#watch = new ConfigWatch(this.#file, text, onChange);
  }

  unwatch(): void {
    this.#watch?.stop();
  }

  #dnsOptions(config: Config): PoolOptions {
    const { dns, prefixes, nat64 } = config;
    return {
      prefixes,
      listen: dns.listen,
      listener: dns.listener,
      upstreams: dns.upstreams.length > 0 ? dns.upstreams : 'resolv.conf',
      tls: dns.tls,
      log: this.#log,
      translateAll: dns.translateAll,
      excludeAaaa: dns.excludeAaaa,
      destinations: new Destinations(destinationRules({ ...nat64, nodeAddresses: [], pool: [] })),
      allowClients: dns.allowClients,
      ignoreChecking: dns.ignoreChecking,
      maxRate: dns.maxRate,
      maxUdpSize: dns.maxUdpSize,
      cache: dns.cache,
      kernel: 'answers' in this.#kernelDns ? this.#kernelDns.answers : undefined,
      observer: this.#dnsMetrics,
      onSynthesized: (name, v4, ttlSeconds, client) => {
        this.#admit(v4, ttlSeconds);
        this.#names.table.remember(name, v4, ttlSeconds, podOf(client));
      },
    };
  }

  status(): ServiceStatus {
    const { dns, nat64 } = this.#config;
    const node = this.#node?.info();
    const readiness = this.#node?.ready();
    const dnsReady = this.#dns?.ready() ?? false;
    const stats = this.#dns?.stats;
    const names = this.#names.status();
    return {
      version: gate64Version(),
      pid: process.pid,
      startedAt: this.#startedAt.toISOString(),
      draining: this.#draining,
      config: { file: this.#file ?? null, lastReload: this.#lastReload },
      dns: {
        enabled: dns.enabled,
        ready: dnsReady,
        reasons: dnsReady || !this.#dns ? [] : ['no upstream resolver is known'],
        listen: dns.listen.map(formatEndpoint),
        listener: this.#dns?.listeners.find(({ kind }) => kind !== undefined)?.kind ?? null,
        workers: this.#dns?.workers ?? null,
        kernelCache: stats?.kernel ?? ('off' in this.#kernelDns ? this.#kernelDns : { off: 'it has failed' }),
        upstreams: stats?.upstreams ?? [],
        failing: stats?.failing ?? [],
        cache: { entries: stats?.cacheEntries ?? 0, bytes: stats?.cacheBytes ?? 0 },
      },
      nat64: {
        enabled: nat64.enabled,
        ready: readiness?.ready ?? false,
        reasons: readiness?.reason === undefined ? [] : [readiness.reason],
        egress: nat64.egress,
        uplink: node?.uplink ?? null,
        attach: node?.attach ?? null,
        adopted: node?.adopted ?? null,
        ...(nat64.accelerate.length === 0 ? {} : { accelerated: node?.accelerated ?? 0 }),
        ...(names === undefined ? {} : { names }),
      },
    };
  }

  /** Reads the file anew. A file that cannot work is refused whole: everything stays as it was. */
  async reload(): Promise<void> {
    const at = new Date().toISOString();
    this.#node?.reopenLogs();
    try {
      const { config, warnings, text } = loadConfig(this.#file);
      this.#watch?.note(text);
      for (const warning of warnings) this.#log.warn({}, warning);
      refuseUnreloadable(this.#config, config);
      await this.#apply(config);
      this.#keep(text);
      this.#lastReload = { at, successful: true };
      this.#log.info({ config: this.#file ?? 'defaults' }, 'configuration reloaded');
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      this.#lastReload = { at, successful: false, error: message };
      this.#log.error({ err: error }, 'configuration refused; the one before stays in force');
    }
    this.#serviceMetrics.configReloaded(this.#lastReload.successful);
  }

  async #apply(config: Config): Promise<void> {
    const before = this.#config;
    const undo: (() => Promise<void>)[] = [];
    try {
      // NAT64 refuses most, and goes back by itself.
      const [node, dns] = [this.#node, this.#dns];
      if (node) {
        await node.apply(config);
        undo.push(() => node.apply(before));
      }
      if (dns) {
        await dns.reload(this.#dnsOptions(config));
        undo.push(() => dns.reload(this.#dnsOptions(before)));
      }
      await this.#moveHttp(before, config, undo);
    } catch (error) {
      for (const step of undo.reverse()) {
        await step().catch((cause: unknown) => this.#log.error({ err: cause }, 'could not go back'));
      }
      throw error;
    }
    this.#config = config;
    this.#dnsMetrics.setListen(config.dns.listen);
    this.#log.configure(config.log);
    this.#page.configure(config.http);
  }

  async #moveHttp(before: Config, after: Config, undo: (() => Promise<void>)[]): Promise<void> {
    if (formatEndpoint(before.http.listen) === formatEndpoint(after.http.listen)) return;
    const old = this.#http;
    const fresh = await this.#startHttp(after.http.listen);
    this.#http = fresh;
    await old?.close();
    undo.push(async () => {
      await fresh.close();
      this.#http = await this.#startHttp(before.http.listen);
    });
  }

  #startHttp(listen: Endpoint): Promise<HttpEndpoint> {
    return HttpEndpoint.start({
      listen,
      metrics: this.#metrics,
      status: () => this.status(),
      names: (after, authorization) => this.#names.reply(after, authorization),
      page: (path, host) => this.#page.reply(path, host),
    });
  }

  /** Not ready from now on, so that nobody is sent here any more; DNS still answers. */
  async drain(isOver: Promise<void>): Promise<void> {
    this.#draining = true;
    if (!this.#dns) return;
    this.#log.info({ seconds: LAMEDUCK_MS / 1000 }, 'draining: /readyz says 503, DNS is still answered');
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAMEDUCK_MS);
    await Promise.race([promise, isOver]);
    clearTimeout(timer);
  }

  async stop(): Promise<void> {
    this.#watch?.stop();
    this.#page.stop();
    this.#events?.stop();
    await this.#dns?.stop();
    this.#nat64Metrics.stop();
    await this.#node?.stop();
    this.#admissions[Symbol.dispose]();
    this.#ended.flush();
    await this.#names.stop();
    await this.#http?.close();
    this.#lock?.[Symbol.dispose]();
  }
}

/** Who may have a session: IPv6 addresses, without a zone. */
function podOf(client: string): string {
  return client.includes(':') && !client.startsWith('::ffff:') ? (client.split('%')[0] as string) : '';
}

/**
 * Starts with a configuration. One that cannot be made on this node is refused as one that is wrong is: what was accepted
 * before stands in for it. Throws with nothing left running.
 */
async function startService(loaded: LoadedConfig, accepted: AcceptedFile): Promise<Service> {
  const service = new Service(loaded, accepted);
  try {
    await service.start();
    return service;
  } catch (error) {
    const forced = setTimeout(() => process.exit(1), FORCED_EXIT_MS).unref();
    await service.stop();
    clearTimeout(forced);
    const isSecond = loaded.refused !== undefined || !(error instanceof Error);
    const before = isSecond ? undefined : loadAccepted(loaded, error, accepted);
    if (before === undefined) throw error;
    return await startService(before, accepted).catch(() => {
      // The file is not what keeps it from starting, or not alone.
      throw error;
    });
  }
}

/** Runs until a signal ends it; gives the exit code. Throws when it cannot start, with nothing left running. */
export async function runService(loaded: LoadedConfig, accepted: AcceptedFile): Promise<number> {
  let service: Service | undefined;
  const first = Promise.withResolvers<NodeJS.Signals>();
  const second = Promise.withResolvers<void>();
  let signals = 0;
  const onEnd = (signal: NodeJS.Signals) => {
    signals += 1;
    if (signals === 1) first.resolve(signal);
    else second.resolve();
  };
  // A reload waits for the start: before its end there is nothing to apply it to.
  const started = Promise.withResolvers<void>();
  let turn: Promise<void> = started.promise;
  const onReload = () => {
    turn = turn.then(() => service?.reload());
  };
  process.on('SIGTERM', onEnd).on('SIGINT', onEnd).on('SIGHUP', onReload).on('SIGUSR1', onReload);
  try {
    service = await startService(loaded, accepted);
    started.resolve();
    service.watch(onReload);
    const signal = await first.promise;
    service.log.info({ signal }, 'gate64 ends; the data plane stays in place and goes on translating');
    service.unwatch();
    await turn;
    await service.drain(second.promise);
  } finally {
    setTimeout(() => process.exit(1), FORCED_EXIT_MS).unref();
    await service?.stop();
    process.off('SIGTERM', onEnd).off('SIGINT', onEnd).off('SIGHUP', onReload).off('SIGUSR1', onReload);
  }
  service.log.info({}, 'gate64 has ended');
  return 0;
}

/**
 * Takes everything off the node: programs, pins, device, routes, nft table, sysctls. Says what was done. What fails keeps
 * nothing else from being done; an UninstallError names it.
 */
export async function uninstall(config: Config): Promise<string[]> {
  using _lock = InstanceLock.take('stop the service first, or it would put everything back');
  const done: string[] = [];
  const failed: unknown[] = [];
  try {
    const kept = [NAMES_FILE, USAGE_FILE].filter((path) => removeLines(path));
    if (kept.length > 0) done.push('removed: names that pods asked for');
    if (new AcceptedFile().remove()) done.push('removed: the configuration accepted last');
  } catch (error) {
    failed.push(error);
  }
  try {
    if (new PinnedSite().remove()) done.push('removed: programs and pinned maps');
  } catch (error) {
    failed.push(error);
  }
  try {
    done.push(...(await new LinuxHost().uninstall(config.nat64.device)));
  } catch (error) {
    if (!(error instanceof UninstallError)) throw error;
    done.push(...error.done);
    failed.push(...error.failed);
  }
  if (failed.length > 0) throw new UninstallError(done, failed);
  return done;
}
