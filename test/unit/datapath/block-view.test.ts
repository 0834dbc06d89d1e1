// SPDX-License-Identifier: Apache-2.0
// Rows of blocks are what the generated codec would read.

import { expect } from 'chai';
import fc from 'fast-check';
import { blockRow } from '../../../src/datapath/block-view.ts';
import { BLOCK_STATE, BLOCK_WORDS, blockCodec } from '../../../src/model/layout.gen.ts';
import { holds } from '../../helpers/property.ts';

const u16 = fc.integer({ min: 0, max: 0xffff });
const u32 = fc.integer({ min: 0, max: 0xffffffff });
const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const STATES = ['BLOCK_RESTING', 'BLOCK_OFFERED', 'BLOCK_LEASED', 'BLOCK_RETIRED'] as const;

const ones = (words: readonly bigint[]) =>
  [...words.map((word) => word.toString(2)).join('')].filter((b) => b === '1').length;

describe('datapath/block-view', () => {
  it('reads every field where the programs wrote it', () => {
    holds(
      fc.property(
        fc.record({
          leasedNs: u64,
          emptiedNs: u64,
          holder: fc.uint8Array({ minLength: 16, maxLength: 16 }),
          pool: u32,
          slot: u32,
          firstPort: u16,
          size: u16,
          state: fc.constantFrom(...STATES.map((name) => BLOCK_STATE[name])),
          used: u32,
          device: u32,
          bits: fc.array(fc.array(u64, { minLength: BLOCK_WORDS, maxLength: BLOCK_WORDS }), {
            minLength: 3,
            maxLength: 3,
          }),
        }),
        fc.integer({ min: 0, max: 3 }),
        (block, place) => {
          const buffer = new ArrayBuffer(8 + blockCodec.size * 4);
          const view = new DataView(buffer, 8);
          blockCodec.write(view, place * blockCodec.size, block);
          const row = blockRow(7, view, place * blockCodec.size, Number);
          const leased = block.state === BLOCK_STATE.BLOCK_LEASED;
          expect(row).to.deep.equal({
            index: 7,
            slot: block.slot,
            v4: block.pool,
            firstPort: block.firstPort,
            size: block.size,
            state: STATES.find((name) => BLOCK_STATE[name] === block.state)
              ?.slice(6)
              .toLowerCase(),
            holder: leased ? block.holder : undefined,
            since: leased ? Number(block.leasedNs) : undefined,
            wasLeased: block.leasedNs !== 0n,
            used: { tcp: ones(block.bits[0] ?? []), udp: ones(block.bits[1] ?? []), icmp: ones(block.bits[2] ?? []) },
          });
        },
      ),
      { runs: 200 },
    );
  });

  it('has no row for a record that was never written', () => {
    expect(blockRow(0, new DataView(new ArrayBuffer(blockCodec.size)), 0, Number)).to.equal(undefined);
  });
});
