// SPDX-License-Identifier: Apache-2.0
// The data plane in memory, for tests of the rooms above it: same interface, same promises, no kernel. `openFlow` and
// `closeFlow` stand for packets: they lease blocks, allocate ports and keep bindings as bpf/ does (RFC 6146 §3.1, §3.2).

import { extractWithAny } from '../../src/addr/rfc6052.ts';
import { Gate64Error } from '../../src/errors.ts';
import { configCodec, STATE, type Prefix } from '../../src/model/layout.gen.ts';
import { formatIp4, formatIp6 } from '../../src/addr/ip.ts';
import type { Protocol, StaticBinding, TransportAddress4, TransportAddress6 } from '../../src/model/binding.ts';
import type {
  BindingRow,
  Block,
  BlockRow,
  BlockState,
  Datapath,
  DatapathEvent,
  DatapathInfo,
  DatapathLimits,
  DatapathSizes,
  DropRow,
  LiveCounts,
  MapFillRow,
  PacketCounterRow,
  PoolAddress,
  ProgramConfig,
  SessionRow,
  SessionState,
  StaticHolders,
  SweepOptions,
  SweepResult,
} from '../../src/datapath/datapath.ts';
import { PROTOCOLS } from '../../src/model/binding.ts';
import type { DropReason } from '../../src/model/drops.gen.ts';
import type { DestinationRule } from '../../src/addr/destinations.ts';
import type { Ip6Net } from '../../src/addr/ip.ts';

/** What the first packet of a flow says. `destination6` must lie in one of the configured prefixes. */
export interface FakeFlow {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly destination6: Uint8Array;
  readonly port: number;
}

interface FakeBlock extends Block {
  state: BlockState;
  holder: Uint8Array | undefined;
  since: number | undefined;
  emptySince: number;
  readonly used: Record<Protocol, Set<number>>;
  readonly statics: Record<Protocol, Set<number>>;
}

interface FakeBinding {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly pool: TransportAddress4;
  readonly isStatic: boolean;
  readonly createdAt: number;
  sessions: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const side6 = (protocol: Protocol, at: TransportAddress6): string => `${protocol} ${formatIp6(at.v6)} ${at.port}`;
const side4 = (protocol: Protocol, at: TransportAddress4): string => `${protocol} ${formatIp4(at.v4)} ${at.port}`;

function portsOf(lists: Readonly<Record<Protocol, readonly number[]>>): Record<Protocol, Set<number>> {
  return { tcp: new Set(lists.tcp), udp: new Set(lists.udp), icmp: new Set(lists.icmp) };
}

export class FakeDatapath implements Datapath {
  /** What was set last, for assertions. */
  programs: ProgramConfig;
  destinations: readonly DestinationRule[] = [];
  sources: readonly Ip6Net[] = [];
  poolAddresses: readonly PoolAddress[] = [];
  /** How often programs were loaded after the first time. */
  loads = 0;
  /** Programs that cannot be loaded, as if the verifier had refused them. */
  refuses: (programs: ProgramConfig) => boolean = () => false;
  /** Set to false when the programs are to be found detached. */
  isAttached = true;
  /** Whether somebody opened it before. */
  isAdopted = false;
  /** Set to false when the device is to be gone. */
  canAttach = true;
  sweepDurationMs = 0;
  /** How many sessions a sweep with a budget ends. */
  sweepStep = Infinity;

  readonly #now: () => number;
  readonly #sizes: DatapathSizes;
  readonly #blocks = new Map<number, FakeBlock>();
  readonly #queues = new Map<number, number[]>();
  readonly #by6 = new Map<string, FakeBinding>();
  readonly #by4 = new Map<string, FakeBinding>();
  readonly #sessions = new Map<string, Mutable<SessionRow>>();
  readonly #drops = new Map<DropReason, number>();
  readonly #listeners = new Set<(event: DatapathEvent) => void>();

  constructor(options: { programs: ProgramConfig; sizes: DatapathSizes; now: () => number }) {
    this.programs = options.programs;
    this.#sizes = options.sizes;
    this.#now = options.now;
  }

  info(): DatapathInfo {
    return { attach: 'tcx', adopted: this.isAdopted, replaced: undefined, programs: [] };
  }

