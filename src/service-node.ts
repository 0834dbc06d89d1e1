// SPDX-License-Identifier: Apache-2.0
// The NAT64 half on a real node: host, data plane and policy started together, kept in step while the node changes.

import type { Config } from './config/config.ts';
import type { Datapath } from './datapath/datapath.ts';
import { hasDatapath, openDatapath, openReader, removeDatapath, type OpenDatapathOptions } from './datapath/open.ts';
import { Gate64Error } from './errors.ts';
import { createHost, type Host, type HostSnapshot } from './host/host.ts';
import { throwErrors } from './host/problem.ts';
import { watchHost } from './host/watch.ts';
import type { Nat64Metrics } from './nat64/metrics.ts';
import { createNat64, datapathConfig, type Nat64, type Readiness } from './nat64/nat64.ts';
import { poolAddresses, poolBlocks } from './nat64/pool.ts';
import type { Logger } from './telemetry/logger.ts';

const RECONCILE_MS = 30_000;
const MIN_BLOCK_RECORDS = 16384;

/** What is compared to see whether the node changed in a way that matters. */
function factsText(snapshot: HostSnapshot): string {
  return JSON.stringify(snapshot, (_, value: unknown) =>
    value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value,
  );
}

/**
 * Addresses that pods use on the data plane that is here: with another pool they must not lose their way. One that cannot
 * be read is of another version and will be replaced.
 */
function leasedOfBefore(): number[] {
  if (!hasDatapath()) return [];
  try {
    using reader = openReader();
    const leased = reader.blocks().filter((row) => row.state === 'leased');
    return [...new Set(leased.map((row) => row.v4))];
  } catch (error) {
    if (error instanceof Gate64Error) return [];
    throw error;
  }
}

/** A data plane that cannot be opened leaves nothing on the node, unless one was there before and goes on. */
async function openOrUndo(host: Host, options: OpenDatapathOptions): Promise<Datapath> {
  const wasThere = hasDatapath();
  try {
    return openDatapath(options);
  } catch (error) {
    if (!wasThere) {
      removeDatapath();
      await host.uninstall();
    }
    throw error;
  }
}

export class NodeHalf {
  readonly #log: Logger;
  readonly #metrics: Nat64Metrics;
  readonly #datapath: Datapath;
  readonly #nat64: Nat64;
  #config: Config;
  #host: Host;
  #snapshot: HostSnapshot;
  /** Addresses that pods used when the node was looked at last. */
  #leased: readonly number[] = [];
  #trouble: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #watch: { stop(): void } | undefined;
  /** Looks at the node come one after another. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(options: {
    config: Config;
    log: Logger;
    metrics: Nat64Metrics;
    host: Host;
    snapshot: HostSnapshot;
    datapath: Datapath;
    nat64: Nat64;
  }) {
    this.#config = options.config;
    this.#log = options.log;
    this.#metrics = options.metrics;
    this.#host = options.host;
    this.#snapshot = options.snapshot;
    this.#datapath = options.datapath;
    this.#nat64 = options.nat64;
  }

  /** Checks the node, prepares it, opens the data plane. Throws before anything has been changed if it cannot work. */
  static async start(config: Config, log: Logger, metrics: Nat64Metrics): Promise<NodeHalf> {
    const host = createHost({ config });
    const problems = await host.check();
    throwErrors(problems);
    for (const { code, message, hint } of problems) log.warn({ code, hint }, message);
    const snapshot = await host.apply(leasedOfBefore());
    const wanted = poolBlocks(snapshot.pool, config.nat64.blockSize).length;
    const loadedWith = datapathConfig(config, snapshot, poolAddresses(snapshot.pool).length);
    const datapath = await openOrUndo(host, {
      config: loadedWith,
      // Room for a pool that grows, so that its growth need not replace the maps.
      sizes: {
        maxSessions: config.nat64.maxSessions,
        maxBlocks: Math.max(MIN_BLOCK_RECORDS, 2 ** Math.ceil(Math.log2(wanted * 2))),
      },
    });
    const { attach, adopted, replaced, programs } = datapath.info();
    if (replaced !== undefined)
      log.warn({ reason: replaced }, 'the data plane that was there could not be taken over; its sessions end');
    log.info(
      { attach, adopted, programs, device: config.nat64.device, egress: config.nat64.egress },
      'data plane in place',
    );
    const nat64 = createNat64({
      datapath,
      config,
      hostFacts: snapshot,
      log,
      loadedWith,
      onSweep: (result) => metrics.observeSweep(result.durationMs / 1000),
    });
    const half = new NodeHalf({ config, log, metrics, host, snapshot, datapath, nat64 });
    half.#begin();
    return half;
  }

