// SPDX-License-Identifier: Apache-2.0
// The NAT64 half: brings pool, policy, static bindings and programs into the data plane (RFC 6146), keeps its ledger of
// port blocks and sweeps it. Stopping leaves the data plane translating.

import type { DestinationRule } from '../addr/destinations.ts';
import { formatIp4 } from '../addr/ip.ts';
import type { Datapath, SessionRow } from '../datapath/datapath.ts';
import { Gate64Error } from '../errors.ts';
import type { StaticBinding } from '../model/binding.ts';
import { poolAddresses, poolBlocks } from '../plan/blocks.ts';
import type { DesiredDatapath } from '../plan/desired.ts';
import type { BindingLog } from './binding-log.ts';
import { SYSTEM_CLOCK, type Clock } from './clock.ts';
import { PortBlockLedger, type LedgerAddress } from './ledger.ts';
import { Fragments, type FragmentCounts } from './fragments.ts';
import { HeldSyns } from './held-syns.ts';
import type { Log } from './log.ts';
import { applyStaticBindings, formatStaticBinding, type RefusedBinding } from './static-bindings.ts';
import { Pressure } from './pressure.ts';
import { Sweeper, type SweepSum } from './sweeper.ts';
import { HOLD_DOWN_SECONDS, IDLE_BLOCK_SECONDS } from './timeouts.ts';
import { allocationFailures } from './views.ts';

const VERIFY_INTERVAL_MS = 60_000;
const ATTACH_INTERVAL_MS = 5000;

export interface Nat64Options {
  readonly datapath: Datapath;
  readonly log: Log;
  readonly bindings?: BindingLog;
  readonly clock?: Clock;
  readonly holdDownMs?: number;
  readonly idleBlockMs?: number;
  readonly random?: () => number;
  /** Told of sessions that ended, as they last stood; of many at once not of all. */
  readonly onEnded?: ((rows: readonly SessionRow[]) => void) | undefined;
  /** Told of every sweep, after it. */
  readonly onSweep?: (result: SweepSum) => void;
}

export interface Readiness {
  readonly ready: boolean;
  /** What is missing, when not ready. */
  readonly reason?: string;
}

export class Nat64 {
  readonly #datapath: Datapath;
  readonly #log: Log;
  readonly #bindings: BindingLog | undefined;
  readonly #clock: Clock;
  readonly #ledger: PortBlockLedger;
  readonly #sweeper: Sweeper;
  readonly #fragments: Fragments;
  readonly #syns: HeldSyns;
  readonly #pressure: Pressure;
  readonly #complaints = new Map<string, string>();
  /** What the data plane was made last, whole. */
  #desired: DesiredDatapath | undefined;
  #refused: readonly RefusedBinding[] = [];
  /** Addresses that the node has lost: all that the ledger has of them, and those whose sessions have not ended yet. */
  #lost: readonly number[] = [];
  readonly #ending = new Set<number>();
  /** The addresses that the data plane was told of last. */
  #addresses = '';
  #attached = true;
  #attachCheckedAt = -Infinity;
  #verifiedAt = -Infinity;
  /** Flows that found no block: as last seen, and as last said. */
  #exhausted = 0;
  #exhaustedSaid = 0;
  #unpairedSaid = 0;
  #unsubscribe: (() => void) | undefined;

