// SPDX-License-Identifier: Apache-2.0
// BPF ring buffer read from the event loop: the ring is mapped and walked in JavaScript (no native call per record),
// woken by a libuv poll handle on the map's descriptor, or by a timer where there is none.

import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { checkInt } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import type { Pointer } from './ffi.ts';
import { lastErrno, libc } from './ffi.ts';
import { mapTypes } from './kinds.ts';
import type { BpfMap } from './map.ts';
import { pollWake, timerWake, type Wake } from './wake.ts';

export interface RingBufferOptions {
  /** How to notice records: `poll` (default, timer where it cannot be had) or `timer`. */
  wake?: 'poll' | 'timer';
  /** Period of the timer. Default 10. */
  timerMs?: number;
}

const PROT_READ = 1;
const PROT_WRITE = 2;
const MAP_SHARED = 1;
// linux/bpf.h: BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ
const busyBit = 1 << 31;
const discardBit = 1 << 30;
const headerBytes = 8;
// What one turn of the event loop may take before others run.
const maxRecordsPerTurn = 4096;

/**
 * Reader of one ring buffer map. `onRecords` gets all records found at a time, in order, as copies; it runs from
 * setImmediate, so what it throws is an uncaughtException and promises continue at once. Keeps the process alive
 * until closed or unref'ed. One reader per map: two would share out the records.
 */
export class RingBuffer implements Disposable {
  readonly #onRecords: (records: Buffer[]) => void;
  readonly #size: number;
  readonly #page: number;
  readonly #name: string;
  #fd = -1;
  #consumer: Mapping | undefined;
  #producer: Mapping | undefined;
  #wake: Wake | undefined;
  #pending = false;
  #referenced = true;

  constructor(map: BpfMap, onRecords: (records: Buffer[]) => void, options: RingBufferOptions = {}) {
    if (map.type !== mapTypes.ringbuf)
      throw new TypeError(`map ${map.name} is of type ${map.type}: expected a ring buffer`);
    if (typeof onRecords !== 'function') throw new TypeError('onRecords is no function');
    const timerMs = checkInt('timerMs', options.timerMs ?? 10, 1, 60_000);
    this.#onRecords = onRecords;
    this.#name = map.name;
    this.#size = map.maxEntries;
    this.#page = libc().pageSize();
    // A descriptor of our own: an epoll set takes each descriptor once, and the map may be closed before the ring.
    this.#fd = libc().dup(map.fd);
    if (this.#fd < 0) throw systemError(`cannot duplicate the descriptor of map ${map.name}`, lastErrno());
    try {
      // Consumer page writable, then producer page and the data twice in a row, so that no record is split.
      this.#consumer = new Mapping(this.#fd, this.#page, PROT_READ | PROT_WRITE, 0);
      this.#producer = new Mapping(this.#fd, this.#page + 2 * this.#size, PROT_READ, this.#page);
      this.#wake =
        (options.wake ?? 'poll') === 'poll'
          ? pollWake(this.#fd, timerMs, () => this.#schedule())
          : timerWake(timerMs, () => this.consume());
    } catch (error) {
      this.close();
      throw error;
    }
    // What was written before us raises no event in timer mode and must not wait in the other.
    this.#schedule();
  }

  /** Reads what is there now, without waiting; gives the number of records handed over. */
  consume(): number {
    if (!this.#consumer) throw new LibbpfError('LIBBPF_STATE', `the reader of ring buffer ${this.#name} is closed`);
    let total = 0;
    while (total < maxRecordsPerTurn) {
      const records = this.#take(maxRecordsPerTurn - total);
      if (!records) break;
      total += records.length;
      if (records.length > 0) this.#onRecords(records);
      // The callback may have closed us.
      if (!this.#consumer) break;
    }
    return total;
  }

  /** Lets the process end although the reader is open. */
  unref(): this {
    this.#referenced = false;
    this.#wake?.unref();
    return this;
  }

  ref(): this {
    this.#referenced = true;
    this.#wake?.ref();
    return this;
  }

  /** Stops and unmaps; records not read stay in the map. */
  close(): void {
    this.#wake?.close();
    this.#wake = undefined;
    this.#consumer?.unmap();
    this.#producer?.unmap();
    this.#consumer = this.#producer = undefined;
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Copies what is there and gives it back to the kernel; undefined when nothing was there. Positions are read and
  // written with sequentially consistent atomics: the kernel wakes only a reader whose position it sees caught up.
  #take(limit: number): Buffer[] | undefined {
    if (!this.#consumer || !this.#producer) return undefined;
    const consumed = this.#consumer.positions;
    const { positions: produced, words, bytes } = this.#producer;
    const start = Number(Atomics.load(consumed, 0));
    const end = Number(Atomics.load(produced, 0));
    const records: Buffer[] = [];
    let at = start;
    while (at < end && records.length < limit) {
      const offset = this.#page + (at % this.#size);
      const header = Atomics.load(words, offset / 4);
      if (header & busyBit) break;
      const length = header & ~discardBit;
      if (!(header & discardBit))
        records.push(Buffer.from(bytes.subarray(offset + headerBytes, offset + headerBytes + length)));
      at += Math.ceil((headerBytes + length) / 8) * 8;
    }
    if (at === start) return undefined;
    Atomics.store(consumed, 0, BigInt(at));
    return records;
  }

  // Promises and nextTick may hang when a native callback returns into the loop (seen on Node 26): leave it at once.
  #schedule(): void {
    if (this.#pending) return;
    this.#pending = true;
    const immediate = setImmediate(() => {
      this.#pending = false;
      if (!this.#consumer) return;
      if (this.consume() >= maxRecordsPerTurn && this.#consumer) this.#schedule();
    });
    if (!this.#referenced) immediate.unref();
  }
}

class Mapping {
  readonly positions: BigUint64Array;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
  readonly #address: Pointer;
  readonly #length: number;

  constructor(fd: number, length: number, protection: number, offset: number) {
    this.#address = libc().mmap(null, length, protection, MAP_SHARED, fd, offset);
    if (BigInt.asIntN(64, this.#address) === -1n) throw systemError('cannot map the ring buffer', lastErrno());
    this.#length = length;
    const memory = koffi.view(this.#address, length);
    this.positions = new BigUint64Array(memory, 0, 1);
    this.words = new Int32Array(memory);
    this.bytes = new Uint8Array(memory);
  }

  unmap(): void {
    libc().munmap(this.#address, this.#length);
  }
}
