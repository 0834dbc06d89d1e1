// SPDX-License-Identifier: Apache-2.0
// The data plane with the BPF object: loads it with a configuration, keeps its maps pinned, swaps programs in place.

import { existsSync } from 'node:fs';
import type { DestinationRule, DestinationVerdict } from '../addr/destinations.ts';
import type { Ip6Net } from '../addr/ip.ts';
import { BpfMap, iterateMap, RingBuffer, TypedMap, type BpfObject, type BpfProgram } from '../libbpf/mod.ts';
import { BlockStore } from './block-store.ts';
import { blockRow } from './block-view.ts';
import { encode, replaceAll, sameBytes, viewOf } from './bytes.ts';
import { epochClock } from './clock.ts';
import type { Protocol, StaticBinding } from '../model/binding.ts';
import {
  type Block,
  type BlockRow,
  type ClosingTime,
  type DatagramId,
  type Datapath,
  type DatapathEvent,
  type DatapathInfo,
  type DatapathLimits,
  type PodDevicesResult,
  type PodRow,
  type PoolAddress,
  type ProgramConfig,
  type StaticHolders,
  type SweepOptions,
  type SweepResult,
  type WholeDatagram,
} from './datapath.ts';
import { EbpfReader, openMaps, type MapSet } from './ebpf-reader.ts';
import { be32Codec, u32Codec, u64Codec } from '../model/codecs.ts';
import {
  blockRecordCodec,
  configCodec,
  EVENT_TYPE,
  eventCodec,
  lpm4KeyCodec,
  lpm6KeyCodec,
  podCodec,
  poolAddressCodec,
  turnCodec,
  VERDICT,
  type Prefix,
} from '../model/layout.gen.ts';
import { ageSessionsOf } from './ageing.ts';
import { withCode } from './error-codes.ts';
import { FragmentPort } from './fragment-port.ts';
import { Hooks } from './hooks.ts';
import { PodHooks, podDevicesOf } from './pod-hooks.ts';
import { Judging } from './judging.ts';
import { loadObject, misfit, type EbpfOptions } from './load-object.ts';
import type { Pins } from './pins.ts';
import { Probes } from './probes.ts';
import { sessionRow } from './rows.ts';
import { StaticStore } from './static-store.ts';
import { SweepWalk } from './sweep-walk.ts';

const VERDICTS: Readonly<Record<DestinationVerdict, number>> = {
  allow: VERDICT.ALLOW,
  never: VERDICT.NEVER,
  nonGlobal: VERDICT.NON_GLOBAL,
  node: VERDICT.NODE,
  configured: VERDICT.DENIED,
};

const DEFAULT_IDLE_BLOCK_MS = 60_000;

/** Where a pod's record counts its sessions: decoding all of its blocks for that would take long. */
const SESSIONS_AT = (() => {
  const empty = podCodec.read(new DataView(new ArrayBuffer(podCodec.size)), 0);
  return encode(podCodec, { ...empty, sessions: 1 }).indexOf(1);
})();

/** A part of the table of blocks that is read sooner with all others, by batches, than one by one. */
const MANY_BLOCKS = 8;

/** In n64_closing: a time that holds for every pod. */
const EVERYBODY = new Uint8Array(16);

/** What the programs before were loaded with; undefined if that cannot be told. */
export function currentPrograms(pins: Pins): ProgramConfig | undefined {
  if (!existsSync(pins.map('n64_current'))) return undefined;
  using map = BpfMap.openPinned(pins.map('n64_current'));
  return map.valueSize === configCodec.size ? new TypedMap(map, u32Codec, configCodec).lookup(0) : undefined;
}

/** Interfaces that the accelerator of before hangs at, whatever layout its maps have. */
export function pinnedPodDevices(pins: Pins): number[] {
  if (!existsSync(pins.map('n64_pod_devices'))) return [];
  using map = BpfMap.openPinned(pins.map('n64_pod_devices'));
  return map.keySize === 4 && map.valueSize === 4 ? podDevicesOf(map) : [];
}

/** How the maps were come by. */
interface Origin {
  readonly adopted: boolean;
  readonly replaced: string | undefined;
}

