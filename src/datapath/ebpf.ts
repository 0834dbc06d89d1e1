// SPDX-License-Identifier: Apache-2.0
// The data plane with the BPF object: loads it with a configuration, keeps its maps pinned, swaps programs in place.

import { existsSync } from 'node:fs';
import type { DestinationRule, DestinationVerdict } from '../addr/destinations.ts';
import type { Ip6Net } from '../addr/ip.ts';
import { BpfMap, iterateMap, RingBuffer, typed, type BpfObject, type BpfProgram } from '../libbpf/mod.ts';
import { attach, attachKind, detach, isAttached, leave, type AttachKind } from './attachment.ts';
import { BlockStore } from './block-store.ts';
import { blockRow } from './block-view.ts';
import { encode, replaceAll, viewOf } from './bytes.ts';
import { epochClock } from './clock.ts';
import {
  PROTOCOLS,
  type Block,
  type BlockRow,
  type Datapath,
  type DatapathConfig,
  type DatapathEvent,
  type DatapathInfo,
  type DatapathLimits,
  type PoolAddress,
  type Protocol,
  type StaticBinding,
  type StaticHolders,
  type SweepOptions,
  type SweepResult,
} from './datapath.ts';
import { EbpfReader, openMaps, u32Codec, type MapSet } from './ebpf-reader.ts';
import {
  blockRecordCodec,
  configCodec,
  EVENT_TYPE,
  eventCodec,
  lpm4KeyCodec,
  lpm6KeyCodec,
  poolAddressCodec,
  VERDICT,
  type Config,
} from './layout.gen.ts';
import { loadObject, misfit, type EbpfOptions } from './load-object.ts';
import { placePrefixes, programConfig, type PlacedConfig } from './program-config.ts';
import type { Pins } from './pins.ts';
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

const poolKeyCodec = {
  size: 4,
  write: (view: DataView, offset: number, v4: number) => view.setUint32(offset, v4, false),
};

/** Interfaces that programs hang on; 0 is none. */
interface Places {
  readonly device: number;
  readonly uplink: number;
}

function placesIn(config: Config | undefined): Places {
  return { device: config?.deviceIfindex ?? 0, uplink: config?.uplinkIfindex[0] ?? 0 };
}

/** What the programs before were loaded with; undefined if that cannot be told. */
function currentOf(pins: Pins): Config | undefined {
  if (!existsSync(pins.map('n64_current'))) return undefined;
  using map = BpfMap.openPinned(pins.map('n64_current'));
  return map.valueSize === configCodec.size ? typed(map, u32Codec, configCodec).lookup(0) : undefined;
}

export class EbpfDatapath extends EbpfReader implements Datapath {
  readonly #options: EbpfOptions;
  readonly #blocks: BlockStore;
  readonly #statics: StaticStore;
  readonly #listeners = new Set<(event: DatapathEvent) => void>();
  readonly #ring: RingBuffer;
  readonly #replaced: string | undefined;
  readonly #adopted: boolean;
  #object: BpfObject;
  #config: PlacedConfig;
  /** The sweep that has paused. */
  #walk: SweepWalk | undefined;
  #idleBlockMs = 60_000;

  private constructor(
    options: EbpfOptions,
    maps: MapSet,
    object: BpfObject,
    config: PlacedConfig,
    state: { adopted: boolean; replaced: string | undefined; places: Places },
  ) {
    super(maps);
    this.#options = options;
    this.#object = object;
    this.#config = config;
    this.#adopted = state.adopted;
    this.#replaced = state.replaced;
    this.#blocks = new BlockStore(maps, options.pins);
    this.#statics = new StaticStore(maps);
    this.#ring = new RingBuffer(maps.n64_events, (records) => this.#deliver(records)).unref();
    this.#attach(state.places);
  }

  /** Takes over what is pinned, or begins anew; loads, attaches. Throws G64_DATAPATH_LOAD. */
  static open(options: EbpfOptions, wanted: DatapathConfig): EbpfDatapath {
    const { pins } = options;
    pins.create();
    const foreign = pins.foreignMapFolders();
    const had = pins.haveMaps;
    const current = had ? currentOf(pins) : undefined;
    let replaced = had ? misfit(options) : undefined;
    if (replaced !== undefined) pins.removeMaps();
    if (!had && foreign.length > 0) replaced = `${foreign.join(', ')} is of another version`;
    const config = placePrefixes(wanted, (pins.haveMaps && current?.prefixes) || []);
    const object = loadObject(options, config, 60_000);
    try {
      const maps = openMaps(pins);
      const datapath = new EbpfDatapath(options, maps, object, config, {
        adopted: had && replaced === undefined,
        replaced,
        places: placesIn(current),
      });
      // Only now, since until here their program was still translating.
      for (const folder of foreign) pins.removeMaps(folder);
      return datapath;
    } catch (error) {
      object.close();
      throw error;
    }
  }

