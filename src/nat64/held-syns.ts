// SPDX-License-Identifier: Apache-2.0
// SYNs from the IPv4 side that nobody asked for (RFC 6146 §3.5.2.2, RFC 5382 REQ-4): each waits whether the pod opens the
// same connection, and is forgotten then; its sender hears that the port is unreachable otherwise, and no earlier.

import type { Datapath } from '../datapath/datapath.ts';
import { connectionOf } from '../datapath/syn-packet.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';

const LIMITS = { syns: 1024, ofOneSender: 8, bytes: 2048 };

export interface HeldSynsOptions {
  readonly datapath: Datapath;
  readonly clock: Clock;
  readonly log: Log;
}

interface HeldSyn {
  readonly packet: Uint8Array;
  /** Z */
  readonly sender: number;
  readonly since: number;
}

export class HeldSyns {
  readonly #options: HeldSynsOptions;
  /** By both transport addresses; the oldest first. */
  readonly #held = new Map<string, HeldSyn>();
  readonly #ofSender = new Map<number, number>();
  #holdMs = 6000;
  #cancel: (() => void) | undefined;
  #isStopped = false;

  constructor(options: HeldSynsOptions) {
    this.#options = options;
  }

  /** Begins, or goes on with another time to wait. */
  start(holdMs: number): void {
    this.#holdMs = holdMs;
    this.#options.datapath.takeSyns((packets) => this.#take(packets));
    this.#wait();
  }

  stop(): void {
    this.#isStopped = true;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  /** How many wait. */
  get size(): number {
    return this.#held.size;
  }

  #take(packets: readonly Uint8Array[]): void {
    if (this.#isStopped) return;
    const now = this.#options.clock.now();
    for (const packet of packets) {
      const { src: sender, sport, dst, dport } = connectionOf(packet);
      const connection = `${sender} ${sport} ${dst} ${dport}`;
      const count = this.#ofSender.get(sender) ?? 0;
      // What is there keeps its time (RFC 6146 §3.5.2.2, V4 INIT); for whom there is no room there is silence.
      if (this.#held.has(connection) || packet.length > LIMITS.bytes) continue;
      if (this.#held.size >= LIMITS.syns || count >= LIMITS.ofOneSender) continue;
      this.#held.set(connection, { packet, sender, since: now });
      this.#ofSender.set(sender, count + 1);
    }
    if (this.#cancel === undefined) this.#wait();
  }

  /** Until the oldest has waited long enough. */
  #wait(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    const [oldest] = this.#held.values();
    if (oldest === undefined || this.#isStopped) return;
    const { clock } = this.#options;
    const left = oldest.since + this.#holdMs - clock.now();
    this.#cancel = clock.after(Math.max(1, Math.ceil(left)), () => this.#end());
  }

  #end(): void {
    const { clock, datapath, log } = this.#options;
    const now = clock.now();
    try {
      for (const [connection, { packet, sender, since }] of this.#held) {
        if (now - since < this.#holdMs) break;
        this.#remove(connection, sender);
        datapath.refuseSyn(packet);
      }
    } catch (error) {
      log.error({ err: error }, 'a SYN that nobody asked for cannot be answered');
    }
    this.#wait();
  }

  #remove(connection: string, sender: number): void {
    this.#held.delete(connection);
    const left = (this.#ofSender.get(sender) ?? 0) - 1;
    if (left > 0) this.#ofSender.set(sender, left);
    else this.#ofSender.delete(sender);
  }
}
