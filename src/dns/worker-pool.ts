// SPDX-License-Identifier: Apache-2.0
// The DNS half in several processes that share its ports (SO_REUSEPORT): starts them, changes them as one, and starts one
// that has died again.

import { availableParallelism } from 'node:os';
import type { DestinationRule, Destinations } from '../addr/destinations.ts';
import type { Endpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { DnsHalf, DnsListener, DnsOptions, DnsStats, WorkerCounts } from './dns.ts';
import { tryListeners } from './listeners.ts';
import type { DnsMetrics } from './metrics.ts';
import { WorkerProcess, type WorkerHears } from './worker-process.ts';
import { toWorker, type WorkerSettings, type WorkerState } from './worker-protocol.ts';

const MAX_WORKERS = 64;
/** The first time at once, then after 1, 2, 4 … 30 s; as the first time after it has run for so long. */
const STEADY_MS = 60_000;
const MAX_BACK_OFF_MS = 30_000;

/** As `dns.workers` has it. */
export function workerCount(configured: number | 'auto', isOneWanted: boolean): number {
  if (configured !== 'auto') return configured;
  return isOneWanted ? 1 : Math.min(MAX_WORKERS, availableParallelism());
}

/** The place of one worker. */
interface Slot {
  process: WorkerProcess | undefined;
  deaths: number;
  timer: NodeJS.Timeout | undefined;
}

export interface PoolOptions extends DnsOptions {
  readonly observer: Pick<DnsMetrics, 'merge'> & NonNullable<DnsOptions['observer']>;
  readonly log: NonNullable<DnsOptions['log']>;
}

export class WorkerPool implements DnsHalf {
  readonly #slots: Slot[];
  readonly #log: PoolOptions['log'];
  readonly #hears: WorkerHears;
  #settings: WorkerSettings;
  /** As asked for, and as bound: port 0 is the same for all. */
  #endpoints: readonly (readonly [asked: Endpoint, bound: Endpoint])[] = [];
  #destinations: readonly DestinationRule[] | undefined;
  #isStopped = false;

  private constructor(options: PoolOptions, count: number) {
    const { observer, log, onSynthesized } = options;
    this.#log = log;
    this.#hears = {
      onReport: ({ sums, synthesized }) => {
        if (sums) observer.merge(sums);
        for (const one of synthesized) onSynthesized?.(...one);
      },
      onLog: ({ level, fields, message }) => log[level](fields, message),
    };
    this.#slots = Array.from({ length: count }, () => ({ process: undefined, deaths: 0, timer: undefined }));
    this.#settings = toWorker(options);
  }

  /** Throws as DnsService.start does, with no process left. */
  static async start(options: PoolOptions, count: number): Promise<WorkerPool> {
    const pool = new WorkerPool(options, count);
    pool.#settings = await pool.#prepare(options);
    try {
      await Promise.all(pool.#slots.map((slot) => pool.#startFirst(slot)));
    } catch (error) {
      await pool.stop();
      throw error;
    }
    for (const slot of pool.#slots) pool.#supervise(slot);
    return pool;
  }

  get workers(): WorkerCounts {
    return { running: this.#states.length, wanted: this.#slots.length };
  }

  get pids(): readonly number[] {
    return this.#slots.flatMap(({ process }) => process?.pid ?? []);
  }

  get listeners(): readonly DnsListener[] {
    return this.#states[0]?.listeners ?? [];
  }

  /** As they were told last, a second ago at most. */
  get stats(): DnsStats {
    const all = this.#states.map(({ stats }) => stats);
    const sum = (of: (stats: DnsStats) => number) => all.reduce((total, stats) => total + of(stats), 0);
    const failing = new Map(all.flatMap((stats) => stats.failing.map((one) => [one.upstream, one])));
    return {
      cacheEntries: sum((stats) => stats.cacheEntries),
      cacheBytes: sum((stats) => stats.cacheBytes),
      inFlight: sum((stats) => stats.inFlight),
      kernel: undefined,
      upstreams: [...new Set(all.flatMap((stats) => stats.upstreams))],
      failing: [...failing.values()],
    };
  }

  ready(): boolean {
    return !this.#isStopped && this.#states.some(({ isReady }) => isReady);
  }

  /** All or none. Throws what one of them refuses with. */
  async reload(options: DnsOptions): Promise<void> {
    const before = { settings: this.#settings, endpoints: this.#endpoints };
    const next = await this.#prepare(options);
    const asked = this.#running;
    const results = await Promise.allSettled(asked.map((worker) => worker.apply(next)));
    const refused = results.find((result) => result.status === 'rejected');
    if (refused !== undefined) {
      this.#endpoints = before.endpoints;
      await Promise.all(asked.map((worker) => this.#bring(worker, before.settings)));
      throw refused.reason;
    }
    this.#settings = next;
    // One that has come up meanwhile.
    await Promise.all(this.#running.map((worker) => this.#bring(worker, next)));
  }

  setDestinations({ rules }: Destinations): void {
    this.#destinations = rules;
    for (const { process } of this.#slots) process?.setDestinations(rules);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    await Promise.all(
      this.#slots.map(async (slot) => {
        clearTimeout(slot.timer);
        await slot.process?.stop();
      }),
    );
  }

  get #running(): WorkerProcess[] {
    return this.#slots.flatMap(({ process }) => (process?.state ? [process] : []));
  }

  get #states(): WorkerState[] {
    return this.#slots.flatMap(({ process }) => process?.state ?? []);
  }

  /**
   * What workers get. New addresses are tried alone first: sharing a port, they would share it with another program that
   * does so.
   */
  async #prepare(options: DnsOptions): Promise<WorkerSettings> {
    const endpoints: (readonly [Endpoint, Endpoint])[] = [];
    for (const asked of options.listen) {
      const known = this.#endpoints.find(([one]) => one.host === asked.host && one.port === asked.port);
      endpoints.push(known ?? [asked, await tryListeners(asked, options.listener)]);
    }
    this.#endpoints = endpoints;
    const { settings, configured } = toWorker(options);
    // The kernel divides a network's ports among them evenly.
    const maxRate = Math.ceil((settings.maxRate ?? 0) / this.#slots.length);
    return { settings: { ...settings, listen: endpoints.map(([, bound]) => bound), maxRate }, configured };
  }

  async #startFirst(slot: Slot): Promise<void> {
    if ((await this.#spawn(slot).apply(this.#settings)) === 'applied') return;
    throw new Gate64Error('G64_DNS_WORKER', 'a DNS worker ended as it started');
  }

  #spawn(slot: Slot): WorkerProcess {
    const worker = new WorkerProcess(this.#hears);
    slot.process = worker;
    return worker;
  }

  #supervise(slot: Slot): void {
    const worker = slot.process as WorkerProcess;
    const startedAt = performance.now();
    void worker.ended.then((how) => {
      if (this.#isStopped) return;
      if (performance.now() - startedAt > STEADY_MS) slot.deaths = 0;
      const delayMs = slot.deaths === 0 ? 0 : Math.min(MAX_BACK_OFF_MS, 1000 * 2 ** (slot.deaths - 1));
      slot.deaths++;
      this.#log.warn({ pid: worker.pid, how, startsInMs: delayMs }, 'a DNS worker has ended; it is started again');
      slot.timer = setTimeout(() => void this.#startAgain(slot), delayMs);
    });
  }

  async #startAgain(slot: Slot): Promise<void> {
    const worker = this.#spawn(slot);
    this.#supervise(slot);
    try {
      // What the NAT64 refuses holds from the first answer.
      const configured = this.#destinations ?? this.#settings.configured;
      if ((await worker.apply({ ...this.#settings, configured })) === 'ended') return;
      if (this.#destinations) worker.setDestinations(this.#destinations);
      await this.#bring(worker, this.#settings);
      this.#log.info({ pid: worker.pid, ...this.workers }, 'a DNS worker answers again');
    } catch (error) {
      this.#log.warn({ err: error, pid: worker.pid }, 'a DNS worker cannot start');
      worker.kill();
    }
  }

  /** One that cannot follow is ended, and begins anew with what is in force. */
  async #bring(worker: WorkerProcess, settings: WorkerSettings): Promise<void> {
    if (worker.settings === settings) return;
    try {
      await worker.apply(settings);
    } catch (error) {
      this.#log.warn({ err: error, pid: worker.pid }, 'a DNS worker does not follow the others; it is started again');
      worker.kill();
    }
  }
}
