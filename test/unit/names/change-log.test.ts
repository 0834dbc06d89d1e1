// SPDX-License-Identifier: Apache-2.0
// What changed after a version: each item once, in order, none left out, in pieces of any size.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { ChangeLog } from '../../../src/names/change-log.ts';
import { holds } from '../../helpers/property.ts';

describe('ChangeLog', () => {
  it('tells each item once, in the order of its latest change', () => {
    const log = new ChangeLog<string>();
    for (const item of ['a', 'b', 'a', 'c']) log.note(item);
    expect(log.after(0, 10)).to.deep.equal({ items: ['b', 'a', 'c'], version: 4, isMore: false });
    expect(log.after(3, 10)).to.deep.equal({ items: ['c'], version: 4, isMore: false });
    expect(log.after(4, 10)).to.deep.equal({ items: [], version: 4, isMore: false });
  });

  it('goes on where a piece ended', () => {
    const log = new ChangeLog<string>();
    for (const item of ['a', 'b', 'c']) log.note(item);
    expect(log.after(0, 2)).to.deep.equal({ items: ['a', 'b'], version: 2, isMore: true });
    log.note('a');
    expect(log.after(2, 2)).to.deep.equal({ items: ['c', 'a'], version: 4, isMore: false });
  });

  it('tells nothing of what was forgotten', () => {
    const log = new ChangeLog<string>();
    log.note('a');
    log.note('b');
    log.forget('a');
    expect(log.after(0, 10).items).to.deep.equal(['b']);
  });

  it('who follows in pieces has what is there, whatever happens in between', () => {
    const step = fc.oneof(
      fc.record({ kind: fc.constant('note' as const), item: fc.nat(20) }),
      fc.record({ kind: fc.constant('forget' as const), item: fc.nat(20) }),
      fc.record({ kind: fc.constant('follow' as const), item: fc.integer({ min: 1, max: 5 }) }),
    );
    holds(
      fc.property(fc.array(step, { maxLength: 4000 }), (steps) => {
        const log = new ChangeLog<number>();
        const there = new Map<number, number>();
        const followed = new Map<number, number>();
        let [count, version] = [0, 0];
        const follow = (limit: number) => {
          const changes = log.after(version, limit);
          version = changes.version;
          // The value of an item is what it was noted as last.
          for (const item of changes.items) followed.set(item, there.get(item) ?? NaN);
          return changes.isMore;
        };
        for (const { kind, item } of steps) {
          if (kind === 'note') {
            there.set(item, ++count);
            log.note(item);
          } else if (kind === 'forget') {
            there.delete(item);
            followed.delete(item);
            log.forget(item);
          } else follow(item);
        }
        while (follow(3));
        expect(followed).to.deep.equal(there);
      }),
    );
  });

  it('holds no more than twice what is there and some', () => {
    const log = new ChangeLog<number>();
    for (let i = 0; i < 100_000; i++) log.note(i % 10);
    expect(log.after(0, 1000).items).to.have.length(10);
    expect(log.length).to.be.below(1100);
  });
});