  info(): DatapathInfo {
    const names = ['n64_gate', 'n64_uplink', 'n64_sweep', 'n64_reclaim'];
    return {
      attach: this.#kind,
      adopted: this.#adopted,
      replaced: this.#replaced,
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

  configure(wanted: DatapathConfig): void {
    this.#swap(placePrefixes(wanted, this.programs().prefixes));
  }

  #swap(config: PlacedConfig): void {
    const object = loadObject(this.#options, config, this.#idleBlockMs);
    const before = this.#object;
    const places = this.#places();
    this.#object = object;
    this.#config = config;
    // It would go on with the program, and so with the timeouts, of before.
    this.#endWalk();
    this.#attach(places);
    before.close();
  }

  attached(): boolean {
    const { device, egress, uplinks } = this.#config;
    const { pins } = this.#options;
    if (!isAttached(device.ifindex, 'egress', pins.link('gate'), this.#kind)) return false;
    return egress !== 'direct' || isAttached(uplinks[0]?.ifindex ?? 0, 'ingress', pins.link('uplink'), this.#kind);
  }

  reattach(): void {
    this.#attach(this.#places());
  }

  /** `before`: where the programs hang until now. */
  #attach(before: Places): void {
    const { device, egress, uplinks } = this.#config;
    const { pins } = this.#options;
    const kind = this.#kind;
    const uplink = egress === 'direct' ? uplinks[0] : undefined;
    // What n64_current names can be found again, so an old place is left before it names another.
    if (before.device !== device.ifindex) leave(before.device, 'egress', kind);
    if (before.uplink !== (uplink?.ifindex ?? 0)) leave(before.uplink, 'ingress', kind);
    typed(this.maps.n64_current, u32Codec, configCodec).update(0, programConfig(this.#config));
    attach(this.#program('n64_gate'), device.ifindex, 'egress', pins.link('gate'), kind);
    if (uplink) attach(this.#program('n64_uplink'), uplink.ifindex, 'ingress', pins.link('uplink'), kind);
    else detach(uplinks[0]?.ifindex ?? 0, 'ingress', pins.link('uplink'), kind);
  }

  get #kind(): AttachKind {
    return this.#options.attach ?? attachKind();
  }

  #places(): Places {
    return placesIn(this.programs());
  }

  #program(name: string): BpfProgram {
    return this.#object.program(name);
  }

  // ---- policy ----

  setDestinations(rules: readonly DestinationRule[]): void {
    const wanted = rules.map((rule) => ({
      key: encode(lpm4KeyCodec, { length: rule.net.length, address: rule.net.v4 }),
      value: encode(u32Codec, VERDICTS[rule.verdict]),
    }));
    replaceAll(this.maps.n64_dst4, wanted);
  }

  setSources(nets: readonly Ip6Net[]): void {
    const wanted = nets.map((net) => ({
      key: encode(lpm6KeyCodec, { length: net.length, address: net.v6 }),
      value: encode(u32Codec, 1),
    }));
    replaceAll(this.maps.n64_src6, wanted);
  }

  setPoolAddresses(addresses: readonly PoolAddress[]): void {
    const wanted = addresses.map(({ v4, slot, shared, draining }) => ({
      key: encode(poolKeyCodec, v4),
      value: encode(poolAddressCodec, { slot, shared: Number(shared), draining: Number(draining) }),
    }));
    // Addresses before queues: whoever gets a block finds its address.
    replaceAll(this.maps.n64_pool, wanted);
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

  putStaticBinding(binding: StaticBinding): void {
    this.#statics.put(binding);
  }

  deleteStaticBinding(binding: StaticBinding): void {
    this.#statics.delete(binding);
  }

  // ---- sweep ----

  sweep(idleBlockMs: number, { budgetMs = Infinity, maxRows = 1000 }: SweepOptions = {}): SweepResult {
    const started = performance.now();
    if (idleBlockMs !== this.#idleBlockMs) {
      this.#idleBlockMs = idleBlockMs;
      this.#swap(this.#config);
    }
    const toEpoch = epochClock();
    this.#walk ??= new SweepWalk(this.#program('n64_sweep'), this.maps.n64_flow6, this.#sessionCount());
    const walk = this.#walk;
    const { endedCount, finished, records } = walk.go(started + budgetMs, maxRows);
    if (finished) this.#endWalk();
    const config = this.programs();
    return {
      endedCount,
      ended: records.map(({ key, six, four }) => sessionRow(key, six, four, config, toEpoch)),
      finished,
      returned: finished ? this.#reclaim(toEpoch) : [],
      walked: walk.sessions,
      durationMs: performance.now() - started,
    };
  }

  #sessionCount(): number {
    const { sessions } = this.counts();
    return PROTOCOLS.reduce((sum, protocol) => sum + sessions[protocol], 0);
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

  /** Lets go of descriptors. Everything stays in place and goes on translating. */
  override [Symbol.dispose](): void {
    this.#endWalk();
    this.#ring.close();
    this.#blocks[Symbol.dispose]();
    this.#object.close();
    super[Symbol.dispose]();
  }
}
