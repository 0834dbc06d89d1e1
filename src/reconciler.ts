// SPDX-License-Identifier: Apache-2.0
// The NAT64 half on a node: looks at what is, plans what is to be, makes the difference, until nothing differs. A start, a
// reload, a repair and the way back from a reload that failed are the same call.

import type { Config } from './config/config.ts';
import type { Datapath, DatapathSite, SessionRow } from './datapath/datapath.ts';
import { Gate64Error } from './errors.ts';
import { changes, describe } from './host/changes.ts';
import type { Host } from './host/host.ts';
import type { DatapathFacts } from './model/facts.ts';
import { BindingLog } from './nat64/binding-log.ts';
import { SYSTEM_CLOCK, type Clock } from './nat64/clock.ts';
import type { FragmentCounts } from './nat64/fragments.ts';
import type { Log } from './nat64/log.ts';
import { Nat64, type Readiness } from './nat64/nat64.ts';
import { poolAddresses } from './plan/blocks.ts';
import type { Desired, DesiredDatapath } from './plan/desired.ts';
import { FINDINGS, throwErrors, type Finding } from './plan/findings.ts';
import { findings, plan } from './plan/plan.ts';

/** Whoever changes the node tells nobody of some changes: it is looked at this often. */
const LOOK_MS = 30_000;
/** After a look that failed the next comes this soon, then after twice as long, up to LOOK_MS. */
const RETRY_MS = 1_000;
/** What is made is looked at again; a node that differs still after so many rounds is changed by somebody else. */
const MAX_ROUNDS = 4;

export interface ReconcilerOptions {
  readonly config: Config;
  readonly host: Host;
  readonly site: DatapathSite;
  readonly log: Log;
  readonly clock?: Clock;
  /** Told of sessions that ended, as they last stood; of many at once not of all. */
  readonly onEnded?: (rows: readonly SessionRow[]) => void;
  /** Told of every sweep, in milliseconds. */
  readonly onSweep?: (durationMs: number) => void;
  /** Told of what holds, after every time that it was made so. */
  readonly onConverged?: (desired: Desired) => void;
}

export interface Look {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly findings: readonly Finding[];
}

export class Reconciler {
  readonly #options: ReconcilerOptions;
  readonly #clock: Clock;
  readonly #bindings: BindingLog;
  /** Findings that were said. */
  readonly #said = new Set<string>();
  /** The configuration in force: the one to go back to. */
  #config: Config;
  #datapath: Datapath | undefined;
  #nat64: Nat64 | undefined;
  /** What held when the node was last as it must be. */
  #desired: Desired | undefined;
  /** The last look for everything that may be wrong, at a start or a reload that was accepted. */
  #lastLook: Look | undefined;
  /** Addresses that pods used then. */
  #leased: readonly number[] = [];
  /** Whether anything was changed since then. */
  #isTouched = false;
  /** Why the node is not as it must be. */
  #trouble: string | undefined;
  #retryMs = RETRY_MS;
  #cancelLook: (() => void) | undefined;
  #watch: { stop(): void } | undefined;
  #isStopped = false;
  /** What is done to the node comes one after another. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#bindings = new BindingLog({ log: options.log, clock: this.#clock });
    this.#config = options.config;
  }

  /** Throws before anything has been changed when it cannot work; what was changed until it failed is taken back. */
  static async start(options: ReconcilerOptions): Promise<Reconciler> {
    const { host, site, config } = options;
    throwErrors(await host.preflight());
    const reconciler = new Reconciler(options);
    const wasThere = site.isThere();
    try {
      reconciler.#tell(await reconciler.#converge(config, true));
    } catch (error) {
      const isTouched = reconciler.#isTouched;
      await reconciler.stop();
      // A data plane that was there before goes on.
      if (isTouched && !wasThere) {
        try {
          site.remove();
        } finally {
          await host.uninstall(config.nat64.device);
        }
      }
      throw error;
    }
    reconciler.#watch = host.watch(() => void reconciler.look());
    reconciler.#recovered();
    return reconciler;
  }