export class EbpfDatapath extends EbpfReader implements Datapath {
  readonly #options: EbpfOptions;
  readonly #origin: Origin;
  readonly #hooks: Hooks;
  readonly #podHooks: PodHooks;
  readonly #blocks: BlockStore;
  readonly #statics: StaticStore;
  readonly #fragments: FragmentPort;
  readonly #probes: Probes;
  readonly #judging = new Judging();
  readonly #ring: RingBuffer;
  readonly #listeners = new Set<(event: DatapathEvent) => void>();
  #object: BpfObject;
  /** What #object was loaded with. */
  #loaded: ProgramConfig;
  /** Whether n64_closing may have something: an earlier process may have left it. */
  #isClosing: boolean;
  /** The sweep that has paused. */
  #walk: SweepWalk | undefined;
  #idleBlockMs = DEFAULT_IDLE_BLOCK_MS;

  private constructor(
    options: EbpfOptions,
    maps: MapSet,
    object: BpfObject,
    loaded: ProgramConfig,
    hooks: Hooks,
    podHooks: PodHooks,
    origin: Origin,
  ) {
    super(maps, options.pins);
    this.#options = options;
    this.#object = object;
    this.#loaded = loaded;
    this.#hooks = hooks;
    this.#podHooks = podHooks;
    this.#origin = origin;
    this.#blocks = new BlockStore(maps, options.pins);
    this.#statics = new StaticStore(maps);
    this.#fragments = new FragmentPort(maps, () => this.#loaded);
    this.#probes = new Probes(this.#fragments);
    this.#isClosing = maps.n64_closing.nextKey(null) !== undefined;
    this.#ring = new RingBuffer(maps.n64_events, (records) => this.#deliver(records)).unref();
  }

  /** Takes over what is pinned, or begins anew; loads, attaches. Throws G64_DATAPATH_LOAD, leaving nothing open. */
  static open(options: EbpfOptions, programs: ProgramConfig): EbpfDatapath {
    const opened = new DisposableStack();
    try {
      const { pins } = options;
      pins.create();
      const foreign = pins.foreignMapFolders();
      const had = pins.haveMaps;
      const before = had ? currentPrograms(pins) : undefined;
      const podsBefore = had ? pinnedPodDevices(pins) : [];
      let replaced = had ? misfit(options) : undefined;
      if (replaced !== undefined) pins.removeMaps();
      if (!had && foreign.length > 0) replaced = `${foreign.join(', ')} is of another version`;
      const origin = { adopted: had && replaced === undefined, replaced };
      const object = opened.use(loadObject(options, programs, DEFAULT_IDLE_BLOCK_MS));
      const maps = openMaps(pins);
      opened.defer(() => Object.values(maps).forEach((map) => map.close()));
      const { attach: kind } = options;
      const hooks = new Hooks(maps, pins, { before, ...(kind === undefined ? {} : { kind }) });
      const podHooks = new PodHooks(maps, pins, hooks.kind, podsBefore);
      const datapath = new EbpfDatapath(options, maps, object, programs, hooks, podHooks, origin);
      // It closes object and maps with itself.
      opened.move();
      using undo = new DisposableStack();
      undo.use(datapath);
      datapath.#hang(object, programs);
      undo.move();
      // Only now, since until here their program was still translating.
      for (const folder of foreign) pins.removeMaps(folder);
      return datapath;
    } catch (error) {
      opened.dispose();
      throw withCode(error, 'G64_DATAPATH_LOAD', 'the data plane cannot be put in place');
    }
  }