  limits(): DatapathLimits {
    return { blocks: this.#sizes.maxBlocks ?? 16384, destinations: 16384, sources: 4096 };
  }

  places(): readonly Prefix[] {
    return this.programs.prefixes;
  }

  setPrograms(wanted: ProgramConfig): 'nothing' | 'attached' | 'loaded' {
    const bytes = (programs: ProgramConfig) => {
      const view = new DataView(new ArrayBuffer(configCodec.size));
      configCodec.write(view, 0, programs);
      return Buffer.from(view.buffer).toString('hex');
    };
    if (bytes(wanted) !== bytes(this.programs)) {
      if (this.refuses(wanted)) throw new Gate64Error('G64_DATAPATH_LOAD', 'the BPF object cannot be loaded');
      this.programs = wanted;
      this.loads++;
      this.isAttached = true;
      return 'loaded';
    }
    if (this.isAttached) return 'nothing';
    this.isAttached = this.canAttach;
    if (!this.canAttach) throw new Gate64Error('G64_DATAPATH_LOAD', 'the programs cannot be attached: no such device');
    return 'attached';
  }

  setDestinations(rules: readonly DestinationRule[]): void {
    this.destinations = rules;
  }

  setSources(nets: readonly Ip6Net[]): void {
    this.sources = nets;
  }

  setPoolAddresses(addresses: readonly PoolAddress[]): void {
    this.poolAddresses = addresses;
  }

  writeBlock(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void {
    if (block.index >= this.limits().blocks) throw new Error(`E2BIG: block ${block.index}`);
    this.#dequeue(block.index);
    this.#blocks.set(block.index, {
      ...block,
      state: 'resting',
      holder: undefined,
      since: undefined,
      emptySince: this.#now(),
      used: portsOf(staticPorts),
      statics: portsOf(staticPorts),
    });
  }

  offerBlock(index: number): void {
    const block = this.#blocks.get(index);
    if (block?.state !== 'resting') throw new Error(`block ${index} is ${block?.state ?? 'absent'}, not resting`);
    block.state = 'offered';
    this.#queue(block.slot).push(index);
  }

