// SPDX-License-Identifier: Apache-2.0
// The oldest key of a map: always the right one, and found without passing those that are gone.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { OldestKeys } from '../../../src/model/oldest.ts';
import { holds } from '../../helpers/property.ts';

describe('OldestKeys', () => {
  it('is undefined in an empty map, and comes back when there is something', () => {
    const map = new Map<string, number>();
    const oldest = new OldestKeys(map);
    expect(oldest.next()).to.equal(undefined);
    map.set('a', 1);
    expect(oldest.next()).to.equal('a');
    map.delete('a');
    expect(oldest.next()).to.equal(undefined);
    map.set('b', 1);
    expect(oldest.next()).to.equal('b');
  });

  it('is the first of the map, whatever is set, moved to the end and deleted in between', () => {
    const step = fc.record({ kind: fc.constantFrom('set', 'move', 'delete', 'take'), key: fc.nat(15) });
    holds(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const map = new Map<number, number>();
        const oldest = new OldestKeys(map);
        for (const { kind, key } of steps) {
          if (kind === 'set') map.set(key, 1);
          else if (kind === 'delete') map.delete(key);
          else if (kind === 'move' && map.delete(key)) map.set(key, 2);
          else if (kind === 'take') {
            const [first] = map.keys();
            expect(oldest.next()).to.equal(first);
            if (first !== undefined) map.delete(first);
          }
        }
      }),
    );
  });

  it('costs a fraction of what a new iterator each time does', () => {
    const size = 20_000;
    const time = (next: (map: Map<number, number>) => () => number | undefined) => {
      const map = new Map(Array.from({ length: size }, (_, i) => [i, i]));
      const oldest = next(map);
      const begun = performance.now();
      for (let i = 0; i < 2 * size; i++) {
        map.delete(oldest() as number);
        map.set(size + i, i);
      }
      return performance.now() - begun;
    };
    const kept = time((map) => {
      const keys = new OldestKeys(map);
      return () => keys.next();
    });
    const anew = time((map) => () => map.keys().next().value);
    expect(kept).to.be.below(anew / 3);
  });
});
