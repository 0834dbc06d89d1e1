// SPDX-License-Identifier: Apache-2.0
// One walk of the sweep over the session table, in turns as long as the caller likes: nobody waits for the whole table, and
// what is read takes the same memory however much has run out.

import { MapIterator, type BpfMap, type BpfProgram } from '../libbpf/mod.ts';
import { encode, viewOf } from './bytes.ts';
import { sessionRecordCodec, type SessionRecord } from '../model/layout.gen.ts';

/** What one read deletes at most. It walks 512 times as many that live at most (SWEEP_STEP of bpf/sweep.h). */
const RECORDS_PER_READ = 64;

/** An empty record says that the walk goes on. Found out here, since most records are not worth decoding. */
const CREATED_NS_AT = (() => {
  const empty = sessionRecordCodec.read(new DataView(new ArrayBuffer(sessionRecordCodec.size)), 0);
  return encode(sessionRecordCodec, { ...empty, six: { ...empty.six, createdNs: 1n } }).indexOf(1);
})();

export class SweepWalk {
  readonly #iterator: MapIterator;
  readonly #buffer = Buffer.alloc(RECORDS_PER_READ * sessionRecordCodec.size);

  constructor(program: BpfProgram, map: BpfMap) {
    this.#iterator = new MapIterator(program, map);
  }

  /** Deletes what has run out until `deadline`, a time of performance.now(); gives the first `maxRecords` of them. */
  go(deadline: number, maxRecords: number): { endedCount: number; finished: boolean; records: SessionRecord[] } {
    const { size } = sessionRecordCodec;
    const view = viewOf(this.#buffer);
    const records: SessionRecord[] = [];
    let endedCount = 0;
    do {
      const got = this.#iterator.read(this.#buffer);
      if (got === 0) return { endedCount, finished: true, records };
      for (let at = 0; at < got; at += size) {
        if (view.getBigUint64(at + CREATED_NS_AT, true) === 0n) continue;
        endedCount++;
        if (records.length < maxRecords) records.push(sessionRecordCodec.read(view, at));
      }
    } while (performance.now() < deadline);
    return { endedCount, finished: false, records };
  }

  close(): void {
    this.#iterator.close();
  }
}
