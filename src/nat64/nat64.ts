// SPDX-License-Identifier: Apache-2.0
// The NAT64 half as the service sees it: brings pool, policy, static bindings and settings into the data plane (RFC 6146),
// keeps its ledger of port blocks and sweeps it. Stopping leaves the data plane translating.

import { destinationRules, type DestinationRule } from '../addr/destinations.ts';
import { formatIp4, type Ip6Net } from '../addr/ip.ts';
import type { PoolRange } from '../addr/pool-ranges.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';
import type { Nat64Config } from '../config/config.ts';
import type {
  Datapath,
  DatapathConfig,
  DatapathLimits,
  PoolAddress,
  SessionRow,
  StaticBinding,
  Uplink,
} from '../datapath/datapath.ts';
import { MAX_UPLINKS } from '../datapath/layout.gen.ts';
import { Gate64Error } from '../errors.ts';
import { PortBlockLedger, type LedgerAddress } from './ledger.ts';
import { SYSTEM_CLOCK, type Clock, type Log } from './log.ts';
import { poolAddresses, poolBlocks } from './pool.ts';
import { applyStaticBindings, formatStaticBinding, type RefusedBinding } from './static-bindings.ts';
import { Sweeper, type SweepSum } from './sweeper.ts';
import { HOLD_DOWN_SECONDS, IDLE_BLOCK_SECONDS } from './timeouts.ts';
import { allocationFailures, poolUsage, type AddressUsage } from './views.ts';

const VERIFY_INTERVAL_MS = 60_000;
const ATTACH_INTERVAL_MS = 5000;

/** What the node's side found out; src/host/ makes it. */
export interface HostFacts {
  readonly device: { readonly ifindex: number; readonly mac: Uint8Array; readonly mtu: number };
  readonly uplinks: readonly Uplink[];
  readonly nodeAddresses: readonly number[];
  readonly node6: Uint8Array;
  /** nat64.pool as it stands on this node (addr/pool-ranges.ts). */
  readonly pool: readonly PoolRange[];
}

export interface Nat64Settings {
  readonly prefixes: readonly Prefix64[];
  readonly nat64: Pick<
    Nat64Config,
    | 'egress'
    | 'blockSize'
    | 'maxBlocksPerPod'
    | 'maxSessionsPerPod'
    | 'lowestIpv6Mtu'
    | 'filtering'
    | 'allowNonGlobalIpv4'
    | 'deny'
    | 'allowSources'
    | 'static'
    | 'timeouts'
  >;
}

export interface Nat64Options {
  readonly datapath: Datapath;
  readonly config: Nat64Settings;
  readonly hostFacts: HostFacts;
  readonly log: Log;
  readonly clock?: Clock;
  readonly holdDownMs?: number;
  readonly idleBlockMs?: number;
  readonly random?: () => number;
  /** Told of every sweep, after it. */
  readonly onSweep?: (result: SweepSum) => void;
  /** What the data plane's programs were loaded with; start() loads them anew when that is not what is wanted. */
  readonly loadedWith?: DatapathConfig;
}

export interface PoolView {
  readonly addresses: readonly AddressUsage[];
  readonly allocationFailures: Readonly<Record<'pool_exhausted' | 'pod_quota', number>>;
}

export interface Readiness {
  readonly ready: boolean;
  /** What is missing, when not ready. */
  readonly reason?: string;
}

export interface Nat64 {
  /** Takes over what an earlier process left, sets everything, starts to sweep. */
  start(): void;
  /** Brings a changed configuration or a changed node into the data plane; sessions stay. */
  reload(config: Nat64Settings, hostFacts: HostFacts): void;
  /** Throws G64_CONFIG_INVALID when reload() could not carry it out. Changes nothing. */
  check(config: Nat64Settings, hostFacts: HostFacts): void;
  /** Ends timers and subscriptions; the data plane goes on. */
  stop(): void;
  ready(): Readiness;
  poolView(): PoolView;
  /** Static bindings that something is in the way of; tried again every minute. */
  refusedBindings(): readonly RefusedBinding[];
  /** Sessions that ended, as they last stood. Returns what ends the subscription. */
  onEnded(listener: (ended: readonly SessionRow[]) => void): () => void;
  lastSweep(): { walked: number; durationMs: number } | undefined;
  /** Addresses of which pods hold ports, those that left the pool included: the node has to lead their packets here. */
  leasedAddresses(): readonly number[];
}

