// SPDX-License-Identifier: Apache-2.0
// One walk of the sweep over the session table, in turns as long as the caller likes: nobody waits for the whole table, and
// what is read takes the same memory however much has run out.

import { MapIterator, type BpfMap, type BpfProgram } from '../libbpf/mod.ts';
import { encode, viewOf } from './bytes.ts';
import { RECORD, sessionRecordCodec, type SessionRecord } from '../model/layout.gen.ts';

/**
 * What one read deletes at most. It walks 64 times as many that live at most (SWEEP_STEP of bpf/sweep.h): some 2 ms of a full
 * table, where the deadline is looked at between two reads.
 */
const RECORDS_PER_READ = 64;

/** Found out here, since most records are not worth decoding. */
const EMPTY = sessionRecordCodec.read(new DataView(new ArrayBuffer(sessionRecordCodec.size)), 0);
/** An empty record says that the walk goes on. */
const CREATED_NS_AT = encode(sessionRecordCodec, { ...EMPTY, six: { ...EMPTY.six, createdNs: 1n } }).indexOf(1);
const KIND_AT = encode(sessionRecordCodec, { ...EMPTY, kind: 1 }).indexOf(1);

export interface SweepTurn {
  readonly endedCount: number;
  readonly finished: boolean;
  /** Of sessions that ended. */
  readonly records: SessionRecord[];
  /** Sessions that wait for an answer to a probe. */
  readonly silent: SessionRecord[];
}

export class SweepWalk {
  readonly #iterator: MapIterator;
  readonly #buffer = Buffer.alloc(RECORDS_PER_READ * sessionRecordCodec.size);

  constructor(program: BpfProgram, map: BpfMap) {
    this.#iterator = new MapIterator(program, map);
  }

  /** Deletes what has run out until `deadline`, a time of performance.now(); gives the first `maxRecords` of them. */
  go(deadline: number, maxRecords: number): SweepTurn {
    const { size } = sessionRecordCodec;
    const view = viewOf(this.#buffer);
    const records: SessionRecord[] = [];
    const silent: SessionRecord[] = [];
    let endedCount = 0;
    do {
      const got = this.#iterator.read(this.#buffer);
      if (got === 0) return { endedCount, finished: true, records, silent };
      for (let at = 0; at < got; at += size) {
        if (view.getBigUint64(at + CREATED_NS_AT, true) === 0n) continue;
        if (view.getUint32(at + KIND_AT, true) === RECORD.RECORD_PROBE) {
          silent.push(sessionRecordCodec.read(view, at));
          continue;
        }
        endedCount++;
        if (records.length < maxRecords) records.push(sessionRecordCodec.read(view, at));
      }
    } while (performance.now() < deadline);
    return { endedCount, finished: false, records, silent };
  }

  close(): void {
    this.#iterator.close();
  }
}
