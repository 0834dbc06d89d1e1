// SPDX-License-Identifier: Apache-2.0
// The slow path of fragments (RFC 6146 §3.4): takes those that the programs cannot translate one by one, holds them until
// the datagram is whole or its first fragment has passed, and sends them to the programs again, in order. Slow, not lost.

import type { Datapath, WholeDatagram } from '../datapath/datapath.ts';
import type { Clock } from './clock.ts';
import { parseFragment, type Fragment } from './fragment.ts';
import type { Log } from './log.ts';
import { Reassembly, type HeldDatagram } from './reassembly.ts';

const LIMITS = { bytes: 4 << 20, datagrams: 1024, fragments: 64 };
/** The programs are asked for a first fragment that came meanwhile so soon, then after twice as long each time. */
const FIRST_LOOK_MS = 2;
const UDP = 17;
const UDP_HEADER_BYTES = 8;

/** `refused`: overlapping, contradicting or too many; `evicted`: there was no room; `expired`: the others never came. */
export const FRAGMENT_OUTCOMES = ['released', 'expired', 'refused', 'evicted'] as const;
export type FragmentOutcome = (typeof FRAGMENT_OUTCOMES)[number];
export type FragmentCounts = Readonly<Record<FragmentOutcome, number>>;

export interface FragmentsOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Log;
}

export class Fragments {
  readonly #options: FragmentsOptions;
  readonly #held = new Reassembly(LIMITS);
  readonly #counts: Record<FragmentOutcome, number> = { released: 0, expired: 0, refused: 0, evicted: 0 };
  /** When the programs are asked next, and how long after the time before. */
  readonly #looks = new WeakMap<HeldDatagram, { at: number; after: number }>();
  #holdMs = 2000;
  #cancel: (() => void) | undefined;
  #isStopped = false;
  #complaint = '';

  constructor(options: FragmentsOptions) {
    this.#options = options;
  }

  /** Begins, or begins anew after the device was; fragments wait for so long at most. */
  start(holdMs: number): void {
    this.#holdMs = holdMs;
    const { datapath, log } = this.#options;
    try {
      datapath.takeFragments((packets) => this.#take(packets));
      this.#complaint = '';
    } catch (error) {
      const text = String(error);
      if (text === this.#complaint) return;
      this.#complaint = text;
      log.warn(
        { err: error },
        'fragments out of order and fragmented ICMP are lost: they cannot be read (CAP_NET_RAW)',
      );
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** Fragments by what became of them. */
  counts(): FragmentCounts {
    return this.#counts;
  }

  #take(packets: readonly Uint8Array[]): void {
    if (this.#isStopped) return;
    const now = this.#options.clock.now();
    for (const packet of packets) {
      const fragment = parseFragment(packet);
      if (fragment === undefined) this.#counts.refused++;
      else this.#hold(fragment, now);
    }
    if (this.#held.size > 0) this.#cancel ??= this.#options.clock.after(FIRST_LOOK_MS, () => this.#look());
  }

  #hold(fragment: Fragment, now: number): void {
    const before = this.#held.size;
    const { taken, datagram, evicted, refused } = this.#held.add(fragment, now);
    this.#counts.evicted += evicted;
    this.#counts.refused += refused;
    if (taken !== 'held') return;
    if (datagram.hasFirst) {
      if (datagram.isWhole) this.#sendWhole(datagram);
    } else if (this.#held.size > before) {
      this.#looks.set(datagram, { at: now + FIRST_LOOK_MS, after: FIRST_LOOK_MS });
    }
  }

  /** Looks whether first fragments have passed, and ends what is over. */
  #look(): void {
    const { datapath, clock } = this.#options;
    const now = clock.now();
    let next = Infinity;
    try {
      for (const datagram of this.#held.datagrams()) {
        const look = this.#looks.get(datagram);
        const isDue = look !== undefined && look.at <= now && !datagram.hasFirst && !datagram.isRefused;
        if (isDue && datapath.isPassing(datagram.id)) {
          this.#send(datagram, undefined);
          continue;
        }
        if (now - datagram.since >= this.#holdMs) {
          this.#counts.expired += datagram.fragments.length;
          this.#held.remove(datagram);
          continue;
        }
        if (isDue) Object.assign(look, { at: now + 2 * look.after, after: 2 * look.after });
        const isWaiting = look !== undefined && !datagram.hasFirst && !datagram.isRefused;
        next = Math.min(next, isWaiting ? look.at : Infinity, datagram.since + this.#holdMs);
      }
    } catch (error) {
      this.#options.log.error({ err: error }, 'held fragments cannot be looked after; trying again');
      next = now + this.#holdMs;
    }
    this.#cancel = undefined;
    if (this.#held.size > 0 && !this.#isStopped) {
      this.#cancel = clock.after(Math.max(1, next - now), () => this.#look());
    }
  }

  #sendWhole(datagram: HeldDatagram): void {
    const whole = wholeOf(datagram.fragments);
    if (whole !== undefined) {
      this.#send(datagram, whole);
      return;
    }
    this.#counts.refused += datagram.fragments.length;
    this.#held.remove(datagram);
  }

  #send(datagram: HeldDatagram, whole: WholeDatagram | undefined): void {
    const packets = datagram.fragments.map(({ packet }) => packet);
    this.#held.remove(datagram);
    const sent = this.#options.datapath.sendFragments(datagram.id, packets, whole);
    this.#counts.released += sent;
    this.#counts.expired += packets.length - sent;
  }
}

/** Undefined when UDP's own length says otherwise than the fragments. */
function wholeOf(fragments: readonly Fragment[]): WholeDatagram | undefined {
  const bytes = Buffer.concat(fragments.map(({ payload }) => payload));
  if (fragments[0]?.datagram.protocol !== UDP) return { payloadLength: bytes.length, sum: 0 };
  if (bytes.length < UDP_HEADER_BYTES) return undefined;
  const length = bytes.readUInt16BE(4);
  if (length < UDP_HEADER_BYTES || length > bytes.length) return undefined;
  return { payloadLength: bytes.length, sum: sumOf(bytes.subarray(0, length)) };
}

/** RFC 1071, in the words of a little-endian machine, as the programs count. */
function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 2) sum += (bytes[at] as number) | ((bytes[at + 1] ?? 0) << 8);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}
