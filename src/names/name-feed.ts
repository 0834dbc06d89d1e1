// SPDX-License-Identifier: Apache-2.0
// Names for the NAT64s of other nodes: what a table has and how it changes, some hundred records a reply.

import { randomUUID } from 'node:crypto';
import { ChangeLog } from './change-log.ts';
import type { Json } from './lines-file.ts';
import { recordJson } from './name-file.ts';
import type { HeldName, NameTable } from './name-table.ts';

/** DNS answers wait while a reply is made: some milliseconds. */
const RECORDS_A_REPLY = 500;
/** What is answered again and again changes little: others hear of it so often. */
const AGAIN_MS = 30_000;

/** What was told of a record last. */
interface Told {
  readonly held: HeldName;
  lastAt: number;
  countsUntil: number;
}

export class NameFeed {
  readonly #table: NameTable;
  /** Versions are this process's own. */
  readonly #epoch: string = randomUUID();
  readonly #log = new ChangeLog<Told>();
  readonly #told = new Map<HeldName, Told>();

  constructor(table: NameTable) {
    this.#table = table;
    table.watch({
      changed: (held) => this.#changed(held),
      forgotten: (held) => this.#forgotten(held),
    });
  }

  /** @param after `next` of the reply before; anything else, an earlier process's too, begins anew. */
  reply(after: string): Json {
    const [epoch, version = ''] = after.split('.');
    const known = epoch === this.#epoch && /^\d{1,15}$/.test(version) ? Number(version) : 0;
    const changes = this.#log.after(known, RECORDS_A_REPLY);
    const now = Date.now();
    return {
      next: `${this.#epoch}.${changes.version}`,
      isMore: changes.isMore,
      // Clocks of nodes differ: the records' times are of this one.
      now,
      records: changes.items.map(({ held }) => recordJson(this.#table.recordOf(held, now))),
    };
  }

  #changed(held: HeldName): void {
    const { lastAt, countsUntil } = held;
    const told = this.#told.get(held) ?? { held, lastAt: -Infinity, countsUntil: -Infinity };
    if (lastAt - told.lastAt < AGAIN_MS && countsUntil - told.countsUntil < AGAIN_MS) return;
    told.lastAt = lastAt;
    told.countsUntil = countsUntil;
    this.#told.set(held, told);
    this.#log.note(told);
  }

  #forgotten(held: HeldName): void {
    const told = this.#told.get(held);
    if (told === undefined) return;
    this.#told.delete(held);
    this.#log.forget(told);
  }
}
