// SPDX-License-Identifier: Apache-2.0
// Who holds which block of ports since when (RFC 6888 REQ-8, §4): names blocks (index) and addresses (slot), offers free
// blocks to the data plane, rests returned ones, lets blocks that left the pool empty. The maps are the truth; a new
// process rebuilds the ledger from them and changes no name of what is there.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import type { StaticBinding } from '../model/binding.ts';
import type { Block, BlockRow, Datapath, DatapathEvent } from '../datapath/datapath.ts';
import type { BindingLog } from './binding-log.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import { blockKey, blocksOverlap, type PoolBlock } from '../plan/blocks.ts';
import type { BlockUse } from './pressure.ts';
import { staticPortsOf } from './static-bindings.ts';
import { unpairedPods } from './views.ts';

export interface LedgerOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Log;
  readonly bindings?: BindingLog | undefined;
  readonly holdDownMs: number;
  /** 0 ≤ x < 1; decides the order in which blocks are offered (RFC 6888 REQ-15: hard to guess). */
  readonly random?: () => number;
}

/** Of the blocks that rest, so many at a time are given out early. */
const WAKE_PART = 8;

const NO_STATICS = JSON.stringify({ tcp: [], udp: [], icmp: [] });

interface Entry extends Omit<Block, 'slot'> {
  slot: number;
  /** False: no longer of the pool, kept until it is empty and has rested. */
  wanted: boolean;
  state: 'offered' | 'leased' | 'resting';
  holder: Uint8Array | undefined;
  /** Resting: when that is over, on the monotonic clock. */
  readyAt: number;
  /** The static ports its record was written with, as text; undefined: not known. */
  statics: string | undefined;
}

export interface LedgerAddress {
  readonly v4: number;
  readonly slot: number;
  /** False while it only waits for its blocks to empty. */
  readonly wanted: boolean;
}

export class PortBlockLedger {
  readonly #options: LedgerOptions;
  readonly #random: () => number;
  readonly #entries = new Map<number, Entry>();
  /** Blocks of the pool whose ports an older block of another shape still holds. */
  #waiting: PoolBlock[] = [];
  #statics: readonly StaticBinding[] = [];
  #suspects = new Set<number>();
  #adopted = false;

