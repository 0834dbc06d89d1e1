// SPDX-License-Identifier: Apache-2.0
// The data plane in memory, for tests of the rooms above it: same interface, same promises (test/contract/), no kernel.
// `openFlow` and `closeFlow` stand for packets: they ask the policy, lease blocks, keep bindings and sessions as bpf/ does.

import { formatIp6, parseIp6, type Ip6Net } from '../../src/addr/ip.ts';
import type { DestinationRule } from '../../src/addr/destinations.ts';
import { extractWithAny } from '../../src/addr/rfc6052.ts';
import { Gate64Error } from '../../src/errors.ts';
import { type Protocol, type StaticBinding, type TransportAddress6 } from '../../src/model/binding.ts';
import type { DropReason } from '../../src/model/drops.gen.ts';
import { configCodec, type Prefix } from '../../src/model/layout.gen.ts';
import type {
  AttachmentRow,
  BindingRow,
  Block,
  BlockRow,
  ClosingTime,
  Datapath,
  DatapathEvent,
  DatapathInfo,
  DatapathLimits,
  DatapathSizes,
  DropRow,
  LiveCounts,
  MapFillRow,
  PacketCounterRow,
  PodRow,
  PoolAddress,
  ProgramConfig,
  SessionRow,
  StaticHolders,
  SweepOptions,
  SweepResult,
} from '../../src/datapath/datapath.ts';
import { isWanted, type SessionsWanted } from '../../src/datapath/wanted.ts';
import { FakeBlocks, slotsFor, type FakeBlock } from './blocks.ts';
import { BEGINS_IN, side4, side6, type FakeBinding, type FakeSession, type Mutable } from './records.ts';
import { countOf, packetRows } from './counts.ts';
import { FakePodDevices } from './pod-devices.ts';
import { FakeDrops, PACKET_BYTES, type FakeFlow } from './drops.ts';
import {
  addressesThat,
  isDenied,
  refusedAsUnknown,
  refusedDestination,
  refusedSource,
  refuseMoreThan,
} from './policy.ts';

/** The session, why the packet was dropped, or undefined when no program took it for its own. */
export type FlowResult = SessionRow | DropReason | undefined;

export interface FakeOptions {
  readonly programs: ProgramConfig;
  readonly sizes: DatapathSizes;
  readonly now: () => number;
  /** Why what was there before could not be taken over. */
  readonly replaced?: string;
}

const DEFAULT_MAX_BLOCKS = 16384;

export class FakeDatapath extends FakePodDevices implements Datapath {
  /** What was set last, for assertions. */
  programs: ProgramConfig;
  destinations: readonly DestinationRule[] = [];
  sources: readonly Ip6Net[] = [];
  poolAddresses: readonly PoolAddress[] = [];
  closingTimes: readonly ClosingTime[] = [];
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

  readonly sizes: DatapathSizes;
  readonly #now: () => number;
  readonly #replaced: string | undefined;
  readonly #blocks: FakeBlocks;
  readonly #admitted = new Map<number, number>();
  readonly #by6 = new Map<string, FakeBinding>();
  readonly #by4 = new Map<string, FakeBinding>();
  readonly #sessions = new Map<string, FakeSession>();
  readonly #flows4 = new Set<string>();
  readonly #ofPod = new Map<string, number>();
  readonly #drops: FakeDrops;
  readonly #packets: Record<Protocol, number> = { tcp: 0, udp: 0, icmp: 0 };
  readonly #listeners = new Set<(event: DatapathEvent) => void>();

  constructor({ programs, sizes, now, replaced }: FakeOptions) {
    super();
    this.programs = programs;
    this.sizes = sizes;
    this.#now = now;
    this.#replaced = replaced;
    this.#drops = new FakeDrops(now);
    this.#blocks = new FakeBlocks(this.limits().blocks, now);
  }

