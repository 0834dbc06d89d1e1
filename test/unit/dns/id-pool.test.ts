// SPDX-License-Identifier: Apache-2.0
// Message IDs: each given out once until it comes back, in random order, and nothing kept for what is not taken.

import { randomInt } from 'node:crypto';
import { expect } from 'chai';
import { IdPool } from '../../../src/dns/id-pool.ts';

describe('message IDs', () => {
  it('are all given out, each once, then none is; and all come back', () => {
    const pool = new IdPool();
    const taken = Array.from({ length: 0x10000 }, () => pool.take());
    expect(new Set(taken).size).to.equal(0x10000);
    expect(taken.slice(0, 50)).not.to.deep.equal(taken.slice(0, 50).toSorted((a, b) => (a ?? 0) - (b ?? 0)));
    expect(pool.take()).to.equal(undefined);
    for (const id of taken) pool.give(id as number);
    expect([pool.free, pool.kept]).to.deep.equal([0x10000, 0]);
  });

  it('are never given out twice at a time, and cost no memory once back, whatever the order', () => {
    const pool = new IdPool();
    const taken: number[] = [];
    const inUse = new Set<number>();
    for (let step = 0; step < 200_000; step++) {
      // The number of those in use rises and falls, so that few, many and nearly all are out at some time.
      if (randomInt(0x10000) > 32768 + 32768 * Math.sin(step / 20_000) && taken.length > 0) {
        const at = randomInt(taken.length);
        const id = taken[at] as number;
        taken[at] = taken.at(-1) as number;
        taken.pop();
        inUse.delete(id);
        pool.give(id);
      } else {
        const id = pool.take();
        if (id === undefined) continue;
        if (inUse.has(id)) expect.fail(`${id} is in use`);
        inUse.add(id);
        taken.push(id);
      }
      if (pool.kept > taken.length) expect.fail(`${pool.kept} kept for ${taken.length} taken`);
    }
    expect(pool.free).to.equal(0x10000 - taken.length);
  });
});