  constructor(options: LedgerOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  /**
   * Makes the data plane's blocks those of `pool`. The first call takes over what an earlier process left. `statics` are
   * the static bindings that are in force; their ports are kept out of new blocks. New blocks are offered by the next
   * tick(), so that the data plane can be told of their addresses first.
   */
  reconcile(pool: readonly PoolBlock[], statics: readonly StaticBinding[]): void {
    this.#statics = statics;
    if (this.#adopted) this.#catchUp();
    else this.#adopt();
    const byKey = new Map([...this.#entries.values()].map((entry) => [blockKey(entry), entry]));
    const wantedKeys = new Set(pool.map(blockKey));
    for (const [key, entry] of byKey) entry.wanted = wantedKeys.has(key);
    this.#separateSlots();
    const now = this.#options.clock.now();
    const isFree = ({ state, readyAt }: Entry) => state === 'offered' || (state === 'resting' && readyAt <= now);
    this.#retire([...byKey.values()].filter((entry) => !entry.wanted && isFree(entry)));
    this.#waiting = pool.filter((block) => !byKey.has(blockKey(block)));
    this.#admitWaiting();
    this.#syncStatics();
  }

  /** Takes note of a lease; one log line per block, none per session (RFC 6888 REQ-14, §4). */
  noteEvent(event: DatapathEvent): void {
    if (event.type !== 'blockLeased') return;
    const entry = this.#entries.get(event.block);
    if (entry !== undefined) this.#noteLease(entry, event.holder, event.at);
  }

  /** Takes note of blocks that a sweep took back: they rest for the hold-down before anybody gets them (REQ-8). */
  noteReturned(rows: readonly BlockRow[]): void {
    const { clock, holdDownMs, bindings } = this.#options;
    for (const row of rows) {
      const entry = this.#entries.get(row.index);
      if (entry === undefined) continue;
      entry.state = 'resting';
      entry.holder = undefined;
      entry.readyAt = clock.now() + holdDownMs;
      this.#log('port block returned', row, row.holder, { since: iso(row.since), at: iso(clock.wall()) });
      if (row.holder !== undefined) bindings?.blockReturned(row, row.holder, row.since, clock.wall());
    }
  }

  /** Offers what has rested, lets go of what has rested and left the pool. Cheap; to be called about once a second. */
  tick(): void {
    const now = this.#options.clock.now();
    const due = [...this.#entries.values()].filter((entry) => entry.state === 'resting' && entry.readyAt <= now);
    for (const entry of shuffle(due, this.#random)) if (entry.wanted) this.#offer(entry);
    const left = due.filter((entry) => !entry.wanted).map((entry) => entry.index);
    this.#options.datapath.retireBlocks(left);
    for (const index of left) this.#entries.delete(index);
    if (left.length > 0 && this.#waiting.length > 0) {
      this.#admitWaiting();
      this.tick();
    }
  }

  /**
   * Pods were refused for want of a block: those that have rested longest rest no longer. The hold-down is a SHOULD
   * (RFC 6888 REQ-8), and who gets no port at all has no use for it. The last `reserved` blocks are for pods that hold
   * none: all others are refused while these lie there.
   */
  wake(reserved: number): void {
    const now = this.#options.clock.now();
    const entries = [...this.#entries.values()].filter((entry) => entry.wanted);
    if (entries.filter(({ state }) => state === 'offered').length > reserved) return;
    const resting = entries.filter(({ state, readyAt }) => state === 'resting' && readyAt > now);
    if (resting.length === 0) return;
    resting.sort((a, b) => a.readyAt - b.readyAt);
    const woken = resting.slice(0, Math.ceil(resting.length / WAKE_PART));
    for (const entry of woken) entry.readyAt = now;
    this.#options.log.info({ blocks: woken.length }, 'no block of ports is free; blocks that rest are given out early');
  }

  /**
   * Puts back blocks that are marked offered but lie in no queue (a crash between two steps), or lets go of them when they
   * have left the pool, once two calls in a row have found them so: between being taken and being marked leased a block
   * looks the same for a moment. Also catches up on leases whose events were lost.
   */
  verify(): void {
    const { datapath, log } = this.#options;
    const slots = new Set([...this.#entries.values()].map((entry) => entry.slot));
    const queued = new Set([...slots].flatMap((slot) => [...datapath.queuedBlocks(slot)]));
    // Rows are read after the queues, so a block that a pod takes in between still stands in `queued`.
    const rows = this.#catchUp();
    const suspects = new Set<number>();
    const left: Entry[] = [];
    for (const entry of this.#entries.values()) {
      if (!entry.wanted && entry.state === 'offered' && queued.has(entry.index)) left.push(entry);
      if (entry.state !== 'offered' || queued.has(entry.index) || rows.get(entry.index)?.state !== 'offered') continue;
      if (!this.#suspects.has(entry.index)) {
        suspects.add(entry.index);
        continue;
      }
      this.#write(entry);
      if (entry.wanted) {
        this.#offer(entry);
        log.warn(fields(entry), 'port block was in no queue; offered again');
      } else {
        left.push(entry);
        log.warn(fields(entry), 'port block was in no queue and has left the pool; let go of');
      }
    }
    this.#suspects = suspects;
    this.#retire(left);
    if (left.length > 0 && this.#waiting.length > 0) {
      this.#admitWaiting();
      this.tick();
    }
  }

  /** Static bindings that came into force or went since `reconcile`. */
  setStatics(statics: readonly StaticBinding[]): void {
    this.#statics = statics;
    this.#syncStatics();
  }

  /** Every address that has a block, in order of slots. */
  addresses(): LedgerAddress[] {
    const found = new Map<number, LedgerAddress>();
    for (const { v4, slot, wanted } of this.#entries.values()) {
      found.set(v4, { v4, slot, wanted: wanted || found.get(v4)?.wanted === true });
    }
    // An address whose every block waits for older ones to empty is wanted, too.
    for (const { v4 } of this.#waiting) {
      const address = found.get(v4);
      if (address !== undefined) found.set(v4, { ...address, wanted: true });
    }
    return [...found.values()].sort((a, b) => a.slot - b.slot);
  }

  /** Pods that hold blocks of more than one address. */
  unpaired(): number {
    return unpairedPods(this.#entries.values());
  }

  /** Addresses of which pods hold blocks, of the pool or not: packets for these have to find their way here. */
  leasedAddresses(): number[] {
    const leased = [...this.#entries.values()].filter((entry) => entry.state === 'leased');
    return [...new Set(leased.map((entry) => entry.v4))].sort((a, b) => a - b);
  }

  /** Blocks of each pod, and what of the pool there is to give. */
  use(): Omit<BlockUse, 'blockSize'> {
    const holders = new Map<string, { pod: Uint8Array; blocks: number[] }>();
    let [ports, blocks] = [0, 0];
    for (const { index, state, holder, wanted, size } of this.#entries.values()) {
      if (wanted && state !== 'resting') {
        ports += size;
        blocks++;
      }
      if (state !== 'leased' || holder === undefined) continue;
      const name = Buffer.from(holder).toString('hex');
      const known = holders.get(name);
      if (known === undefined) holders.set(name, { pod: holder, blocks: [index] });
      else known.blocks.push(index);
    }
    return { holders, ports, blocks };
  }

  /** Blocks in use, or resting, that `pool` has not: they need records as well as those of `pool`. */
  leaving(pool: readonly PoolBlock[]): number {
    const wanted = new Set(pool.map(blockKey));
    const entries = [...this.#entries.values()];
    return entries.filter((entry) => entry.state !== 'offered' && !wanted.has(blockKey(entry))).length;
  }

  /** How many queues a new pod may be put on: the highest slot in use plus one. */
  slots(): number {
    return this.addresses().reduce((most, { slot, wanted }) => (wanted ? Math.max(most, slot + 1) : most), 0);
  }

  /** Blocks of the pool that a pod can get or has: none means that nobody can be served. Those that left it do not count. */
  serving(): { offered: number; leased: number; resting: number } {
    const counts = { offered: 0, leased: 0, resting: 0 };
    for (const entry of this.#entries.values()) if (entry.wanted) counts[entry.state]++;
    return counts;
  }

  /** When the next resting block is offered, if any rests. */
  nextReadyAt(): number | undefined {
    const times = [...this.#entries.values()].filter((e) => e.state === 'resting' && e.wanted).map((e) => e.readyAt);
    return times.length === 0 ? undefined : times.reduce((a, b) => Math.min(a, b));
  }

  #adopt(): void {
    const { datapath, clock, holdDownMs } = this.#options;
    for (const row of datapath.blocks()) {
      if (row.state === 'retired') continue;
      // When a resting block was given back is not known any more, so its rest begins anew (RFC 6888 REQ-8). One that was
      // written and then not offered, since its process ended, has nothing to rest from.
      const readyAt = row.state === 'resting' && row.wasLeased ? clock.now() + holdDownMs : 0;
      const used = row.used.tcp + row.used.udp + row.used.icmp;
      // In a block that nobody holds, used ports are those of static bindings; which ones the row does not say.
      const statics = used === 0 ? NO_STATICS : undefined;
      const { index, slot, v4, firstPort, size, state, holder } = row;
      this.#entries.set(index, { index, slot, v4, firstPort, size, state, holder, wanted: false, readyAt, statics });
      if (state === 'leased') this.#log('port block adopted', row, holder, { since: iso(row.since) });
    }
    this.#adopted = true;
  }

  /** A full ring loses events: the records tell of leases all the same. */
  #catchUp(): Map<number, BlockRow> {
    const offered = [...this.#entries.values()].filter(({ state }) => state === 'offered');
    const rows = this.#options.datapath.blocksAt(offered.map(({ index }) => index));
    for (const row of rows) {
      const entry = this.#entries.get(row.index);
      if (entry?.state === 'offered' && row.state === 'leased' && row.holder !== undefined) {
        this.#noteLease(entry, row.holder, row.since);
      }
    }
    return new Map(rows.map((row) => [row.index, row]));
  }

  #noteLease(entry: Entry, holder: Uint8Array, at: number | undefined): void {
    if (entry.state === 'leased' && entry.holder !== undefined && formatIp6(entry.holder) === formatIp6(holder)) return;
    entry.state = 'leased';
    entry.holder = holder;
    this.#log('port block leased', entry, holder, { at: iso(at) });
    this.#options.bindings?.blockLeased(entry, holder, at);
  }

  #retire(entries: readonly Entry[]): void {
    const retired = this.#takeOut(entries);
    for (const { index } of entries) if (retired.has(index)) this.#entries.delete(index);
  }

  /**
   * Takes offered blocks out of their queues. A block that lay in none was taken by a pod and stays until that pod gives
   * it back; one that no pod holds either (a crash between two steps) stays offered, for verify() to judge.
   */
  #takeOut(entries: readonly Entry[]): Set<number> {
    const { datapath } = this.#options;
    const taken = datapath.retireBlocks(entries.map((entry) => entry.index));
    if (taken.size < entries.length) this.#catchUp();
    return taken;
  }

  /**
   * While an address drained, another may have been given its slot. When both are of the pool, the one that comes back
   * gets a slot of its own; its blocks, which pods hold or which rest, are written with it before they are offered.
   */
  #separateSlots(): void {
    const numbers = new FreeNumbers([]);
    const entries = [...this.#entries.values()].filter((entry) => entry.wanted);
    // Offered blocks lie in their queue already, so these come first.
    entries.sort((a, b) => Number(b.state === 'offered') - Number(a.state === 'offered'));
    const first = new Map<number, number>();
    for (const { slot, v4 } of entries) if (!first.has(slot)) first.set(slot, v4);
    for (const entry of entries) if (first.get(entry.slot) === entry.v4) numbers.keep(entry);
    for (const entry of entries) {
      if (entry.state === 'offered' || first.get(entry.slot) === entry.v4) continue;
      entry.slot = numbers.slot(entry.v4);
      entry.statics = undefined;
    }
  }

  #admitWaiting(): void {
    const old = new Map<number, Entry[]>();
    for (const entry of this.#entries.values()) {
      if (entry.wanted) continue;
      const sameAddress = old.get(entry.v4);
      if (sameAddress === undefined) old.set(entry.v4, [entry]);
      else sameAddress.push(entry);
    }
    const rest: PoolBlock[] = [];
    const fresh: Entry[] = [];
    const numbers = new FreeNumbers(this.#entries.values());
    for (const block of this.#waiting) {
      if (old.get(block.v4)?.some((entry) => blocksOverlap(entry, block)) === true) {
        rest.push(block);
        continue;
      }
      const { v4, firstPort, size } = block;
      const index = numbers.index();
      fresh.push({
        index,
        slot: numbers.slot(v4),
        v4,
        firstPort,
        size,
        wanted: true,
        state: 'resting',
        holder: undefined,
        readyAt: 0,
        statics: undefined,
      });
    }
    this.#waiting = rest;
    for (const entry of fresh) {
      this.#write(entry);
      this.#entries.set(entry.index, entry);
    }
  }

  #write(entry: Entry): void {
    const ports = staticPortsOf(entry, this.#statics);
    this.#options.datapath.writeBlock(entry, ports);
    entry.statics = JSON.stringify(ports);
  }

  #staticsChanged(entry: Entry): boolean {
    return entry.statics !== JSON.stringify(staticPortsOf(entry, this.#statics));
  }

  /**
   * Brings static ports into the records of offered blocks. A leased block gets them when it comes back: until then two
   * bindings for one port are kept apart by the table of bindings alone (RFC 6146 §3.1).
   */
  #syncStatics(): void {
    const stale = [...this.#entries.values()].filter(
      (entry) => entry.wanted && entry.state === 'offered' && this.#staticsChanged(entry),
    );
    const taken = this.#takeOut(stale);
    for (const entry of stale) {
      if (!taken.has(entry.index)) continue;
      this.#write(entry);
      this.#offer(entry);
    }
  }

  #offer(entry: Entry): void {
    if (this.#staticsChanged(entry)) this.#write(entry);
    this.#options.datapath.offerBlock(entry.index);
    entry.state = 'offered';
    entry.holder = undefined;
  }

  #log(message: string, block: PoolBlock, holder: Uint8Array | undefined, more: object): void {
    this.#options.log.info(
      { ...fields(block), holder: holder === undefined ? undefined : formatIp6(holder), ...more },
      message,
    );
  }
}

/** The lowest indexes of blocks and slots of addresses that are free. */
class FreeNumbers {
  readonly #indexes = new Set<number>();
  readonly #slots = new Map<number, number>();
  #nextIndex = 0;

  constructor(entries: Iterable<Entry>) {
    for (const entry of entries) {
      this.#indexes.add(entry.index);
      // The data plane looks for a block in the first slots, so these have to be full: an address that leaves the pool,
      // whose queue is empty for good, gives its slot to one that comes.
      if (entry.wanted) this.keep(entry);
    }
  }

  keep({ v4, slot }: Entry): void {
    this.#slots.set(v4, slot);
  }

  index(): number {
    while (this.#indexes.has(this.#nextIndex)) this.#nextIndex++;
    return this.#nextIndex++;
  }

  slot(v4: number): number {
    const known = this.#slots.get(v4);
    if (known !== undefined) return known;
    const used = new Set(this.#slots.values());
    let slot = 0;
    while (used.has(slot)) slot++;
    this.#slots.set(v4, slot);
    return slot;
  }
}

function fields(block: PoolBlock): { address: string; ports: string } {
  return { address: formatIp4(block.v4), ports: `${block.firstPort}-${block.firstPort + block.size - 1}` };
}

function iso(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString();
}

function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
