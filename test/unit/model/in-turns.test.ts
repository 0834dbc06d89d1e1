// SPDX-License-Identifier: Apache-2.0
// Work in turns: all of it, in order, so much a turn, and at once where that is asked for.

import { expect } from 'chai';
import { setImmediate as turn } from 'node:timers/promises';
import { InTurns } from '../../../src/model/in-turns.ts';

describe('InTurns', () => {
  it('handles so many a turn, in order, those that come meanwhile behind', async () => {
    const seen: number[] = [];
    const work = new InTurns<number>(3, (item) => seen.push(item));
    work.add([1, 2, 3, 4]);
    expect(seen).to.deep.equal([]);
    await turn();
    expect(seen).to.deep.equal([1, 2, 3]);
    work.add([5]);
    await turn();
    expect(seen).to.deep.equal([1, 2, 3, 4, 5]);
    work.add([6]);
    await turn();
    expect(seen.at(-1)).to.equal(6);
  });

  it('handles all at once when it is flushed, and nothing twice', async () => {
    const seen: number[] = [];
    const work = new InTurns<number>(1, (item) => seen.push(item));
    work.add([1, 2, 3]);
    await turn();
    work.flush();
    expect(seen).to.deep.equal([1, 2, 3]);
    await turn();
    expect(seen).to.deep.equal([1, 2, 3]);
    work.flush();
    expect(seen).to.deep.equal([1, 2, 3]);
  });
});