  #begin(): void {
    this.#nat64.start();
    this.#metrics.start({
      datapath: this.#datapath,
      ready: () => this.ready().ready,
      egress: () => this.#config.nat64.egress,
    });
    this.#watch = watchHost(() => this.#look());
    this.#timer = setInterval(() => this.#look(), RECONCILE_MS);
  }

  info(): { uplink: string | null; attach: string; adopted: boolean } {
    const { attach, adopted } = this.#datapath.info();
    return { uplink: this.#snapshot.uplinks[0]?.name ?? null, attach, adopted };
  }

  ready(): Readiness {
    return this.#trouble === undefined ? this.#nat64.ready() : { ready: false, reason: this.#trouble };
  }

  /** Throws when the new configuration cannot work on this node; the old one is then in force still. */
  async check(config: Config): Promise<void> {
    const host = createHost({ config });
    throwErrors(await host.check());
    this.#nat64.check(config, await host.snapshot());
  }

  async reload(config: Config): Promise<void> {
    await this.#exclusive(async () => {
      const host = createHost({ config });
      const leased = this.#nat64.leasedAddresses();
      const snapshot = await host.apply(leased);
      try {
        this.#nat64.reload(config, snapshot);
      } catch (error) {
        await this.#goBack();
        throw error;
      }
      this.#host = host;
      this.#config = config;
      this.#snapshot = snapshot;
      this.#leased = leased;
      this.#trouble = undefined;
    });
    // A pod may have taken a block of an address that left, while the node was being changed.
    if (this.#nat64.leasedAddresses().join() !== this.#leased.join()) this.#look();
  }

  /** Node and data plane as the configuration in force has them. */
  async #goBack(): Promise<void> {
    try {
      const snapshot = await this.#host.apply(this.#nat64.leasedAddresses());
      this.#nat64.reload(this.#config, snapshot);
      this.#snapshot = snapshot;
    } catch (error) {
      this.#log.error({ err: error }, 'could not go back to the configuration before');
    }
  }

  /** Ends this process's part. Device, routes, programs and maps stay and go on translating. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#watch?.stop();
    await this.#turn;
    this.#metrics.stop();
    this.#nat64.stop();
    this.#datapath[Symbol.dispose]();
  }

  #exclusive(action: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(action);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  #look(): void {
    this.#exclusive(() => this.#reconcile()).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== this.#trouble) this.#log.error({ err: error }, 'the node is not as gate64 needs it');
      this.#trouble = message;
    });
  }

  async #reconcile(): Promise<void> {
    const leased = this.#nat64.leasedAddresses();
    const { repaired, snapshot } = await this.#host.reconcile(leased);
    const left = this.#leased.filter((v4) => !leased.includes(v4));
    this.#leased = leased;
    if (repaired.length > 0) {
      // What is gone now was kept for flows that have ended.
      if (left.length > 0) this.#log.info({ changes: repaired }, 'brought the node up to date');
      else this.#log.warn({ repaired }, 'put back what was missing on the node');
    }
    const changed = factsText(snapshot) !== factsText(this.#snapshot);
    this.#snapshot = snapshot;
    if (changed) this.#nat64.reload(this.#config, snapshot);
    if (this.#trouble !== undefined) this.#log.info({}, 'the node is as gate64 needs it again');
    this.#trouble = undefined;
  }
}

/** Settings that name or size what is made at start. */
export function refuseUnreloadable(before: Config, after: Config): void {
  const fixed = {
    'nat64.enabled': [before.nat64.enabled, after.nat64.enabled],
    'nat64.device': [before.nat64.device, after.nat64.device],
    'nat64.maxSessions': [before.nat64.maxSessions, after.nat64.maxSessions],
    'dns.enabled': [before.dns.enabled, after.dns.enabled],
  };
  const changed = Object.entries(fixed)
    .filter(([, [old, now]]) => old !== now)
    .map(([key, [old, now]]) => `${key} (from ${String(old)} to ${String(now)})`);
  if (changed.length === 0) return;
  throw new Gate64Error('G64_CONFIG_INVALID', `cannot be changed while the service runs: ${changed.join(', ')}`, {
    hint: 'restart the service; running sessions stay, but for a change of nat64.maxSessions',
  });
}