  queuedBlocks(slot: number): Set<number> {
    return new Set(this.#queue(slot).filter((index) => this.#blocks.get(index)?.state === 'offered'));
  }

  retireBlocks(indexes: Iterable<number>): Set<number> {
    const retired = new Set<number>();
    for (const index of indexes) {
      const block = this.#blocks.get(index);
      if (block === undefined) continue;
      if (block.state !== 'resting' && !this.#dequeue(index)) continue;
      block.state = 'retired';
      retired.add(index);
    }
    return retired;
  }

  staticBindings(): StaticBinding[] {
    return [...this.#by4.values()]
      .filter((binding) => binding.isStatic)
      .map(({ protocol, source, pool }) => ({ protocol, source, pool }));
  }

  staticHolders({ protocol, source, pool }: StaticBinding): StaticHolders {
    return {
      source: this.#by4.get(side4(protocol, pool))?.source,
      pool: this.#by6.get(side6(protocol, source))?.pool,
    };
  }

  putStaticBinding(binding: StaticBinding): void {
    const taken =
      this.#by4.get(side4(binding.protocol, binding.pool)) ?? this.#by6.get(side6(binding.protocol, binding.source));
    if (taken !== undefined) throw new Error(`${side4(binding.protocol, binding.pool)} is in use`);
    this.#bind(binding.protocol, binding.source, binding.pool, true);
  }

  deleteStaticBinding(binding: StaticBinding): void {
    const found = this.#by4.get(side4(binding.protocol, binding.pool));
    if (found?.isStatic !== true) throw new Error(`no static binding at ${side4(binding.protocol, binding.pool)}`);
    for (const [key, row] of this.#sessions) {
      if (side4(row.protocol, row.pool) === side4(binding.protocol, binding.pool)) this.#sessions.delete(key);
    }
    this.#unbind(found);
  }

  sweep(idleBlockMs: number, { budgetMs, maxRows = 1000 }: SweepOptions = {}): SweepResult {
    const now = this.#now();
    const ended: SessionRow[] = [];
    const expired = [...this.#sessions].filter(([, row]) => row.expiresAt <= now);
    const turn = budgetMs === undefined ? expired : expired.slice(0, this.sweepStep);
    for (const [key, row] of turn) ended.push(this.#end(key, row));
    const returned: BlockRow[] = [];
    const result = {
      endedCount: ended.length,
      ended: ended.slice(0, maxRows),
      durationMs: this.sweepDurationMs,
    };
    if (turn.length < expired.length) return { ...result, finished: false, returned };
    for (const block of this.#blocks.values()) {
      if (block.state !== 'leased' || !this.#isEmpty(block) || now - block.emptySince < idleBlockMs) continue;
      block.state = 'resting';
      returned.push(this.#row(block));
      block.holder = undefined;
      block.since = undefined;
    }
    return { ...result, finished: true, returned };
  }

  onEvent(listener: (event: DatapathEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  sessions(): SessionRow[] {
    return [...this.#sessions.values()].map((row) => ({ ...row }));
  }

  bindings(): BindingRow[] {
    return [...this.#by4.values()].map((binding) => ({ ...binding }));
  }

  blocks(): BlockRow[] {
    return [...this.#blocks.values()].map((block) => this.#row(block));
  }

  drops(): DropRow[] {
    return [...this.#drops]
      .map(([reason, count]): DropRow => ({ reason, direction: '6to4', count, last: undefined }))
      .sort((a, b) => b.count - a.count);
  }

  packetCounters(): PacketCounterRow[] {
    return PROTOCOLS.map((protocol) => {
      const rows = [...this.#sessions.values()].filter((row) => row.protocol === protocol);
      const packets = rows.reduce((sum, row) => sum + row.packetsOut, 0);
      return { direction: '6to4', protocol, packets, bytes: rows.reduce((sum, row) => sum + row.bytesOut, 0) };
    });
  }

  counts(): LiveCounts {
    const of = (rows: Iterable<{ readonly protocol: Protocol }>) => {
      const counts = { tcp: 0, udp: 0, icmp: 0 };
      for (const row of rows) counts[row.protocol]++;
      return counts;
    };
    return { sessions: of(this.#sessions.values()), bindings: of(this.#by4.values()) };
  }

  mapFill(): MapFillRow[] {
    return [{ map: 'sessions', entries: this.#sessions.size, maxEntries: this.#sizes.maxSessions }];
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
  }

  /** One packet 6to4: the session it belongs to, made when absent, or the reason it was dropped for. */
  openFlow(flow: FakeFlow): SessionRow | DropReason {
    const prefixes = this.programs.prefixes.filter(({ length }) => length > 0);
    const found = extractWithAny(
      prefixes.map(({ address, length }) => ({ v6: address, length })),
      flow.destination6,
    );
    if (found === undefined) throw new Error(`${formatIp6(flow.destination6)} lies in no prefix`);
    const destination = { v4: found.v4, port: flow.port };
    const binding = this.#by6.get(side6(flow.protocol, flow.source)) ?? this.#allocate(flow.protocol, flow.source);
    if (typeof binding === 'string') return this.#drop(binding);
    const key = `${side4(flow.protocol, binding.pool)} ${side4(flow.protocol, destination)}`;
    const now = this.#now();
    const known = this.#sessions.get(key);
    if (known === undefined && this.#sessions.size >= this.#sizes.maxSessions) return this.#drop('sessions_full');
    const state: SessionState = flow.protocol === 'tcp' ? 'v6Init' : 'open';
    const inState = { tcp: STATE.V6_INIT, udp: STATE.OPEN_UDP, icmp: STATE.OPEN_ICMP }[flow.protocol];
    const lifetimeMs = Number(this.programs.timeoutNs[inState] ?? 0n) / 1_000_000;
    const row: Mutable<SessionRow> = known ?? {
      protocol: flow.protocol,
      state,
      source: flow.source,
      destination6: flow.destination6,
      pool: binding.pool,
      destination,
      createdAt: now,
      lastSeenAt: now,
      expiresAt: now,
      packetsOut: 0,
      bytesOut: 0,
      packetsIn: 0,
      bytesIn: 0,
    };
    if (known === undefined) {
      binding.sessions++;
      this.#sessions.set(key, row);
    }
    row.lastSeenAt = now;
    row.expiresAt = now + lifetimeMs;
    row.packetsOut++;
    row.bytesOut += 100;
    return { ...row };
  }

  /** Ends a session at once, as if its time had run out and a sweep had passed. */
  closeFlow(session: SessionRow): void {
    const key = `${side4(session.protocol, session.pool)} ${side4(session.protocol, session.destination)}`;
    const row = this.#sessions.get(key);
    if (row !== undefined) this.#end(key, row);
  }

  /** A queue that forgot a block, as after a crash between two steps. */
  loseFromQueue(index: number): void {
    this.#dequeue(index);
  }

  /** Makes the events of `action` get lost, as when the ring buffer is full. */
  losingEvents(action: () => void): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    action();
    for (const listener of listeners) this.#listeners.add(listener);
  }

  #queue(slot: number): number[] {
    let queue = this.#queues.get(slot);
    if (queue === undefined) this.#queues.set(slot, (queue = []));
    return queue;
  }

  /** False when it lay in no queue. */
  #dequeue(index: number): boolean {
    for (const queue of this.#queues.values()) {
      const at = queue.indexOf(index);
      if (at < 0) continue;
      queue.splice(at, 1);
      return true;
    }
    return false;
  }

  #isEmpty(block: FakeBlock): boolean {
    return PROTOCOLS.every((protocol) => block.used[protocol].size === block.statics[protocol].size);
  }

  #row(block: FakeBlock): BlockRow {
    const { index, slot, v4, firstPort, size, state, holder, since, used } = block;
    const counts = { tcp: used.tcp.size, udp: used.udp.size, icmp: used.icmp.size };
    return { index, slot, v4, firstPort, size, state, holder, since, used: counts };
  }

  #blockOf(at: TransportAddress4): FakeBlock | undefined {
    return [...this.#blocks.values()].find(
      (block) =>
        block.v4 === at.v4 &&
        at.port >= block.firstPort &&
        at.port < block.firstPort + block.size &&
        block.state !== 'retired',
    );
  }

  #bind(protocol: Protocol, source: TransportAddress6, pool: TransportAddress4, isStatic: boolean): FakeBinding {
    const binding = { protocol, source, pool, isStatic, createdAt: this.#now(), sessions: 0 };
    this.#by6.set(side6(protocol, source), binding);
    this.#by4.set(side4(protocol, pool), binding);
    return binding;
  }

  #unbind(binding: FakeBinding): void {
    this.#by6.delete(side6(binding.protocol, binding.source));
    this.#by4.delete(side4(binding.protocol, binding.pool));
    // A static binding's bit is the block record's, written with it.
    const block = binding.isStatic ? undefined : this.#blockOf(binding.pool);
    if (block === undefined) return;
    block.used[binding.protocol].delete(binding.pool.port);
    if (this.#isEmpty(block)) block.emptySince = this.#now();
  }

  #end(key: string, row: Mutable<SessionRow>): SessionRow {
    this.#sessions.delete(key);
    const binding = this.#by4.get(side4(row.protocol, row.pool));
    // RFC 6146 §3.1: the last session takes a dynamic binding with it, a static one stays.
    if (binding !== undefined && --binding.sessions === 0 && !binding.isStatic) this.#unbind(binding);
    return { ...row };
  }

  #drop(reason: DropReason): DropReason {
    this.#drops.set(reason, (this.#drops.get(reason) ?? 0) + 1);
    return reason;
  }

  #allocate(protocol: Protocol, source: TransportAddress6): FakeBinding | DropReason {
    const holder = formatIp6(source.v6);
    const draining = new Set(this.poolAddresses.filter((address) => address.draining).map(({ v4 }) => v4));
    const mine = [...this.#blocks.values()].filter(
      (block) =>
        block.state === 'leased' &&
        block.holder !== undefined &&
        formatIp6(block.holder) === holder &&
        !draining.has(block.v4),
    );
    for (const block of mine) {
      const port = this.#freePort(block, protocol, source.port);
      if (port !== undefined) return this.#take(block, protocol, source, port);
    }
    if (mine.length >= this.programs.maxBlocksPerPod) return 'pod_quota';
    // Paired pooling (RFC 6888 REQ-2): a pod stays on the address it has.
    const slots = mine[0] === undefined ? [...this.#queues.keys()].sort((a, b) => a - b) : [mine[0].slot];
    for (const slot of slots) {
      const index = this.#queue(slot).shift();
      const block = index === undefined ? undefined : this.#blocks.get(index);
      if (block === undefined) continue;
      block.state = 'leased';
      block.holder = source.v6;
      block.since = this.#now();
      block.emptySince = this.#now();
      const event: DatapathEvent = { type: 'blockLeased', at: this.#now(), block: block.index, holder: source.v6 };
      for (const listener of this.#listeners) listener(event);
      const port = this.#freePort(block, protocol, source.port);
      if (port !== undefined) return this.#take(block, protocol, source, port);
    }
    return 'pool_exhausted';
  }

  #freePort(block: FakeBlock, protocol: Protocol, wanted: number): number | undefined {
    const used = block.used[protocol];
    const end = block.firstPort + block.size;
    if (wanted >= block.firstPort && wanted < end && !used.has(wanted)) return wanted;
    for (let port = block.firstPort; port < end; port++) if (!used.has(port)) return port;
    return undefined;
  }

  #take(block: FakeBlock, protocol: Protocol, source: TransportAddress6, port: number): FakeBinding | DropReason {
    // A static binding made while the block was leased: its bit is free, its port is not.
    if (this.#by4.has(side4(protocol, { v4: block.v4, port }))) return 'session_conflict';
    block.used[protocol].add(port);
    return this.#bind(protocol, source, { v4: block.v4, port }, false);
  }
}