/** What the programs are loaded with. `slots`: as many queues of blocks as there are pool addresses, or more. */
export function datapathConfig(config: Nat64Settings, facts: HostFacts, slots: number): DatapathConfig {
  const { nat64 } = config;
  return {
    prefixes: config.prefixes,
    egress: nat64.egress,
    device: facts.device,
    // Nothing but what the programs need: a change of anything else is no reason to load them anew.
    uplinks: facts.uplinks.slice(0, MAX_UPLINKS).map(({ ifindex, name, mtu }) => ({ ifindex, name, mtu })),
    node6: facts.node6,
    filtering: nat64.filtering,
    restrictSources: nat64.allowSources.length > 0,
    maxBlocksPerPod: nat64.maxBlocksPerPod,
    maxSessionsPerPod: nat64.maxSessionsPerPod,
    lowestIpv6Mtu: nat64.lowestIpv6Mtu,
    slots,
    timeouts: nat64.timeouts,
  };
}

/** Throws G64_CONFIG_INVALID when the data plane's maps, whose size is fixed, cannot hold what is configured. */
function refuseOversized(limits: DatapathLimits, config: Nat64Settings, facts: HostFacts, blocksLeaving: number): void {
  const { nat64 } = config;
  const restart = 'restart the service, which makes larger maps; running sessions end then';
  const blocks = poolBlocks(facts.pool, nat64.blockSize).length;
  if (blocks + blocksLeaving > limits.blocks) {
    const leaving = blocksLeaving === 0 ? '' : ` and ${blocksLeaving} that left it are in use still`;
    throw new Gate64Error(
      'G64_CONFIG_INVALID',
      `nat64.pool makes ${blocks} blocks of ${nat64.blockSize} ports${leaving}; the data plane holds ${limits.blocks} blocks`,
      { hint: `choose a larger nat64.blockSize or a smaller pool, or ${restart}` },
    );
  }
  const rules = destinationRules({ ...nat64, nodeAddresses: [], pool: facts.pool.map(({ net }) => net) }).length;
  if (rules > limits.destinations) {
    throw new Gate64Error(
      'G64_CONFIG_INVALID',
      `nat64.deny, nat64.allowNonGlobalIpv4 and nat64.pool make ${rules} networks; the data plane holds ${limits.destinations}`,
      { hint: 'join networks to larger ones' },
    );
  }
  if (nat64.allowSources.length > limits.sources) {
    throw new Gate64Error(
      'G64_CONFIG_INVALID',
      `nat64.allowSources has ${nat64.allowSources.length} networks; the data plane holds ${limits.sources}`,
      { hint: 'join networks to larger ones' },
    );
  }
}

export function createNat64(options: Nat64Options): Nat64 {
  return new Nat64Half(options);
}

class Nat64Half implements Nat64 {
  readonly #datapath: Datapath;
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #ledger: PortBlockLedger;
  readonly #sweeper: Sweeper;
  #config: Nat64Settings;
  #facts: HostFacts;
  #loaded: string | undefined;
  #refused: readonly RefusedBinding[] = [];
  #unsubscribe: (() => void) | undefined;
  #verifiedAt = 0;

