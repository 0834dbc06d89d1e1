// SPDX-License-Identifier: Apache-2.0
// Message IDs: each given out once until it comes back, in random order, also when hardly any is left.

import { expect } from 'chai';
import { freeId } from '../../../src/dns/message-id.ts';

describe('message IDs', () => {
  it('are all given out, each once, then none is; one that comes back is found', () => {
    const taken = new Map<number, true>();
    const order: number[] = [];
    for (let i = 0; i < 0x10000 - 40; i++) {
      // All but forty by hand, since each of the last ones is a look at every ID.
      if (i < 0x10000 - 80) taken.set(i, true);
      else {
        const id = freeId(taken) as number;
        if (taken.has(id)) expect.fail(`${id} is in use`);
        taken.set(id, true);
        order.push(id);
      }
    }
    for (let i = 0; i < 40; i++) {
      const id = freeId(taken) as number;
      if (taken.has(id)) expect.fail(`${id} is in use`);
      taken.set(id, true);
    }
    expect(order).not.to.deep.equal(order.toSorted((a, b) => a - b));
    expect(taken.size).to.equal(0x10000);
    expect(freeId(taken)).to.equal(undefined);
    taken.delete(4711);
    expect(freeId(taken)).to.equal(4711);
  });

  it('are as likely, each of those that are free, whether few or most are', () => {
    const free = [3, 4, 5, 0x8000, 0xffff];
    const taken = new Map(Array.from({ length: 0x10000 }, (_, id) => [id, true] as const));
    for (const id of free) taken.delete(id);
    const counts = new Map<number, number>();
    for (let i = 0; i < 500; i++) {
      const id = freeId(taken) as number;
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    expect([...counts.keys()].toSorted((a, b) => a - b)).to.deep.equal(free);
    // A hundred each are expected; four standard deviations are 36.
    for (const [id, count] of counts) expect(count, String(id)).to.be.within(64, 136);
    const many = Array.from({ length: 1000 }, () => freeId(new Map()) as number);
    expect(new Set(many).size).to.be.above(950);
    expect(many.filter((id) => id < 0x8000).length).to.be.within(400, 600);
  });
});
