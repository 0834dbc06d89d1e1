// SPDX-License-Identifier: Apache-2.0
// Records of port blocks and the queues that the programs take them from. A program may change a block at any moment,
// unless it rests or has just been taken out of its queue: only then is a record written here.

import { existsSync } from 'node:fs';
import { BpfMap, TypedMap } from '../libbpf/mod.ts';
import { isOffered } from './block-view.ts';
import { encode, viewOf } from './bytes.ts';
import { monotonicNs } from './clock.ts';
import { PROTOCOLS, type Protocol } from '../model/binding.ts';
import { type Block } from './datapath.ts';
import type { MapSet } from './ebpf-reader.ts';
import { u32Codec, u64Codec } from '../model/codecs.ts';
import { BLOCK_STATE, BLOCK_WORDS, blockCodec, STOCK } from '../model/layout.gen.ts';
import type { Pins } from './pins.ts';

/** Blocks that one queue takes: 65535 ports in blocks of 16. */
const QUEUE_ENTRIES = 4096;

export class BlockStore implements Disposable {
  readonly #maps: MapSet;
  readonly #pins: Pins;
  readonly #queues = new Map<number, BpfMap>();
  /** As n64_stock has it; undefined: not looked at yet. */
  #offered: bigint | undefined;

  constructor(maps: MapSet, pins: Pins) {
    this.#maps = maps;
    this.#pins = pins;
  }

  /**
   * Makes the queues of `slots`, and no other, those that the programs take blocks from. A queue that is hidden keeps its
   * pin: its address may be wanted again. What is right already is not written: a write to a map of maps waits until no
   * program runs that may have the queue of before, which takes 10 to 20 ms of this thread each.
   */
  expose(slots: ReadonlySet<number>): void {
    const { n64_free: free } = this.#maps;
    /** A map of maps is written by a descriptor and read as an id. */
    const exposed = (slot: number) => {
      const id = free.lookup(encode(u32Codec, slot));
      return id && viewOf(id).getUint32(0, true);
    };
    for (const slot of slots) {
      const queue = this.#queue(slot);
      if (exposed(slot) !== queue.id) free.update(encode(u32Codec, slot), encode(u32Codec, queue.fd));
    }
    for (const slot of this.#pins.queues()) {
      if (!slots.has(slot) && exposed(slot) !== undefined) free.delete(encode(u32Codec, slot));
    }
  }

  #queue(slot: number): BpfMap {
    const known = this.#queues.get(slot);
    if (known) return known;
    const pin = this.#pins.queue(slot);
    let queue: BpfMap;
    if (existsSync(pin)) {
      queue = BpfMap.openPinned(pin);
    } else {
      queue = BpfMap.create({ type: 'queue', keySize: 0, valueSize: 4, maxEntries: QUEUE_ENTRIES, name: 'n64_free_q' });
      queue.pin(pin);
    }
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
    new TypedMap(this.#maps.n64_blocks, u32Codec, blockCodec).update(block.index, {
      leasedNs: 0n,
      emptiedNs: monotonicNs(),
      holder: new Uint8Array(16),
      pool: block.v4,
      slot: block.slot,
      firstPort: block.firstPort,
      size: block.size,
      state: BLOCK_STATE.BLOCK_RESTING,
      used: 0,
      device: 0,
      bits,
    });
  }

  /** Only for blocks that no program touches: those that rest, and queued ones just taken out. */
  #setBlockState(index: number, state: number): number | undefined {
    const blocks = new TypedMap(this.#maps.n64_blocks, u32Codec, blockCodec);
    const block = blocks.lookup(index);
    if (!block || block.state === BLOCK_STATE.BLOCK_NONE) return undefined;
    blocks.update(index, { ...block, state });
    return block.slot;
  }

  offerBlock(index: number): void {
    // Before this one says that it is offered.
    this.#offered ??= this.#countStock();
    // State first: a block that is queued must say so, and one that says so and is not queued is found at the next start.
    const slot = this.#setBlockState(index, BLOCK_STATE.BLOCK_OFFERED);
    if (slot === undefined) throw new RangeError(`block ${index} was never written`);
    this.#countOffered(1n);
    this.#queue(slot).push(encode(u32Codec, index));
  }

  /** What the queues hold together is the difference of two counts, of which this is user space's. */
  #countOffered(more: bigint): void {
    this.#offered = (this.#offered ?? this.#countStock()) + more;
    new TypedMap(this.#maps.n64_stock, u32Codec, u64Codec).update(STOCK.STOCK_OFFERED, this.#offered);
  }

  /** Whatever a process that ended in the middle of a step left out. */
  #countStock(): bigint {
    let stock = new TypedMap(this.#maps.n64_stock, u32Codec, u64Codec).lookup(STOCK.STOCK_LEASED) ?? 0n;
    for (const { values, count } of this.#maps.n64_blocks.lookupBatch()) {
      const view = viewOf(values);
      for (let i = 0; i < count; i++) if (isOffered(view, i * blockCodec.size)) stock++;
    }
    return stock;
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

  retireBlocks(indexes: Iterable<number>): Set<number> {
    const blocks = new TypedMap(this.#maps.n64_blocks, u32Codec, blockCodec);
    const retired = new Set<number>();
    const bySlot = new Map<number, Set<number>>();
    for (const index of indexes) {
      const block = blocks.lookup(index);
      if (block?.state === BLOCK_STATE.BLOCK_RESTING) retired.add(index);
      else if (block) bySlot.set(block.slot, (bySlot.get(block.slot) ?? new Set()).add(index));
    }
    for (const [slot, wanted] of bySlot) {
      this.#rotate(slot, (queued) => {
        if (!wanted.has(queued)) return true;
        retired.add(queued);
        this.#countOffered(-1n);
        return false;
      });
    }
    for (const index of retired) this.#setBlockState(index, BLOCK_STATE.BLOCK_RETIRED);
    return retired;
  }

  [Symbol.dispose](): void {
    for (const queue of this.#queues.values()) queue.close();
  }
}
