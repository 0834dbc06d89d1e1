// SPDX-License-Identifier: Apache-2.0
// The bounds of the configuration are those of the BPF programs, which that room does not know.

import { expect } from 'chai';
import { parseConfig } from '../../src/config/parse.ts';
import { MAX_POOL_ADDRESSES } from '../../src/addr/pool-ranges.ts';
import { MAX_PREFIXES } from '../../src/config/rules.ts';
import { MAX_BLOCKS_PER_POD, MAX_PREFIXES as PROGRAM_PREFIXES, MAX_SLOTS } from '../../src/datapath/layout.gen.ts';

describe('configuration bounds', () => {
  it('are those of the programs', () => {
    expect(MAX_PREFIXES).to.equal(PROGRAM_PREFIXES);
    expect(MAX_POOL_ADDRESSES).to.equal(MAX_SLOTS);
    const text = (blocks: number) => `nat64: { maxBlocksPerPod: ${blocks} }`;
    expect(parseConfig(text(MAX_BLOCKS_PER_POD), 'x').nat64.maxBlocksPerPod).to.equal(MAX_BLOCKS_PER_POD);
    expect(() => parseConfig(text(MAX_BLOCKS_PER_POD + 1), 'x')).to.throw(/maxBlocksPerPod/);
  });
});