  constructor(options: Nat64Options) {
    this.#datapath = options.datapath;
    this.#log = options.log;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    this.#config = options.config;
    this.#facts = options.hostFacts;
    this.#loaded = options.loadedWith === undefined ? undefined : fingerprint(options.loadedWith);
    this.#ledger = new PortBlockLedger({
      datapath: options.datapath,
      clock: this.#clock,
      log: options.log,
      holdDownMs: options.holdDownMs ?? HOLD_DOWN_SECONDS * 1000,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
    this.#sweeper = new Sweeper({
      datapath: options.datapath,
      clock: this.#clock,
      log: options.log,
      idleBlockMs: options.idleBlockMs ?? IDLE_BLOCK_SECONDS * 1000,
      onSweep: (result) => {
        options.onSweep?.(result);
        this.#ledger.noteReturned(result.returned);
      },
      onTick: () => {
        this.#ledger.tick();
        this.#releaseAddresses();
        this.#verify();
        this.#keepAttached();
      },
    });
  }

  start(): void {
    if (this.#unsubscribe !== undefined) return;
    // Before the blocks are read: a lease in between is then told of twice rather than never.
    this.#unsubscribe = this.#datapath.onEvent((event) => this.#ledger.noteEvent(event));
    this.#apply();
    this.#verifiedAt = this.#clock.now();
    this.#ledger.verify();
    this.#sweeper.start();
  }

  reload(config: Nat64Settings, hostFacts: HostFacts): void {
    this.#config = config;
    this.#facts = hostFacts;
    this.#apply();
  }

  check(config: Nat64Settings, hostFacts: HostFacts): void {
    const pool = poolBlocks(hostFacts.pool, config.nat64.blockSize);
    refuseOversized(this.#datapath.limits(), config, hostFacts, this.#ledger.leaving(pool));
  }

  stop(): void {
    this.#sweeper.stop();
    this.#unsubscribe?.();
    this.#unsubscribe = undefined;
  }

  ready(): Readiness {
    const no = (reason: string): Readiness => ({ ready: false, reason });
    if (this.#unsubscribe === undefined) return no('NAT64 has not started');
    // RFC 6146 §3: at least one prefix and one pool address.
    if (this.#config.prefixes.length === 0) return no('no translation prefix is configured');
    if (this.#facts.pool.length === 0) return no('the pool has no address');
    if (!this.#attached) return no('the programs are not attached to the device');
    const { offered, leased } = this.#ledger.serving();
    if (offered + leased > 0) return { ready: true };
    const at = this.#ledger.nextReadyAt();
    if (at === undefined) return no('no block of ports is free');
    const seconds = Math.max(0, Math.ceil((at - this.#clock.now()) / 1000));
    return no(`every block of ports rests before it is given out again; the next in ${seconds} s`);
  }

  poolView(): PoolView {
    return {
      addresses: poolUsage(this.#datapath.blocks()),
      allocationFailures: allocationFailures(this.#datapath.drops()),
    };
  }

  refusedBindings(): readonly RefusedBinding[] {
    return this.#refused;
  }

  onEnded(listener: (ended: readonly SessionRow[]) => void): () => void {
    return this.#sweeper.onEnded(listener);
  }

  lastSweep(): { walked: number; durationMs: number } | undefined {
    return this.#sweeper.last();
  }

  leasedAddresses(): readonly number[] {
    return this.#ledger.leasedAddresses();
  }

  /** Policy comes before anything that lets packets through. */
  #apply(): void {
    const { nat64 } = this.#config;
    const { pool, nodeAddresses } = this.#facts;
    this.#setDestinations(
      destinationRules({
        allowNonGlobalIpv4: nat64.allowNonGlobalIpv4,
        deny: nat64.deny,
        nodeAddresses,
        pool: pool.map(({ net }) => net),
      }),
    );
    const beyond = this.#facts.uplinks.slice(MAX_UPLINKS).map(({ name }) => name);
    this.#complain(
      'uplinks',
      beyond,
      { interfaces: beyond },
      'too many interfaces lead outside; these may use the prefix',
    );
    this.#datapath.setSources(nat64.allowSources satisfies readonly Ip6Net[]);
    this.#applyStatics();
    this.#ledger.reconcile(poolBlocks(pool, nat64.blockSize), this.#staticsInForce());
    this.#setPoolAddresses();
    this.#ledger.tick();
    const config = datapathConfig(this.#config, this.#facts, this.#ledger.slots());
    if (fingerprint(config) !== this.#loaded) {
      this.#datapath.configure(config);
      this.#loaded = fingerprint(config);
      this.#attached = true;
    }
  }

  /** The node's own addresses come last; a node may have more (a load balancer's) than there is room for. */
  #setDestinations(rules: readonly DestinationRule[]): void {
    const { destinations } = this.#datapath.limits();
    const beyond = rules.slice(destinations).map(({ net }) => formatIp4(net.v4));
    this.#datapath.setDestinations(rules.slice(0, destinations));
    const fields = { addresses: beyond.slice(0, 8), count: beyond.length, room: destinations };
    this.#complain('destinations', beyond, fields, 'too many addresses of the node; pods reach these through NAT64');
  }

  /** Logs an error once for what is there, and again when that changes. */
  #complain(topic: string, about: readonly string[], fields: object, message: string): void {
    const text = about.join();
    if (text !== (this.#complaints.get(topic) ?? '') && about.length > 0) this.#log.error(fields, message);
    this.#complaints.set(topic, text);
  }
  readonly #complaints = new Map<string, string>();

  #applyStatics(): void {
    const addresses = new Set(poolAddresses(this.#facts.pool).map((address) => address.v4));
    const result = applyStaticBindings(this.#datapath, this.#config.nat64.static, addresses);
    for (const binding of result.removed)
      this.#log.info({ binding: formatStaticBinding(binding) }, 'static binding removed');
    for (const binding of result.added)
      this.#log.info({ binding: formatStaticBinding(binding) }, 'static binding added');
    const known = new Set(this.#refused.map((entry) => entry.binding));
    for (const { binding, reason } of result.refused) {
      if (!known.has(binding))
        this.#log.warn({ binding: formatStaticBinding(binding), reason }, 'static binding refused');
    }
    this.#refused = result.refused;
  }

  #staticsInForce(): StaticBinding[] {
    const refused = new Set(this.#refused.map((entry) => entry.binding));
    return this.#config.nat64.static.filter((binding) => !refused.has(binding));
  }

  /** Addresses that left the pool stay known to the data plane until their last flow has ended. */
  #setPoolAddresses(): void {
    const shared = new Map(poolAddresses(this.#facts.pool).map((address) => [address.v4, address.shared]));
    const addresses = this.#ledger.addresses();
    this.#datapath.setPoolAddresses(
      addresses.map(({ v4, slot, wanted }): PoolAddress => ({
        v4,
        slot,
        shared: shared.get(v4) ?? this.#facts.nodeAddresses.includes(v4),
        draining: !wanted,
      })),
    );
    this.#addresses = addressesText(addresses);
  }

  #releaseAddresses(): void {
    if (addressesText(this.#ledger.addresses()) !== this.#addresses) this.#setPoolAddresses();
  }
  /** The addresses that the data plane was told of last. */
  #addresses = '';

  /** Somebody may clear the filters of the device (a CNI at its start does): puts the programs back. */
  #keepAttached(): void {
    const now = this.#clock.now();
    if (now - this.#attachCheckedAt < ATTACH_INTERVAL_MS) return;
    this.#attachCheckedAt = now;
    if (this.#datapath.attached()) {
      this.#attached = true;
      return;
    }
    try {
      this.#datapath.reattach();
      this.#log.warn({}, 'the programs were detached by somebody else; attached again');
      this.#attached = true;
    } catch (error) {
      // The device itself may be gone; who looks after it makes it anew and calls reload().
      if (this.#attached) this.#log.error({ err: error }, 'the programs are detached and cannot be attached again yet');
      this.#attached = false;
    }
  }
  #attached = true;
  #attachCheckedAt = 0;

  #verify(): void {
    const now = this.#clock.now();
    if (now - this.#verifiedAt < VERIFY_INTERVAL_MS) return;
    this.#verifiedAt = now;
    this.#ledger.verify();
    if (this.#refused.length > 0) {
      this.#applyStatics();
      this.#ledger.setStatics(this.#staticsInForce());
    }
    const { pool_exhausted: exhausted } = allocationFailures(this.#datapath.drops());
    if (exhausted > this.#exhausted) {
      const addresses = poolAddresses(this.#facts.pool).map((address) => formatIp4(address.v4));
      this.#log.warn(
        { flows: exhausted - this.#exhausted, addresses: addresses.slice(0, 8) },
        'the pool ran out of port blocks',
      );
    }
    this.#exhausted = exhausted;
  }
  #exhausted = 0;
}

function addressesText(addresses: readonly LedgerAddress[]): string {
  return addresses.map(({ v4, slot, wanted }) => `${v4} ${slot} ${wanted}`).join();
}

/** Equal for configurations that the programs cannot tell apart. */
function fingerprint(config: DatapathConfig): string {
  return JSON.stringify(config, (_, value: unknown) => (value instanceof Uint8Array ? [...value].join('.') : value));
}
