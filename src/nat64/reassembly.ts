// SPDX-License-Identifier: Apache-2.0
// Datagrams whose fragments wait for others: what is there, whether it is whole, and who has to go when there is no more
// room. Nothing here knows how fragments come or where they go.

import type { DatagramId } from '../datapath/datapath.ts';
import type { Fragment } from './fragment.ts';

/** What a fragment costs besides its bytes, so that many small ones cost what they cost. */
const FRAGMENT_COST = 512;
const MAX_DATAGRAM = 65_535;

export interface ReassemblyLimits {
  /** Of all that is held, bookkeeping included. */
  readonly bytes: number;
  readonly datagrams: number;
  /** Of one datagram. */
  readonly fragments: number;
}

/** RFC 5722: once one overlaps or contradicts another, nothing of that datagram is of use, later ones neither. */
export type Taken = 'held' | 'duplicate' | 'refused';

export interface HeldDatagram {
  readonly id: DatagramId;
  readonly since: number;
  /** By offset, in order. Empty once it has been refused. */
  readonly fragments: readonly Fragment[];
  /** Every byte of it is there. */
  readonly isWhole: boolean;
  readonly hasFirst: boolean;
  readonly isRefused: boolean;
}

export interface Added {
  readonly taken: Taken;
  readonly datagram: HeldDatagram;
  readonly refused: number;
  readonly evicted: number;
}

class Datagram implements HeldDatagram {
  readonly id: DatagramId;
  readonly since: number;
  readonly name: string;
  readonly sender: Sender;
  fragments: Fragment[] = [];
  /** Bytes of payload there, and in all once the last fragment is there. */
  bytes = 0;
  total: number | undefined;
  cost = FRAGMENT_COST;
  isRefused = false;

  constructor(id: DatagramId, since: number, name: string, sender: Sender) {
    this.id = id;
    this.since = since;
    this.name = name;
    this.sender = sender;
  }

  get isWhole(): boolean {
    return this.bytes === this.total;
  }

  get hasFirst(): boolean {
    return this.fragments[0]?.offset === 0;
  }

  take(fragment: Fragment, most: number): Taken {
    if (this.isRefused) return 'refused';
    const { offset, more, payload } = fragment;
    const end = offset + payload.length;
    const at = this.fragments.findIndex((other) => other.offset >= offset);
    const [before, after] = at < 0 ? [this.fragments.at(-1), undefined] : [this.fragments[at - 1], this.fragments[at]];
    if (after !== undefined && isSame(after, fragment)) return 'duplicate';
    const isOdd = payload.length === 0 || (more && payload.length % 8 !== 0) || end > MAX_DATAGRAM;
    const overlaps =
      (before !== undefined && before.offset + before.payload.length > offset) ||
      (after !== undefined && after.offset < end);
    const contradicts = more
      ? this.total !== undefined && end >= this.total
      : this.total !== undefined || after !== undefined;
    if (isOdd || overlaps || contradicts || this.fragments.length >= most) return 'refused';
    this.fragments.splice(at < 0 ? this.fragments.length : at, 0, fragment);
    this.bytes += payload.length;
    if (!more) this.total = end;
    return 'held';
  }
}

interface Sender {
  readonly name: string;
  cost: number;
  /** The oldest first. */
  readonly datagrams: Set<Datagram>;
}

export class Reassembly {
  readonly #limits: ReassemblyLimits;
  /** The oldest first. */
  readonly #datagrams = new Map<string, Datagram>();
  readonly #senders = new Map<string, Sender>();
  #cost = 0;

  constructor(limits: ReassemblyLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#datagrams.size;
  }

  /** What it takes, never more than its limit. */
  get bytes(): number {
    return this.#cost;
  }

  /** The oldest first. */
  datagrams(): IterableIterator<HeldDatagram> {
    return this.#datagrams.values();
  }

  /** Notes a fragment. `refused`: how many are of no use any more, it included; `evicted`: how many had to go for it. */
  add(fragment: Fragment, now: number): Added {
    const datagram = this.#datagramOf(fragment.datagram, now);
    const taken = datagram.take(fragment, this.#limits.fragments);
    if (taken === 'held') this.#charge(datagram, FRAGMENT_COST + fragment.packet.length);
    const refused = taken === 'refused' ? this.#refuse(datagram) : 0;
    return { taken, datagram, refused, evicted: this.#makeRoom() };
  }

  remove(held: HeldDatagram): void {
    const datagram = this.#datagrams.get(nameOf(held.id));
    if (datagram === undefined) return;
    this.#datagrams.delete(datagram.name);
    const { sender } = datagram;
    this.#charge(datagram, -datagram.cost);
    sender.datagrams.delete(datagram);
    if (sender.datagrams.size === 0) this.#senders.delete(sender.name);
  }

  #datagramOf(id: DatagramId, now: number): Datagram {
    const name = nameOf(id);
    const there = this.#datagrams.get(name);
    if (there !== undefined) return there;
    const source = textOf(id.source);
    let sender = this.#senders.get(source);
    if (sender === undefined) this.#senders.set(source, (sender = { name: source, cost: 0, datagrams: new Set() }));
    const datagram = new Datagram(id, now, name, sender);
    this.#datagrams.set(name, datagram);
    sender.datagrams.add(datagram);
    sender.cost += datagram.cost;
    this.#cost += datagram.cost;
    return datagram;
  }

  #charge(datagram: Datagram, cost: number): void {
    datagram.cost += cost;
    datagram.sender.cost += cost;
    this.#cost += cost;
  }

  /** It stays, empty, so that what comes later is refused as well. */
  #refuse(datagram: Datagram): number {
    const refused = datagram.fragments.length + 1;
    datagram.isRefused = true;
    datagram.fragments = [];
    this.#charge(datagram, FRAGMENT_COST - datagram.cost);
    return refused;
  }

  /** The oldest of the greediest sender goes first: whoever floods loses their own. */
  #makeRoom(): number {
    let evicted = 0;
    while (this.#cost > this.#limits.bytes || this.#datagrams.size > this.#limits.datagrams) {
      let greediest: Sender | undefined;
      for (const sender of this.#senders.values()) {
        if (greediest === undefined || sender.cost > greediest.cost) greediest = sender;
      }
      const [oldest] = greediest?.datagrams ?? [];
      if (oldest === undefined) break;
      evicted += oldest.fragments.length;
      this.remove(oldest);
    }
    return evicted;
  }
}

function isSame(a: Fragment, b: Fragment): boolean {
  return a.offset === b.offset && a.more === b.more && Buffer.compare(a.payload, b.payload) === 0;
}

const textOf = (bytes: Uint8Array) => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');

function nameOf({ source, destination, id, protocol }: DatagramId): string {
  return `${textOf(source)} ${textOf(destination)} ${id} ${protocol}`;
}
