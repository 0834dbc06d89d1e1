// SPDX-License-Identifier: Apache-2.0

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { expect } from 'chai';
import { execLine } from '../../../src/host/exec.ts';

describe('exec', () => {
  it('begins no two processes without letting others have the thread in between', async () => {
    let turn = 0;
    let isOver = false;
    const count = () => {
      turn++;
      if (!isOver) setImmediate(count);
    };
    const turns: number[] = [];
    const began = () => turns.push(turn);
    subscribe('child_process', began);
    try {
      setImmediate(count);
      const results = await Promise.all([1, 2, 3, 4].map((n) => execLine(`exit ${n}`)));
      expect(results.map(({ exit }) => exit)).to.deep.equal([1, 2, 3, 4]);
    } finally {
      isOver = true;
      unsubscribe('child_process', began);
    }
    expect(turns).to.have.length(4);
    expect(new Set(turns).size, turns.join()).to.equal(4);
  });
});
