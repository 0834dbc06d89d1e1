// SPDX-License-Identifier: Apache-2.0

import { expect } from 'chai';
import { Judging } from '../../../src/datapath/judging.ts';
import { SHARES } from '../../../src/model/layout.gen.ts';

const pass = (judging: Judging) => {
  judging.beginPass();
  const { share } = judging;
  judging.endPass();
  return share;
};

describe('judging', () => {
  it('has two whole passes judge everybody, then one share after the other', () => {
    const judging = new Judging();
    expect([pass(judging), pass(judging)]).to.deep.equal([0, 0]);
    const shares = Array.from({ length: SHARES + 1 }, () => pass(judging));
    expect(shares).to.deep.equal([...Array.from({ length: SHARES }, (_, i) => i + 1), 1]);
  });

  it('after a change judges everybody from the next turn on, and counts only passes that begin later', () => {
    const judging = new Judging();
    for (let i = 0; i < 4; i++) pass(judging);
    judging.beginPass();
    expect(judging.share).to.equal(3);
    judging.change();
    expect(judging.share).to.equal(0);
    judging.endPass();
    expect([pass(judging), pass(judging), pass(judging)]).to.deep.equal([0, 0, 3]);
  });

  it('takes a pass that was given up for none', () => {
    const judging = new Judging();
    judging.beginPass();
    judging.change();
    judging.beginPass();
    judging.endPass();
    expect([pass(judging), pass(judging)]).to.deep.equal([0, 1]);
  });
});
