// SPDX-License-Identifier: Apache-2.0
// The data plane with the BPF object: loads it with a configuration, keeps its maps pinned, swaps programs in place.

import { existsSync } from 'node:fs';
import type { Ip6Net } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import { BpfLoadError, BpfMap, BpfObject, iterateMap, RingBuffer, typed, type BpfProgram } from '../libbpf/mod.ts';
import { attach, attachKind, detach, isAttached } from './attachment.ts';
import { epochClock, monotonicNs } from './clock.ts';
import {
  PROTOCOLS,
  type Block,
  type BlockRow,
  type Datapath,
  type DatapathConfig,
  type DatapathEvent,
  type DatapathInfo,
  type DatapathSizes,
  type DestinationRule,
  type DestinationVerdict,
  type PoolAddress,
  type Protocol,
  type StaticBinding,
  type SweepResult,
} from './datapath.ts';
import { EbpfReader, openMaps, u32Codec, type MapSet } from './ebpf-reader.ts';
import {
  bib4Codec,
  bib4KeyCodec,
  bib6Codec,
  bib6KeyCodec,
  BLOCK_STATE,
  BLOCK_WORDS,
  blockCodec,
  blockRecordCodec,
  configCodec,
  EVENT_TYPE,
  eventCodec,
  lpm4KeyCodec,
  lpm6KeyCodec,
  NO_BLOCK,
  poolAddressCodec,
  sessionRecordCodec,
  VERDICT,
} from './layout.gen.ts';
import { PINNED_MAPS, type PinnedMap, type Pins } from './pins.ts';
import { programConfig } from './program-config.ts';
import { blockRow, protocolIndex, sessionRow } from './rows.ts';

export interface EbpfOptions {
  /** The compiled nat64.bpf.o. */
  readonly objectPath: string;
  readonly pins: Pins;
  readonly sizes: DatapathSizes;
}

const DEFAULT_MAX_BLOCKS = 16384;
/** Blocks that one queue takes: 65535 ports in blocks of 16. */
const QUEUE_ENTRIES = 4096;

const BY_SESSIONS: readonly PinnedMap[] = ['n64_flow6', 'n64_flow4', 'n64_bib6', 'n64_bib4', 'n64_peer'];

const VERDICTS: Readonly<Record<DestinationVerdict, number>> = {
  allow: VERDICT.ALLOW,
  never: VERDICT.NEVER,
  nonGlobal: VERDICT.NON_GLOBAL,
  node: VERDICT.NODE,
  configured: VERDICT.DENIED,
};

function encode<T>(
  codec: { size: number; write(view: DataView, offset: number, value: T): void },
  value: T,
): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.write(new DataView(bytes.buffer), 0, value);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Why the pinned maps do not fit, or undefined. */
function misfit(pins: Pins, wanted: Readonly<Partial<Record<PinnedMap, number>>>): string | undefined {
  for (const [name, entries] of Object.entries(wanted) as [PinnedMap, number][]) {
    if (!existsSync(pins.map(name))) return `${name} is missing`;
    using map = BpfMap.openPinned(pins.map(name));
    if (map.maxEntries !== entries) return `${name} holds ${map.maxEntries} entries, ${entries} are configured`;
  }
  return undefined;
}

/** Loads the object with `config`, its maps taken from `pins` or pinned there. */
function loadObject(options: EbpfOptions, config: DatapathConfig, idleBlockMs: number): BpfObject {
  const object = BpfObject.open(options.objectPath);
  try {
    object.setVariable('cfg', encode(configCodec, programConfig(config)));
    const idle = new Uint8Array(8);
    viewOf(idle).setBigUint64(0, BigInt(idleBlockMs) * 1_000_000n, true);
    object.setVariable('idle_block_ns', idle);
    for (const name of BY_SESSIONS) object.map(name).setMaxEntries(options.sizes.maxSessions);
    object.map('n64_blocks').setMaxEntries(options.sizes.maxBlocks ?? DEFAULT_MAX_BLOCKS);
    for (const name of PINNED_MAPS) object.map(name).setPinPath(options.pins.map(name));
    object.load();
    return object;
  } catch (cause) {
    object.close();
    if (cause instanceof Gate64Error) throw cause;
    const verifier = cause instanceof BpfLoadError && cause.verifierTail ? `: ${cause.verifierTail}` : '';
    throw new Gate64Error('G64_DATAPATH_LOAD', `the BPF object cannot be loaded${verifier}`, {
      cause,
      hint: 'gate64 needs Linux 6.1 or newer with BTF, and CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON',
    });
  }
}

