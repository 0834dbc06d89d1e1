// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import fc from 'fast-check';
import { blocksOf, fittingBlockSize, fittingQuota, MAX_BLOCKS } from '../../../src/config/blocks.ts';
import { MAX_BLOCKS_PER_POD } from '../../../src/model/layout.gen.ts';
import { holds } from '../../helpers/property.ts';

const range = fc
  .record({ addresses: fc.integer({ min: 1, max: 1024 }), ports: fc.tuple(fc.nat(65_535), fc.nat(65_535)) })
  .map(({ addresses, ports: [a, b] }) => ({ addresses, firstPort: Math.min(a, b), lastPort: Math.max(a, b) }));

describe('config/blocks', () => {
  it('a block size that fits is a power of two from 16 to 1024, and the pool it cuts is of a size that is allowed', () => {
    holds(
      fc.property(range, (one) => {
        const size = fittingBlockSize([one]);
        expect([16, 32, 64, 128, 256, 512, 1024]).to.include(size);
        expect(blocksOf([one], size)).to.be.at.most(MAX_BLOCKS);
      }),
    );
  });

  it('more pool never means fewer blocks a pod', () => {
    holds(
      fc.property(fc.nat(70_000), fc.nat(70_000), (a, b) => {
        const [less, more] = [fittingQuota(Math.min(a, b)), fittingQuota(Math.max(a, b))];
        expect(less).to.be.at.most(more);
        expect(more).to.be.within(64, MAX_BLOCKS_PER_POD);
      }),
    );
  });
});