  get datapath(): Datapath {
    if (this.#datapath === undefined) throw new Gate64Error('G64_DATAPATH_MISSING', 'the data plane is not open');
    return this.#datapath;
  }

  info(): { uplink: string | null; attach: string; adopted: boolean; accelerated: number } {
    const { attach, adopted } = this.datapath.info();
    const accelerated = this.datapath.attachments().filter(({ name, attached }) => name === 'accel' && attached);
    return { uplink: this.#desired?.uplinks[0] ?? null, attach, adopted, accelerated: accelerated.length };
  }

  /** None while NAT64 has not started. */
  fragments(): FragmentCounts {
    return this.#nat64?.fragments() ?? { released: 0, expired: 0, refused: 0, evicted: 0 };
  }

  /** Somebody may have moved the files of logs aside. */
  reopenLogs(): void {
    this.#bindings.reopen();
  }

  get lastLook(): Look | undefined {
    return this.#lastLook;
  }

  ready(): Readiness {
    if (this.#trouble !== undefined) return { ready: false, reason: this.#trouble };
    return this.#nat64?.ready() ?? { ready: false, reason: 'NAT64 has not started' };
  }

  /** Puts another configuration into force. Throws when that fails; the one before is then in force still, or again. */
  async apply(config: Config): Promise<void> {
    await this.#exclusive(async () => {
      try {
        this.#tell(await this.#converge(config, true));
      } catch (error) {
        if (this.#isTouched) await this.#goBack();
        throw error;
      }
      this.#config = config;
      this.#recovered();
    });
  }

  /** Puts back what somebody took away, brings in what changed; again and again until it holds. Never rejects. */
  look(): Promise<void> {
    return this.#exclusive(async () => {
      if (this.#isStopped) return;
      try {
        const before = this.#leased;
        const made = await this.#converge(this.#config, false);
        this.#say(made, before);
        this.#recovered();
      } catch (error) {
        this.#failed(error, 'the node is not as gate64 needs it');
      }
    });
  }

  /** Ends this process's part. Device, routes, programs and maps stay and go on translating. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#cancelLook?.();
    this.#watch?.stop();
    await this.#turn;
    this.#nat64?.stop();
    this.#datapath?.[Symbol.dispose]();
    await this.#bindings.stop();
    this.#nat64 = undefined;
    this.#datapath = undefined;
  }

  /** Makes node and data plane what `config` asks for; says what had to be changed on the node. */
  async #converge(config: Config, thorough: boolean): Promise<string[]> {
    const { host } = this.#options;
    const made: string[] = [];
    for (let round = 1; ; round++) {
      const isFirst = round === 1;
      const facts = await host.observe({
        direct: config.nat64.egress === 'direct',
        thorough: thorough && isFirst,
      });
      if (thorough && isFirst) this.#report(findings(config, facts));
      const datapath = this.#datapathFacts();
      const desired = plan(config, facts, datapath);
      if (isFirst && desired.datapath !== undefined) this.#nat64?.refuseOversized(desired.datapath);
      const differences = changes(facts, desired.node);
      if (differences.length === 0 && desired.datapath !== undefined) {
        this.#convergeDatapath(desired.datapath);
        this.#bindings.configure(config.nat64, this.datapath);
        this.#isTouched = false;
        this.#desired = desired;
        this.#leased = datapath.leased;
        this.#options.onConverged?.(desired);
        // A pod may have taken a block of an address that left, while the node was being changed.
        if (this.#nat64?.leasedAddresses().join() !== datapath.leased.join()) this.#lookAfter(0);
        return made;
      }
      if (round === MAX_ROUNDS) {
        throw new Gate64Error(
          'G64_HOST_STATE',
          `the node does not stay as gate64 sets it; somebody else changes: ${wordsOf(differences).join(', ')}`,
          { hint: 'look for another program that manages interfaces, routes or nftables and leaves gate64 no room' },
        );
      }
      this.#isTouched = true;
      await host.make(differences);
      made.push(...wordsOf(differences));
    }
  }

  #datapathFacts(): DatapathFacts {
    if (this.#nat64 === undefined || this.#datapath === undefined) return this.#options.site.facts();
    return {
      leased: this.#nat64.leasedAddresses(),
      shared: this.#datapath.sharedAddresses(),
      places: this.#datapath.places(),
    };
  }

  #convergeDatapath(desired: DesiredDatapath): void {
    this.#isTouched = true;
    if (this.#nat64 === undefined) this.#open(desired);
    else this.#nat64.converge(desired);
  }

  #open(desired: DesiredDatapath): void {
    const { site, log, onEnded, onSweep } = this.#options;
    const slots = poolAddresses(desired.pool).length;
    const datapath = site.open({ ...desired.programs, slots }, desired.sizes);
    const { attach, adopted, replaced, programs } = datapath.info();
    if (replaced !== undefined)
      log.warn({ reason: replaced }, 'the data plane that was there could not be taken over; its sessions end');
    const { device, egress } = this.#config.nat64;
    log.info({ attach, adopted, programs, device, egress }, 'data plane in place');
    const nat64 = new Nat64({
      datapath,
      log,
      bindings: this.#bindings,
      clock: this.#clock,
      onEnded,
      onSweep: ({ durationMs }) => onSweep?.(durationMs),
    });
    this.#datapath = datapath;
    this.#nat64 = nat64;
    nat64.start(desired);
  }