  constructor(options: Nat64Options) {
    const { datapath, log } = options;
    const clock = options.clock ?? SYSTEM_CLOCK;
    this.#datapath = datapath;
    this.#log = log;
    this.#bindings = options.bindings;
    this.#clock = clock;
    this.#ledger = new PortBlockLedger({
      datapath,
      clock,
      log,
      bindings: options.bindings,
      holdDownMs: options.holdDownMs ?? HOLD_DOWN_SECONDS * 1000,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
    this.#pressure = new Pressure(datapath, log);
    this.#fragments = new Fragments({ datapath, clock, log });
    this.#syns = new HeldSyns({ datapath, clock, log });
    this.#sweeper = new Sweeper({
      datapath,
      clock,
      log,
      idleBlockMs: options.idleBlockMs ?? IDLE_BLOCK_SECONDS * 1000,
      onEnded: options.onEnded,
      onSweep: (result) => {
        options.onSweep?.(result);
        this.#ledger.noteReturned(result.returned);
      },
      onTick: () => this.#tick(),
    });
  }

  /** Takes over what an earlier process left, makes it what `desired` says, starts to sweep. */
  start(desired: DesiredDatapath): void {
    if (this.#unsubscribe !== undefined) return;
    // Before the blocks are read: a lease in between is then told of twice rather than never.
    this.#unsubscribe = this.#datapath.onEvent((event) => this.#ledger.noteEvent(event));
    this.converge(desired);
    this.#verifiedAt = this.#clock.now();
    this.#ledger.verify();
    this.#sayPool(desired);
    this.#sweeper.start();
  }

  /** Ends timers and subscriptions; the data plane goes on. */
  stop(): void {
    this.#sweeper.stop();
    this.#fragments.stop();
    this.#syns.stop();
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  /**
   * Makes the data plane what `desired` says; sessions stay. Each step looks at what is, so that after one that failed
   * another call goes on, or goes back to what was. Policy comes before anything that lets packets through.
   */
  converge(desired: DesiredDatapath): void {
    this.#setDestinations(desired.destinations);
    this.#datapath.setSources(desired.sources);
    this.#applyStatics(desired);
    this.#ledger.reconcile(poolBlocks(desired.pool, desired.blockSize), this.#staticsInForce(desired));
    this.#setPoolAddresses(desired);
    this.#ledger.tick();
    this.#datapath.setPrograms({ ...desired.programs, slots: this.#ledger.slots() });
    this.#setPodDevices(desired.podDevices);
    this.#giveUpLost(desired);
    this.#syns.start(desired.timeouts.tcpIncomingSyn * 1000);
    this.#fragments.start(desired.timeouts.fragment * 1000);
    this.#desired = desired;
    this.#attached = true;
  }

  /** Throws G64_CONFIG_INVALID when the data plane's maps, whose size is fixed, have no room for `desired`. Changes nothing. */
  refuseOversized(desired: DesiredDatapath): void {
    const limits = this.#datapath.limits();
    const blocks = poolBlocks(desired.pool, desired.blockSize);
    const leaving = this.#ledger.leaving(blocks);
    if (blocks.length + leaving > limits.blocks) {
      const left = leaving === 0 ? '' : ` and ${leaving} that left it are in use still`;
      throw new Gate64Error(
        'G64_CONFIG_INVALID',
        `nat64.pool makes ${blocks.length} blocks of ${desired.blockSize} ports${left}; the data plane holds ${limits.blocks} blocks`,
        {
          hint: 'choose a larger nat64.blockSize or a smaller pool, or restart the service, which makes larger maps; running sessions end then',
        },
      );
    }
    // The node's own addresses come last, and those beyond are left out.
    const rules = desired.destinations.filter(({ net, verdict }) => verdict !== 'node' || net.length < 32).length;
    if (rules > limits.destinations) {
      throw new Gate64Error(
        'G64_CONFIG_INVALID',
        `nat64.deny, nat64.allowNonGlobalIpv4 and nat64.pool make ${rules} networks; the data plane holds ${limits.destinations}`,
        { hint: 'join networks to larger ones' },
      );
    }
    if (desired.sources.length > limits.sources) {
      throw new Gate64Error(
        'G64_CONFIG_INVALID',
        `nat64.allowSources has ${desired.sources.length} networks; the data plane holds ${limits.sources}`,
        { hint: 'join networks to larger ones' },
      );
    }
  }

  ready(): Readiness {
    const no = (reason: string): Readiness => ({ ready: false, reason });
    const desired = this.#desired;
    if (this.#unsubscribe === undefined || desired === undefined) return no('NAT64 has not started');
    // RFC 6146 §3: at least one prefix and one pool address.
    if (desired.programs.prefixCount === 0) return no('no translation prefix is configured');
    if (desired.pool.length === 0) return no('the pool has no address');
    if (!this.#attached) return no('the programs are not attached to the device');
    const { offered, leased } = this.#ledger.serving();
    if (offered + leased > 0) return { ready: true };
    const at = this.#ledger.nextReadyAt();
    if (at === undefined) return no('no block of ports is free');
    const seconds = Math.max(0, Math.ceil((at - this.#clock.now()) / 1000));
    return no(`every block of ports rests before it is given out again; the next in ${seconds} s`);
  }

  /** What became of fragments that the programs could not translate one by one. */
  fragments(): FragmentCounts {
    return this.#fragments.counts();
  }

  /** Addresses of which pods hold ports, those that left the pool included: the node has to lead their packets here. */
  leasedAddresses(): readonly number[] {
    return this.#ledger.leasedAddresses();
  }

  #sayPool({ pool, blockSize, programs: { maxBlocksPerPod } }: DesiredDatapath): void {
    const blocks = poolBlocks(pool, blockSize);
    const fields = {
      addresses: poolAddresses(pool).length,
      ports: blocks.reduce((sum, { size }) => sum + size, 0),
      blocks: blocks.length,
      blockSize,
      maxBlocksPerPod,
    };
    this.#log.info(fields, 'the pool has a block of ports for as many pods as it has blocks');
  }

  #tick(): void {
    this.#noteRefusals();
    this.#ledger.tick();
    this.#endLost();
    this.#relieve();
    this.#releaseAddresses();
    this.#verify();
    this.#keepAttached();
  }

  /** The node's own addresses come last; a node may have more (a load balancer's) than there is room for. */
  #setDestinations(rules: readonly DestinationRule[]): void {
    const { destinations } = this.#datapath.limits();
    const beyond = rules.slice(destinations).map(({ net }) => formatIp4(net.v4));
    this.#datapath.setDestinations(rules.slice(0, destinations));
    const fields = { addresses: beyond.slice(0, 8), count: beyond.length, room: destinations };
    this.#complain('destinations', beyond, fields, 'too many addresses of the node; pods reach these through NAT64');
  }

  /** Where the accelerator cannot hang, packets go the node's way: slower, and no reason to be unready. */
  #setPodDevices(ifindexes: readonly number[]): void {
    const { failed } = this.#datapath.setPodDevices(ifindexes);
    const fields = { interfaces: [...failed.keys()].slice(0, 8), err: [...failed.values()][0] };
    this.#complain('podDevices', [...failed.keys()].map(String), fields, 'interfaces that cannot be accelerated');
  }

  /** Logs an error once for what is there, and again when that changes. */
  #complain(topic: string, about: readonly string[], fields: object, message: string): void {
    const text = about.join();
    if (text !== (this.#complaints.get(topic) ?? '') && about.length > 0) this.#log.error(fields, message);
    this.#complaints.set(topic, text);
  }

  #applyStatics({ pool, statics }: DesiredDatapath): void {
    const addresses = new Set(poolAddresses(pool).map((address) => address.v4));
    const result = applyStaticBindings(this.#datapath, statics, addresses);
    for (const binding of result.removed) {
      this.#log.info({ binding: formatStaticBinding(binding) }, 'static binding removed');
      this.#bindings?.staticRemoved(binding);
    }
    for (const binding of result.added) {
      this.#log.info({ binding: formatStaticBinding(binding) }, 'static binding added');
      this.#bindings?.staticAdded(binding);
    }
    const known = new Set(this.#refused.map((entry) => entry.binding));
    for (const { binding, reason } of result.refused) {
      if (!known.has(binding))
        this.#log.warn({ binding: formatStaticBinding(binding), reason }, 'static binding refused');
    }
    this.#refused = result.refused;
  }

  #staticsInForce({ statics }: DesiredDatapath): StaticBinding[] {
    const refused = new Set(this.#refused.map((entry) => entry.binding));
    return statics.filter((binding) => !refused.has(binding));
  }

  /**
   * Addresses that left the pool stay known to the data plane until their last flow has ended. What was the node's stays
   * marked so, in the data plane since a process may end: once the node has it no more it is nobody's here.
   */
  #setPoolAddresses({ pool, nodeAddresses }: DesiredDatapath): void {
    const shared = new Map(poolAddresses(pool).map((address) => [address.v4, address.shared]));
    const were = new Set([...nodeAddresses, ...this.#datapath.sharedAddresses()]);
    const addresses = this.#ledger.addresses();
    this.#datapath.setPoolAddresses(
      addresses.map(({ v4, slot, wanted }) => ({
        v4,
        slot,
        shared: shared.get(v4) ?? were.has(v4),
        draining: !wanted,
      })),
    );
    this.#addresses = addressesText(addresses);
  }

  /**
   * An address that the node has lost (DHCP, a dial-up anew) is somebody else's by now: nothing is sent from it any more.
   * Comes last, so that whoever loses a session finds a port of another address.
   */
  #giveUpLost({ nodeAddresses }: DesiredDatapath): void {
    const shared = new Set(this.#datapath.sharedAddresses());
    const left = this.#ledger.addresses().filter(({ wanted }) => !wanted);
    const lost = left.map(({ v4 }) => v4).filter((v4) => shared.has(v4) && !nodeAddresses.includes(v4));
    for (const v4 of lost) {
      if (this.#lost.includes(v4)) continue;
      const sessions = this.#datapath.endSessionsOf(v4);
      if (sessions === 0) continue;
      this.#ending.add(v4);
      this.#log.warn(
        { address: formatIp4(v4), sessions },
        'the node has lost an address of the pool; its sessions end, new ones get another',
      );
    }
    this.#lost = lost;
  }

  /** While one session of a binding lives, a new one joins it and has its address: again, until there is none. */
  #endLost(): void {
    for (const v4 of this.#ending) {
      if (!this.#lost.includes(v4) || this.#datapath.endSessionsOf(v4) === 0) this.#ending.delete(v4);
    }
  }

  #releaseAddresses(): void {
    if (this.#desired === undefined || addressesText(this.#ledger.addresses()) === this.#addresses) return;
    this.#setPoolAddresses(this.#desired);
  }

  /** Somebody may clear the filters of the device (a CNI at its start does): puts the programs back. */
  #keepAttached(): void {
    const now = this.#clock.now();
    if (this.#desired === undefined || now - this.#attachCheckedAt < ATTACH_INTERVAL_MS) return;
    this.#attachCheckedAt = now;
    try {
      const did = this.#datapath.setPrograms({ ...this.#desired.programs, slots: this.#ledger.slots() });
      if (did === 'attached') this.#log.warn({}, 'the programs were detached by somebody else; attached again');
      this.#attached = true;
    } catch (error) {
      // The device itself may be gone; who looks after it makes it anew and converges.
      if (this.#attached) this.#log.error({ err: error }, 'the programs are detached and cannot be attached again yet');
      this.#attached = false;
    }
  }

  #relieve(): void {
    if (this.#desired === undefined) return;
    const { programs, blockSize, sizes, timeouts } = this.#desired;
    const { maxBlocksPerPod, maxSessionsPerPod, reservedBlocks } = programs;
    const tcpClosingMs = timeouts.tcpClosing * 1000;
    this.#pressure.tick(
      { tcpClosingMs, maxSessions: sizes.maxSessions, maxSessionsPerPod, maxBlocksPerPod, reservedBlocks },
      { ...this.#ledger.use(), blockSize },
    );
  }

  #verify(): void {
    const now = this.#clock.now();
    const desired = this.#desired;
    if (desired === undefined || now - this.#verifiedAt < VERIFY_INTERVAL_MS) return;
    this.#verifiedAt = now;
    this.#ledger.verify();
    if (this.#refused.length > 0) {
      this.#applyStatics(desired);
      this.#ledger.setStatics(this.#staticsInForce(desired));
    }
    this.#sayRefusals(desired);
    this.#sayUnpaired(desired);
  }

  #sayRefusals(desired: DesiredDatapath): void {
    const refused = this.#exhausted - this.#exhaustedSaid;
    this.#exhaustedSaid = this.#exhausted;
    if (refused <= 0) return;
    const addresses = poolAddresses(desired.pool).map((address) => formatIp4(address.v4));
    this.#log.warn({ flows: refused, addresses: addresses.slice(0, 8) }, 'the pool ran out of port blocks');
  }

  /** Outside they are seen by more than one address (RFC 6888 REQ-2); behind a masquerade nobody sees it. */
  #sayUnpaired({ programs }: DesiredDatapath): void {
    const unpaired = programs.direct === 1 ? this.#ledger.unpaired() : 0;
    if (unpaired > this.#unpairedSaid) {
      this.#log.warn(
        { pods: unpaired },
        'pods have ports of more than one address: the first has no block left for them',
      );
    }
    this.#unpairedSaid = unpaired;
  }

  #noteRefusals(): void {
    const { pool_exhausted: exhausted } = allocationFailures(this.#datapath.drops());
    if (exhausted > this.#exhausted) this.#ledger.wake(this.#desired?.programs.reservedBlocks ?? 0);
    this.#exhausted = exhausted;
  }
}

function addressesText(addresses: readonly LedgerAddress[]): string {
  return addresses.map(({ v4, slot, wanted }) => `${v4} ${slot} ${wanted}`).join();
}