  info(): DatapathInfo {
    return { attach: 'tcx', adopted: this.isAdopted, replaced: this.#replaced, programs: [] };
  }

  limits(): DatapathLimits {
    return { blocks: this.sizes.maxBlocks ?? DEFAULT_MAX_BLOCKS, destinations: 16384, sources: 4096 };
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
    const isSame = bytes(wanted) === bytes(this.programs);
    if (isSame && this.isAttached) return 'nothing';
    if (!isSame && this.refuses(wanted)) throw new Gate64Error('G64_DATAPATH_LOAD', 'the BPF object cannot be loaded');
    this.isAttached = this.canAttach;
    if (!this.canAttach) throw new Gate64Error('G64_DATAPATH_LOAD', 'the programs cannot be attached: no such device');
    if (isSame) return 'attached';
    this.programs = wanted;
    this.loads++;
    return 'loaded';
  }

  setDestinations(rules: readonly DestinationRule[]): void {
    refuseMoreThan(this.limits().destinations, rules);
    this.destinations = rules;
  }

  setSources(nets: readonly Ip6Net[]): void {
    refuseMoreThan(this.limits().sources, nets);
    this.sources = nets;
  }

  /** As DNS64 does it, beside the data plane. */
  admit(v4: number, seconds: number): void {
    this.#admitted.set(v4, Math.max(this.#admitted.get(v4) ?? 0, this.#now() + seconds * 1000));
  }

  setPoolAddresses(addresses: readonly PoolAddress[]): void {
    this.poolAddresses = addresses;
  }

  setClosingTimes(times: readonly ClosingTime[]): void {
    this.closingTimes = times;
  }

  writeBlock(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void {
    this.#blocks.write(block, staticPorts);
  }

  offerBlock(index: number): void {
    this.#blocks.offer(index);
  }

  queuedBlocks(slot: number): Set<number> {
    return this.#blocks.queued(slot);
  }

  retireBlocks(indexes: Iterable<number>): Set<number> {
    return this.#blocks.retire(indexes);
  }

  staticBindings(): StaticBinding[] {
    return [...this.#by4.values()]
      .filter((binding) => binding.isStatic)
      .map(({ protocol, source, pool }) => ({ protocol, source, pool }));
  }

  staticHolders({ protocol, source, pool }: StaticBinding): StaticHolders {
    const [six, four] = [this.#by6.get(side6(protocol, source)), this.#by4.get(side4(protocol, pool))];
    return { source: four?.source, pool: six?.pool };
  }

  staticSince({ protocol, source, pool }: StaticBinding): number | undefined {
    const four = this.#by4.get(side4(protocol, pool));
    return four !== this.#by6.get(side6(protocol, source)) || !four?.isStatic ? undefined : four.createdAt;
  }

  putStaticBinding({ protocol, source, pool }: StaticBinding): void {
    const [six, four] = [this.#by6.get(side6(protocol, source)), this.#by4.get(side4(protocol, pool))];
    if (six !== undefined && six === four && six.isStatic) return;
    if (six !== undefined) throw new Gate64Error('G64_POOL_COLLISION', 'the IPv6 side has another binding now');
    if (four !== undefined) throw new Gate64Error('G64_POOL_COLLISION', 'the IPv4 side is in use now');
    this.#bind({ protocol, source, pool, isStatic: true, createdAt: this.#now(), block: undefined, sessions: 0 });
  }

  /** Its sessions go on until their time has run out. */
  deleteStaticBinding({ protocol, pool }: StaticBinding): void {
    const found = this.#by4.get(side4(protocol, pool));
    if (found?.isStatic === true) this.#unbind(found);
  }

  sweep(idleBlockMs: number, { budgetMs, maxRows = 1000 }: SweepOptions = {}): SweepResult {
    const over = [...this.#sessions.values()].filter((session) => this.#isOver(session.row) || this.#isDenied(session));
    const turn = budgetMs === undefined ? over : over.slice(0, this.sweepStep);
    for (const session of turn) this.#end(session);
    const finished = turn.length === over.length;
    return {
      endedCount: turn.length,
      ended: turn.slice(0, maxRows).map(({ row }) => ({ ...row })),
      finished,
      returned: finished ? this.#blocks.reclaim(idleBlockMs, this.closingTimes, this.#ofPod) : [],
      durationMs: this.sweepDurationMs,
    };
  }

  endSessionsOf(v4: number): number {
    const found = [...this.#sessions.values()].filter(({ row }) => row.pool.v4 === v4);
    for (const { row } of found) row.expiresAt = Math.min(row.expiresAt, this.#now());
    return found.length;
  }

  onEvent(listener: (event: DatapathEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  sessions(wanted: SessionsWanted = {}): SessionRow[] {
    const rows = [...this.#sessions.values()].map(({ row }) => ({ ...row }));
    return rows.filter((row) => isWanted(wanted, row.source.v6, row.destination.v4, row.protocol));
  }

  bindings(): BindingRow[] {
    return [...this.#by4.values()].map(({ protocol, source, pool, sessions, isStatic, createdAt }) => ({
      protocol,
      source,
      pool,
      sessions,
      isStatic,
      createdAt,
    }));
  }

  blocks(): BlockRow[] {
    return this.#blocks.rows();
  }

  blocksAt(indexes: Iterable<number>): BlockRow[] {
    const wanted = new Set(indexes);
    return this.#blocks.rows().filter(({ index }) => wanted.has(index));
  }

  pods(): PodRow[] {
    const pods = new Set([...this.#ofPod.keys(), ...this.#blocks.holders()]);
    return [...pods].map((pod) => ({ pod: parseIp6(pod), sessions: this.#ofPod.get(pod) ?? 0 }));
  }

  drops(): DropRow[] {
    return this.#drops.rows();
  }

  packetCounters(): PacketCounterRow[] {
    return packetRows(this.#packets);
  }

  counts(): LiveCounts {
    return { sessions: countOf(this.sessions()), bindings: countOf(this.#by4.values()) };
  }

  mapFill(): MapFillRow[] {
    const { maxSessions: maxEntries } = this.sizes;
    const [sessions, bindings] = [this.#sessions.size, this.#by4.size];
    return [
      ...['flow6', 'flow4'].map((map) => ({ map, entries: sessions, maxEntries })),
      ...['bib6', 'bib4'].map((map) => ({ map, entries: bindings, maxEntries })),
      { map: 'pods', entries: this.pods().length, maxEntries: 16384 },
    ];
  }

  sharedAddresses(): number[] {
    return addressesThat(this.poolAddresses, 'shared');
  }

  drainingAddresses(): number[] {
    return addressesThat(this.poolAddresses, 'draining');
  }

  settings(): ProgramConfig {
    return this.programs;
  }

  attachments(): AttachmentRow[] {
    const { deviceIfindex, returnCount, returnIfindex } = this.programs;
    const gate = { name: 'gate', ifindex: deviceIfindex, attached: this.isAttached } as const;
    const returns = returnIfindex.slice(0, returnCount);
    return [gate, ...returns.map((ifindex) => ({ ...gate, name: 'uplink' as const, ifindex })), ...this.accelerators()];
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
  }

  /** One packet 6to4, which makes its session when there is none. */
  openFlow(flow: FakeFlow): FlowResult {
    const prefix = this.#prefixOf(flow.destination6);
    if (!this.isAttached || prefix === undefined) return undefined;
    const port = flow.protocol === 'icmp' ? 0 : flow.port;
    const key = `${side6(flow.protocol, flow.source)} ${formatIp6(flow.destination6)} ${port}`;
    const known = this.#sessions.get(key);
    const isOver = known !== undefined && known.row.expiresAt <= this.#now();
    if (isOver) this.#end(known);
    const session = known === undefined || isOver ? this.#begin(flow, prefix, key) : known;
    if (typeof session === 'string') return this.#drops.count(session, flow);
    const { row } = session;
    row.lastSeenAt = this.#now();
    row.expiresAt = this.#now() + Number(this.programs.timeoutNs[BEGINS_IN[flow.protocol]] ?? 0n) / 1_000_000;
    row.packetsOut++;
    row.bytesOut += PACKET_BYTES;
    this.#packets[flow.protocol]++;
    return { ...row };
  }

  /** Ends a session at once, as if its time had run out and a sweep had passed. */
  closeFlow({ protocol, pool, destination }: SessionRow): void {
    const key4 = `${side4(protocol, pool)} ${side4(protocol, destination)}`;
    for (const session of this.#sessions.values()) if (session.key4 === key4) this.#end(session);
  }

  /** Both ends of the connection have said that they are done; its time runs on from here. */
  finishFlow({ protocol, pool, destination }: SessionRow): void {
    const key4 = `${side4(protocol, pool)} ${side4(protocol, destination)}`;
    for (const session of this.#sessions.values()) if (session.key4 === key4) session.row.state = 'bothFinReceived';
  }

  /** A queue that forgot a block, as after a crash between two steps. */
  loseFromQueue(index: number): void {
    this.#blocks.dequeue(index);
  }

  /** Makes the events of `action` get lost, as when the ring buffer is full. */
  losingEvents(action: () => void): void {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    action();
    for (const listener of listeners) this.#listeners.add(listener);
  }

  #isOver({ state, source, lastSeenAt, expiresAt }: SessionRow): boolean {
    if (expiresAt <= this.#now()) return true;
    if (state !== 'bothFinReceived' && state !== 'transitory') return false;
    return this.closingTimes.some(({ pod, ms }) => {
      return (pod === undefined || formatIp6(pod) === formatIp6(source.v6)) && lastSeenAt + ms <= this.#now();
    });
  }

  #isDenied({ row }: FakeSession): boolean {
    const isStatic = this.#by6.get(side6(row.protocol, row.source))?.isStatic === true;
    return isDenied(this, row, { prefix: this.#prefixOf(row.destination6)?.prefix, isStatic });
  }

  #prefixOf(v6: Uint8Array): { v4: number; prefix: Prefix } | undefined {
    for (const prefix of this.programs.prefixes) {
      if (prefix.length === 0) continue;
      const found = extractWithAny([{ v6: prefix.address, length: prefix.length }], v6);
      if (found !== undefined) return { v4: found.v4, prefix };
    }
    return undefined;
  }

  #begin(
    { protocol, source, destination6, port }: FakeFlow,
    { v4, prefix }: { v4: number; prefix: Prefix },
    key: string,
  ): FakeSession | DropReason {
    const refused = refusedSource(this, source.v6) ?? refusedDestination(this, v4, prefix);
    if (refused !== undefined) return refused;
    if ((this.#ofPod.get(formatIp6(source.v6)) ?? 0) >= this.programs.maxSessionsPerPod) return 'pod_quota';
    const bound = this.#by6.get(side6(protocol, source));
    const unknown = refusedAsUnknown(this.programs, this.#admitted.get(v4), this.#now(), bound?.isStatic);
    if (unknown !== undefined) return unknown;
    const binding = bound ?? this.#allocate(protocol, source);
    if (typeof binding === 'string') return binding;
    const { pool } = binding;
    const destination = { v4, port: protocol === 'icmp' ? pool.port : port };
    const key4 = `${side4(protocol, pool)} ${side4(protocol, destination)}`;
    const isFull = this.#sessions.size >= this.sizes.maxSessions;
    if (isFull || this.#flows4.has(key4)) {
      this.#letGo(binding);
      return this.#flows4.has(key4) ? 'session_conflict' : 'sessions_full';
    }
    const now = this.#now();
    const row: Mutable<SessionRow> = {
      protocol,
      state: protocol === 'tcp' ? 'v6Init' : 'open',
      source,
      destination6,
      pool,
      destination,
      createdAt: now,
      lastSeenAt: now,
      expiresAt: now,
      packetsOut: 0,
      bytesOut: 0,
      packetsIn: 0,
      bytesIn: 0,
    };
    binding.sessions++;
    this.#count(source, 1);
    const session = { row, binding, key, key4 };
    this.#sessions.set(key, session);
    this.#flows4.add(key4);
    return session;
  }

  #bind(binding: FakeBinding): FakeBinding {
    this.#by6.set(side6(binding.protocol, binding.source), binding);
    this.#by4.set(side4(binding.protocol, binding.pool), binding);
    return binding;
  }

  #unbind(binding: FakeBinding): void {
    this.#by6.delete(side6(binding.protocol, binding.source));
    this.#by4.delete(side4(binding.protocol, binding.pool));
    if (binding.block !== undefined) this.#blocks.release(binding.block, binding.protocol, binding.pool.port);
  }

  /** RFC 6146 §3.1: the last session takes a dynamic binding with it, a static one stays. */
  #letGo(binding: FakeBinding): void {
    if (binding.sessions === 0 && !binding.isStatic) this.#unbind(binding);
  }

  #end({ key, key4, binding }: FakeSession): void {
    this.#sessions.delete(key);
    this.#flows4.delete(key4);
    binding.sessions--;
    this.#count(binding.source, -1);
    this.#letGo(binding);
  }

  #count({ v6 }: TransportAddress6, change: number): void {
    const pod = formatIp6(v6);
    const sessions = (this.#ofPod.get(pod) ?? 0) + change;
    if (sessions === 0) this.#ofPod.delete(pod);
    else this.#ofPod.set(pod, sessions);
  }

  #allocate(protocol: Protocol, source: TransportAddress6): FakeBinding | DropReason {
    if (this.programs.slots === 0) return 'not_configured';
    let wanted: number | undefined = source.port;
    for (;;) {
      const got = this.#takePort(protocol, source.v6, wanted);
      if (typeof got === 'string') return got;
      const pool = { v4: got.block.v4, port: got.port };
      if (!this.#by4.has(side4(protocol, pool))) {
        const isFull = this.#by4.size >= this.sizes.maxSessions;
        if (isFull) this.#blocks.release(got.block, protocol, got.port);
        if (isFull) return 'sessions_full';
        return this.#bind({
          protocol,
          source,
          pool,
          isStatic: false,
          createdAt: this.#now(),
          block: got.block,
          sessions: 0,
        });
      }
      // A static binding that is younger than the block's lease.
      this.#blocks.passOver(got.block);
      wanted = undefined;
    }
  }

  #takePort(
    protocol: Protocol,
    pod: Uint8Array,
    wanted: number | undefined,
  ): { block: FakeBlock; port: number } | DropReason {
    const serving = new Map(this.poolAddresses.filter(({ draining }) => !draining).map(({ v4, slot }) => [v4, slot]));
    const mine = this.#blocks.heldBy(pod).filter(({ v4 }) => serving.has(v4));
    for (const asked of wanted === undefined ? [undefined] : [wanted, undefined]) {
      for (const block of mine) {
        const port = this.#blocks.takePort(block, protocol, asked);
        if (port !== undefined) return { block, port };
      }
    }
    if (mine.length >= this.programs.maxBlocksPerPod) return 'pod_quota';
    for (const slot of slotsFor(pod, mine[0] && serving.get(mine[0].v4), this.programs.slots)) {
      if (![...serving.values()].includes(slot)) continue;
      const index = this.#blocks.lease(slot, pod)?.index;
      if (index === undefined) continue;
      for (const tell of this.#listeners) tell({ type: 'blockLeased', at: this.#now(), block: index, holder: pod });
      return this.#takePort(protocol, pod, wanted);
    }
    return 'pool_exhausted';
  }
}