  /** Node and data plane as the configuration in force has them. */
  async #goBack(): Promise<void> {
    try {
      await this.#converge(this.#config, false);
    } catch (error) {
      this.#failed(error, 'could not go back to the configuration before; trying again');
    }
  }

  #failed(error: unknown, message: string): void {
    const trouble = error instanceof Error ? error.message : String(error);
    if (trouble !== this.#trouble) this.#options.log.error({ err: error }, message);
    this.#trouble = trouble;
    this.#lookAfter(this.#retryMs);
    this.#retryMs = Math.min(LOOK_MS, this.#retryMs * 2);
  }

  #recovered(): void {
    if (this.#trouble !== undefined) this.#options.log.info({}, 'the node is as gate64 needs it again');
    this.#trouble = undefined;
    this.#retryMs = RETRY_MS;
    if (this.#cancelLook === undefined) this.#lookAfter(LOOK_MS);
  }

  #lookAfter(delayMs: number): void {
    this.#cancelLook?.();
    this.#cancelLook = undefined;
    if (this.#isStopped) return;
    this.#cancelLook = this.#clock.after(delayMs, () => {
      this.#cancelLook = undefined;
      void this.look();
    });
  }

  #tell(made: readonly string[]): void {
    if (made.length > 0) this.#options.log.info({ changes: made }, 'made the node ready');
  }

  #say(made: readonly string[], leasedBefore: readonly number[]): void {
    if (made.length === 0) return;
    const { log } = this.#options;
    // What is gone now was kept for flows that have ended.
    if (leasedBefore.some((v4) => !this.#leased.includes(v4)))
      log.info({ changes: made }, 'brought the node up to date');
    else log.warn({ repaired: made }, 'put back what was missing on the node');
  }

  /** Throws the errors among `found`; says the others, each once while it is there. */
  #report(found: readonly Finding[]): void {
    throwErrors(found);
    this.#lastLook = { at: Date.now(), findings: found };
    const texts = new Set<string>();
    for (const { name, message, remedy } of found) {
      texts.add(message);
      if (this.#said.has(message)) continue;
      this.#options.log.warn({ finding: name, code: FINDINGS[name].code, hint: remedy }, message);
    }
    this.#said.clear();
    for (const text of texts) this.#said.add(text);
  }

  #exclusive(action: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(action);
    this.#turn = turn.catch(() => undefined);
    return turn;
  }
}

function wordsOf(differences: readonly Parameters<typeof describe>[0][]): string[] {
  return differences.flatMap((change) => describe(change) ?? []);
}