  info(): DatapathInfo {
    const names = ['n64_gate', 'n64_uplink', 'n64_accel', 'n64_sweep', 'n64_reclaim'];
    return {
      attach: this.#hooks.kind,
      ...this.#origin,
      programs: names.map((name) => ({ name, instructions: this.#program(name).verifiedInstructions() })),
    };
  }

  limits(): DatapathLimits {
    const { n64_blocks: blocks, n64_dst4: destinations, n64_src6: sources } = this.maps;
    return {
      blocks: blocks.maxEntries,
      destinations: destinations.maxEntries,
      sources: sources.maxEntries,
    };
  }

  places(): readonly Prefix[] {
    return this.settings().prefixes;
  }

  setPrograms(wanted: ProgramConfig): 'nothing' | 'attached' | 'loaded' {
    if (!sameBytes(encode(configCodec, wanted), encode(configCodec, this.#loaded))) {
      this.#swap(wanted);
      return 'loaded';
    }
    if (this.#hooks.areRight(this.#object, wanted)) return 'nothing';
    this.#hang(this.#object, wanted);
    return 'attached';
  }

  setPodDevices(ifindexes: readonly number[]): PodDevicesResult {
    return this.#podHooks.set(this.#object, ifindexes);
  }

  /** Until the new programs hang, those of before are the ones to go back to. */
  #swap(wanted: ProgramConfig): void {
    this.#policyChanges();
    const object = loadObject(this.#options, wanted, this.#idleBlockMs);
    try {
      this.#hang(object, wanted);
    } catch (error) {
      object.close();
      throw error;
    }
    const before = this.#object;
    this.#object = object;
    this.#loaded = wanted;
    // It would go on with the program, and so with the timeouts, of before.
    this.#endWalk();
    before.close();
  }

  #hang(object: BpfObject, config: ProgramConfig): void {
    try {
      this.#hooks.hang(object, config);
      this.#podHooks.renew(object);
    } catch (error) {
      throw withCode(error, 'G64_DATAPATH_LOAD', 'the programs cannot be attached');
    }
  }

  #program(name: string): BpfProgram {
    return this.#object.program(name);
  }

  // ---- policy ----

  /** To be called with each change of what session_denied() of bpf/sweep.h looks at, before it: a change may fail half-way. */
  readonly #policyChanges = (): void => this.#judging.change();

  setDestinations(rules: readonly DestinationRule[]): void {
    const wanted = rules.map((rule) => ({
      key: encode(lpm4KeyCodec, { length: rule.net.length, address: rule.net.v4 }),
      value: encode(u32Codec, VERDICTS[rule.verdict]),
    }));
    replaceAll(this.maps.n64_dst4, wanted, this.#policyChanges);
  }

  setSources(nets: readonly Ip6Net[]): void {
    const wanted = nets.map((net) => ({
      key: encode(lpm6KeyCodec, { length: net.length, address: net.v6 }),
      value: encode(u32Codec, 1),
    }));
    replaceAll(this.maps.n64_src6, wanted, this.#policyChanges);
  }

  setClosingTimes(times: readonly ClosingTime[]): void {
    const wanted = times.map(({ pod, ms }) => ({
      key: pod ?? EVERYBODY,
      value: encode(u64Codec, BigInt(Math.round(ms * 1e6))),
    }));
    this.#isClosing = true;
    replaceAll(this.maps.n64_closing, wanted);
    this.#isClosing = wanted.length > 0;
  }

  pods(): PodRow[] {
    const rows: PodRow[] = [];
    for (const { keys, values, count } of this.maps.n64_pods.lookupBatch()) {
      const [keySize, valueSize] = [keys.length / count, values.length / count];
      for (let i = 0; i < count; i++) {
        const pod = keys.slice(i * keySize, (i + 1) * keySize);
        const sessions = viewOf(values).getUint32(i * valueSize + SESSIONS_AT, true);
        // Two processors may lose one: below nothing is nothing.
        rows.push({ pod, sessions: sessions > 0x7fffffff ? 0 : sessions });
      }
    }
    return rows;
  }

  blocksAt(indexes: Iterable<number>): BlockRow[] {
    const toEpoch = epochClock();
    const wanted = [...indexes];
    if (wanted.length * MANY_BLOCKS > this.maps.n64_blocks.maxEntries) {
      const rows = new Map(this.blocks().map((row) => [row.index, row]));
      return wanted.flatMap((index) => rows.get(index) ?? []);
    }
    return wanted.flatMap((index) => {
      const block = this.maps.n64_blocks.lookup(encode(u32Codec, index));
      return (block && blockRow(index, viewOf(block), 0, toEpoch)) ?? [];
    });
  }

  setPoolAddresses(addresses: readonly PoolAddress[]): void {
    const wanted = addresses.map(({ v4, slot, shared, draining }) => ({
      key: encode(be32Codec, v4),
      value: encode(poolAddressCodec, { slot, shared: Number(shared), draining: Number(draining) }),
    }));
    // Addresses before queues: whoever gets a block finds its address.
    replaceAll(this.maps.n64_pool, wanted, this.#policyChanges);
    // A slot of an address that left may have been given to one that came.
    this.#blocks.expose(new Set(addresses.filter(({ draining }) => !draining).map(({ slot }) => slot)));
  }

  // ---- blocks, static bindings ----

  writeBlock(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void {
    this.#blocks.writeBlock(block, staticPorts);
  }

  offerBlock(index: number): void {
    this.#blocks.offerBlock(index);
  }

  queuedBlocks(slot: number): Set<number> {
    return this.#blocks.queuedBlocks(slot);
  }

  retireBlocks(indexes: Iterable<number>): Set<number> {
    return this.#blocks.retireBlocks(indexes);
  }

  staticBindings(): StaticBinding[] {
    return this.#statics.all();
  }

  staticHolders(binding: StaticBinding): StaticHolders {
    return this.#statics.holders(binding);
  }

  staticSince(binding: StaticBinding): number | undefined {
    return this.#statics.since(binding);
  }

  putStaticBinding(binding: StaticBinding): void {
    this.#policyChanges();
    this.#statics.put(binding);
  }

  deleteStaticBinding(binding: StaticBinding): void {
    this.#policyChanges();
    this.#statics.delete(binding);
  }

  // ---- sweep ----

  endSessionsOf(v4: number): number {
    return ageSessionsOf(v4, this.maps, this.settings());
  }

  sweep(idleBlockMs: number, { budgetMs = Infinity, maxRows = 1000 }: SweepOptions = {}): SweepResult {
    const started = performance.now();
    if (idleBlockMs !== this.#idleBlockMs) {
      this.#idleBlockMs = idleBlockMs;
      this.#swap(this.#loaded);
    }
    const toEpoch = epochClock();
    this.#walk ??= this.#beginWalk();
    this.#writeTurn();
    const { endedCount, finished, records, silent } = this.#walk.go(started + budgetMs, maxRows);
    if (finished) {
      this.#judging.endPass();
      this.#endWalk();
    }
    const config = this.settings();
    this.#probes.send(silent, config.prefixes);
    return {
      endedCount,
      ended: records.map(({ key, six, four }) => sessionRow(key, six, four, config, toEpoch)),
      finished,
      returned: finished ? this.#reclaim(toEpoch) : [],
      durationMs: performance.now() - started,
    };
  }

  #beginWalk(): SweepWalk {
    const walk = new SweepWalk(this.#program('n64_sweep'), this.maps.n64_flow6);
    this.#judging.beginPass();
    return walk;
  }

  #writeTurn(): void {
    const turn = {
      nowNs: 0n,
      probes: this.#probes.allowed(),
      share: this.#judging.share,
      noneClosing: Number(!this.#isClosing),
    };
    this.#object.map('n64_turn').update(encode(u32Codec, 0), encode(turnCodec, turn));
  }

  #endWalk(): void {
    this.#walk?.close();
    this.#walk = undefined;
  }

  #reclaim(toEpoch: (ns: bigint) => number): BlockRow[] {
    const bytes = iterateMap(this.#program('n64_reclaim'), this.maps.n64_blocks, undefined, {
      recordSize: blockRecordCodec.size,
    });
    const view = viewOf(bytes);
    const returned: BlockRow[] = [];
    for (let at = 0; at < bytes.length; at += blockRecordCodec.size) {
      const record = blockRecordCodec.read(view, at);
      const block = this.maps.n64_blocks.lookup(encode(u32Codec, record.index));
      const row = block && blockRow(record.index, viewOf(block), 0, toEpoch);
      // `resting` or the record was written and then somebody allocated after all.
      if (row?.state !== 'resting') continue;
      returned.push({ ...row, holder: record.holder, since: toEpoch(record.leasedNs) });
    }
    return returned;
  }

  // ---- events ----

  onEvent(listener: (event: DatapathEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #deliver(records: readonly Uint8Array[]): void {
    const toEpoch = epochClock();
    for (const record of records) {
      const event = eventCodec.read(viewOf(record), 0);
      if (event.type !== EVENT_TYPE.EVENT_BLOCK_LEASED) continue;
      for (const listener of this.#listeners) {
        listener({ type: 'blockLeased', at: toEpoch(event.atNs), block: event.block, holder: event.holder });
      }
    }
  }

  // ---- fragments ----

  takeFragments(listener: (packets: readonly Uint8Array[]) => void): void {
    this.#fragments.open(listener);
  }

  isPassing(datagram: DatagramId): boolean {
    return this.#fragments.isPassing(datagram);
  }

  sendFragments(datagram: DatagramId, packets: readonly Uint8Array[], whole?: WholeDatagram): number {
    return this.#fragments.send(datagram, packets, whole);
  }

  // ---- SYNs that nobody asked for ----

  takeSyns(listener: (packets: readonly Uint8Array[]) => void): void {
    this.#fragments.onSyns = listener;
  }

  refuseSyn(packet: Uint8Array): boolean {
    return this.#fragments.refuseSyn(packet);
  }

  /** Lets go of descriptors. Everything stays in place and goes on translating. */
  override [Symbol.dispose](): void {
    this.#endWalk();
    this.#ring.close();
    this.#fragments[Symbol.dispose]();
    this.#blocks[Symbol.dispose]();
    this.#object.close();
    super[Symbol.dispose]();
  }
}
