// SPDX-License-Identifier: Apache-2.0
// The contract of pods over pool addresses: each is served, by one address, with ports of its own, and they spread.

import { expect } from 'chai';
import { textOf, type Play, type Stage } from './bench.ts';

const POPULATIONS = [1, 2, 200];
const BLOCK_PORTS = 2;
/** Of each pod: one more than a block has, so that it needs a second one of the same address. */
const FLOWS = [1, 2, 3];

/** Pods 1 to `pods` send; how many each address serves. */
function settle(stage: Stage, pods: number): Map<number, number> {
  const given = new Set<string>();
  const served = new Map<number, number>();
  for (let n = 1; n <= pods; n++) {
    const pools = FLOWS.map((from) => stage.passed(n, from));
    const [v4, ...others] = new Set(pools.map((pool) => pool.v4));
    expect(others, `more addresses of pod ${n}`).to.deep.equal([]);
    for (const pool of pools) given.add(textOf(pool));
    served.set(v4 as number, (served.get(v4 as number) ?? 0) + 1);
  }
  expect(given.size, 'ports, no one twice').to.equal(pods * FLOWS.length);
  expect(stage.datapath.counts().bindings.udp).to.equal(pods * FLOWS.length);
  return served;
}

export function population(play: Play): void {
  describe('population', () => {
    for (const addresses of [1, 2, 4, 5]) {
      it(`${POPULATIONS.join(', ')} pods over ${addresses} addresses: each on one, no port twice, none left out`, () => {
        const most = Math.max(...POPULATIONS);
        const blocks = Math.ceil((4 * most) / addresses);
        const stage = play({ slots: addresses }, { maxBlocks: addresses * blocks, maxSessions: 4096 });
        stage.stock({ addresses, blocks, size: BLOCK_PORTS });
        for (const pods of POPULATIONS) {
          const served = settle(stage, pods);
          if (pods === most) {
            expect(served.size, 'addresses that serve').to.equal(addresses);
            const share = pods / addresses;
            for (const count of served.values()) expect(count).to.be.within(share / 2, share * 2);
          }
          const returned = stage.wear();
          expect(returned).to.have.length(pods * 2);
          for (const { index } of returned) stage.datapath.offerBlock(index);
        }
      });
    }

    for (const addresses of [1, 2, 4, 5]) {
      it(`a new pod is served as long as one of ${addresses} addresses has a block, and when one has again`, () => {
        const stage = play({ slots: addresses });
        stage.stock({ addresses });
        const served = new Set<number>();
        for (let n = 1; n <= addresses; n++) served.add(stage.passed(n, 5).v4);
        expect(served.size).to.equal(addresses);
        expect(stage.send(addresses + 1, 5)).to.equal('pool_exhausted');
        for (const { index } of stage.wear()) stage.datapath.offerBlock(index);
        stage.passed(addresses + 1, 5);
      });
    }

    for (const addresses of [1, 2, 4, 5]) {
      it(`a pod stays on its address while that has a block, then takes what is left of ${addresses} addresses`, () => {
        const stage = play({ slots: addresses, maxBlocksPerPod: 16 });
        stage.stock({ addresses, blocks: 2, size: BLOCK_PORTS });
        const mine = Array.from({ length: 2 * BLOCK_PORTS }, (_, i) => stage.passed(1, i + 1).v4);
        expect(new Set(mine).size).to.equal(1);
        const rest = Array.from({ length: 2 * BLOCK_PORTS * (addresses - 1) }, (_, i) => stage.passed(1, i + 1000).v4);
        expect(new Set([...mine, ...rest]).size).to.equal(addresses);
        expect(stage.send(1, 5000)).to.equal('pool_exhausted');
      });
    }
  });
}