export class EbpfDatapath extends EbpfReader implements Datapath {
  readonly #options: EbpfOptions;
  readonly #queues = new Map<number, BpfMap>();
  readonly #listeners = new Set<(event: DatapathEvent) => void>();
  readonly #ring: RingBuffer;
  readonly #replaced: string | undefined;
  readonly #adopted: boolean;
  #object: BpfObject;
  #config: DatapathConfig;
  #idleBlockMs = 60_000;

  private constructor(
    options: EbpfOptions,
    maps: MapSet,
    object: BpfObject,
    config: DatapathConfig,
    state: { adopted: boolean; replaced: string | undefined },
  ) {
    super(maps);
    this.#options = options;
    this.#object = object;
    this.#config = config;
    this.#adopted = state.adopted;
    this.#replaced = state.replaced;
    this.#ring = new RingBuffer(maps.n64_events, (records) => this.#deliver(records)).unref();
    this.#attach();
  }

  /** Takes over what is pinned, or begins anew; loads, attaches. Throws G64_DATAPATH_LOAD. */
  static open(options: EbpfOptions, config: DatapathConfig): EbpfDatapath {
    const { pins, sizes } = options;
    pins.create();
    const wanted = {
      ...Object.fromEntries(BY_SESSIONS.map((name) => [name, sizes.maxSessions])),
      n64_blocks: sizes.maxBlocks ?? DEFAULT_MAX_BLOCKS,
    };
    const foreign = pins.foreignMapFolders();
    const had = pins.haveMaps;
    let replaced = had ? misfit(pins, wanted) : undefined;
    if (replaced !== undefined) pins.removeMaps();
    if (!had && foreign.length > 0) replaced = `${foreign.join(', ')} is of another version`;
    const object = loadObject(options, config, 60_000);
    try {
      const maps = openMaps(pins);
      const datapath = new EbpfDatapath(options, maps, object, config, {
        adopted: had && replaced === undefined,
        replaced,
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
      attach: attachKind(),
      adopted: this.#adopted,
      replaced: this.#replaced,
      programs: names.map((name) => ({ name, instructions: this.#program(name).verifiedInstructions() })),
    };
  }

  configure(config: DatapathConfig): void {
    const object = loadObject(this.#options, config, this.#idleBlockMs);
    const before = this.#object;
    this.#object = object;
    this.#config = config;
    this.#attach();
    before.close();
  }

  attached(): boolean {
    const { device, egress, uplinks } = this.#config;
    const { pins } = this.#options;
    if (!isAttached(device.ifindex, 'egress', pins.link('gate'))) return false;
    return egress !== 'direct' || isAttached(uplinks[0]?.ifindex ?? 0, 'ingress', pins.link('uplink'));
  }

  reattach(): void {
    this.#attach();
  }

  #attach(): void {
    const { device, egress, uplinks } = this.#config;
    const { pins } = this.#options;
    const uplink = uplinks[0];
    typed(this.maps.n64_current, u32Codec, configCodec).update(0, programConfig(this.#config));
    attach(this.#program('n64_gate'), device.ifindex, 'egress', pins.link('gate'));
    if (egress === 'direct' && uplink) {
      attach(this.#program('n64_uplink'), uplink.ifindex, 'ingress', pins.link('uplink'));
    } else {
      detach(uplink?.ifindex ?? 0, 'ingress', pins.link('uplink'));
    }
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
    for (const { slot } of addresses) this.#queue(slot);
    const wanted = addresses.map((address) => ({
      key: encode(poolKeyCodec, address.v4),
      value: encode(poolAddressCodec, { slot: address.slot, shared: Number(address.shared) }),
    }));
    replaceAll(this.maps.n64_pool, wanted);
  }

  // ---- blocks ----

  /** The queue of a slot; made and put into the outer map when the slot is new. */
  #queue(slot: number): BpfMap {
    const known = this.#queues.get(slot);
    if (known) return known;
    const pin = this.#options.pins.queue(slot);
    let queue: BpfMap;
    if (existsSync(pin)) {
      queue = BpfMap.openPinned(pin);
    } else {
      queue = BpfMap.create({ type: 'queue', keySize: 0, valueSize: 4, maxEntries: QUEUE_ENTRIES, name: 'n64_free_q' });
      queue.pin(pin);
    }
    // Also where it is there already: a crash may have come between the two steps.
    this.maps.n64_free.update(encode(u32Codec, slot), encode(u32Codec, queue.fd));
    this.#queues.set(slot, queue);
    return queue;
  }

  writeBlock(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void {
    const bits = PROTOCOLS.map((protocol) => {
      const words = Array.from({ length: BLOCK_WORDS }, () => 0n);
      for (const port of staticPorts[protocol]) {
        const at = port - block.firstPort;
        if (at < 0 || at >= block.size) throw new RangeError(`port ${port} lies outside block ${block.index}`);
        words[at >> 6] = (words[at >> 6] ?? 0n) | (1n << BigInt(at & 63));
      }
      return words;
    });
    typed(this.maps.n64_blocks, u32Codec, blockCodec).update(block.index, {
      leasedNs: 0n,
      emptiedNs: monotonicNs(),
      holder: new Uint8Array(16),
      pool: block.v4,
      slot: block.slot,
      firstPort: block.firstPort,
      size: block.size,
      state: BLOCK_STATE.BLOCK_HELD,
      used: 0,
      bits,
    });
  }

  /** Only for blocks that no program touches: held ones, and queued ones just taken out. */
  #setBlockState(index: number, state: number): number | undefined {
    const blocks = typed(this.maps.n64_blocks, u32Codec, blockCodec);
    const block = blocks.lookup(index);
    if (!block || block.state === BLOCK_STATE.BLOCK_NONE) return undefined;
    blocks.update(index, { ...block, state });
    return block.slot;
  }

  offerBlock(index: number): void {
    // State first: a block that is queued must say so, and one that says so and is not queued is found at the next start.
    const slot = this.#setBlockState(index, BLOCK_STATE.BLOCK_OFFERED);
    if (slot === undefined) throw new RangeError(`block ${index} was never written`);
    this.#queue(slot).push(encode(u32Codec, index));
  }

  queuedBlocks(slot: number): Set<number> {
    return this.#rotate(slot, () => true);
  }

  /** Takes each queued block out once and puts it back if `keep` says so; the queue is never empty for long. */
  #rotate(slot: number, keep: (index: number) => boolean): Set<number> {
    const queue = this.#queue(slot);
    const seen = new Set<number>();
    for (let turn = 0; turn < QUEUE_ENTRIES; turn++) {
      const item = queue.pop();
      if (!item) break;
      const index = viewOf(item).getUint32(0, true);
      if (seen.has(index)) {
        queue.push(item);
        break;
      }
      seen.add(index);
      if (keep(index)) queue.push(item);
    }
    return seen;
  }

  retireBlock(index: number): boolean {
    const block = typed(this.maps.n64_blocks, u32Codec, blockCodec).lookup(index);
    if (!block) return false;
    if (block.state === BLOCK_STATE.BLOCK_HELD) {
      this.#setBlockState(index, BLOCK_STATE.BLOCK_RETIRED);
      return true;
    }
    let found = false;
    this.#rotate(block.slot, (queued) => {
      if (queued !== index) return true;
      found = true;
      return false;
    });
    if (found) this.#setBlockState(index, BLOCK_STATE.BLOCK_RETIRED);
    return found;
  }

  // ---- static bindings ----

  putStaticBinding(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    const bib6 = typed(this.maps.n64_bib6, bib6KeyCodec, bib6Codec);
    const key = { src: source.v6, port: source.port, protocol };
    const value = {
      createdNs: monotonicNs(),
      pool: pool.v4,
      port: pool.port,
      isStatic: 1,
      refs: 0,
      block: NO_BLOCK,
    };
    if (!bib6.tryUpdate(key, value, 'noexist')) {
      const there = bib6.lookup(key);
      if (there?.isStatic && there.pool === pool.v4 && there.port === pool.port) return;
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv6 side of the static binding has another binding now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    const bib4 = typed(this.maps.n64_bib4, bib4KeyCodec, bib4Codec);
    const four = { src: source.v6, port: source.port, isStatic: 1 };
    if (!bib4.tryUpdate({ pool: pool.v4, port: pool.port, protocol }, four, 'noexist')) {
      bib6.delete(key);
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv4 side of the static binding is in use now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    this.#countStatics(protocol, 1);
  }

  deleteStaticBinding(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    typed(this.maps.n64_bib4, bib4KeyCodec, bib4Codec).delete({ pool: pool.v4, port: pool.port, protocol });
    const bib6 = typed(this.maps.n64_bib6, bib6KeyCodec, bib6Codec);
    if (bib6.delete({ src: source.v6, port: source.port, protocol })) this.#countStatics(protocol, -1);
  }

  #countStatics(protocol: number, change: number): void {
    const statics = typed(this.maps.n64_statics, u32Codec, u32Codec);
    statics.update(protocol, Math.max(0, (statics.lookup(protocol) ?? 0) + change));
  }

  // ---- sweep ----

  sweep(idleBlockMs: number): SweepResult {
    const started = performance.now();
    if (idleBlockMs !== this.#idleBlockMs) {
      this.#idleBlockMs = idleBlockMs;
      this.configure(this.#config);
    }
    const toEpoch = epochClock();
    const config = this.programs();
    const { sessions } = this.counts();
    const bytes = iterateMap(this.#program('n64_sweep'), this.maps.n64_flow6, undefined, {
      recordSize: sessionRecordCodec.size,
    });
    const view = viewOf(bytes);
    const ended = [];
    for (let at = 0; at < bytes.length; at += sessionRecordCodec.size) {
      const record = sessionRecordCodec.read(view, at);
      ended.push(sessionRow(record.key, record.six, record.four, config, toEpoch));
    }
    return {
      ended,
      returned: this.#reclaim(toEpoch),
      walked: PROTOCOLS.reduce((sum, protocol) => sum + sessions[protocol], 0),
      durationMs: performance.now() - started,
    };
  }

  #reclaim(toEpoch: (ns: bigint) => number): BlockRow[] {
    const bytes = iterateMap(this.#program('n64_reclaim'), this.maps.n64_blocks, undefined, {
      recordSize: blockRecordCodec.size,
    });
    const view = viewOf(bytes);
    const blocks = typed(this.maps.n64_blocks, u32Codec, blockCodec);
    const returned: BlockRow[] = [];
    for (let at = 0; at < bytes.length; at += blockRecordCodec.size) {
      const record = blockRecordCodec.read(view, at);
      const block = blocks.lookup(record.index);
      const row = block && blockRow(record.index, block, toEpoch);
      // `held` or the record was written and then somebody allocated after all.
      if (row?.state !== 'held') continue;
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
    this.#ring.close();
    for (const queue of this.#queues.values()) queue.close();
    this.#object.close();
    super[Symbol.dispose]();
  }
}

const poolKeyCodec = {
  size: 4,
  write: (view: DataView, offset: number, v4: number) => view.setUint32(offset, v4, false),
};

/** Makes a map's content exactly `wanted`: first adds, then removes, so that nothing wanted is ever missing. */
function replaceAll(map: BpfMap, wanted: readonly { key: Uint8Array; value: Uint8Array }[]): void {
  const keep = new Set<string>();
  for (const { key, value } of wanted) {
    keep.add(Buffer.from(key).toString('hex'));
    map.update(key, value);
  }
  const stale = [...map.keys()].filter((key) => !keep.has(Buffer.from(key).toString('hex')));
  for (const key of stale) map.delete(key);
}
