// SPDX-License-Identifier: Apache-2.0
// How the pods of a node lie over the pool's addresses. Pods of a node differ in the last bits of their addresses alone.

import { expect } from 'chai';
import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth } from '../helpers/packet.ts';
import { expectSound, type Plane, type PlaneOptions, SERVER6, withPlane } from './plane.ts';

const PODS = 250;
const BLOCK_PORTS = 16;
const FIRST_ADDRESS = parseIp4('203.0.113.1');

/** Every pod's own address: `stride` apart from the first on. */
function pods(stride: number): string[] {
  const first = parseIp6('2001:db8:1::10');
  return Array.from({ length: PODS }, (_, n) => {
    const v6 = Uint8Array.from(first);
    new DataView(v6.buffer).setUint32(12, 0x10 + n * stride);
    return formatIp6(v6);
  });
}

function planeWith(addresses: number, blocksOfEach: number): PlaneOptions {
  const slots = Array.from({ length: addresses }, (_, slot) => ({ v4: FIRST_ADDRESS + slot, slot }));
  return {
    pool: slots.map((address) => ({ ...address, shared: false, draining: false })),
    blocks: slots.flatMap(({ v4, slot }) =>
      Array.from({ length: blocksOfEach }, (_, i) => ({
        index: slot * blocksOfEach + i,
        slot,
        v4,
        firstPort: 1024 + i * BLOCK_PORTS,
        size: BLOCK_PORTS,
      })),
    ),
    maxBlocks: addresses * blocksOfEach,
    config: { slots: addresses },
  };
}

/** The pool address that a pod's first packet leaves with. */
function addressOf(plane: Plane, src: string): string {
  const outcome = plane.gate(eth().ip6({ src, dst: SERVER6 }).udp({ sport: 5000, dport: 53 }));
  expectSound(outcome);
  const ip = parseIp(outcome.l3);
  expect(ip.version, `${src} is translated`).to.equal(4);
  return formatIp4(new DataView(ip.src.buffer).getUint32(0));
}

describe('pods over pool addresses', () => {
  for (const addresses of [4, 7, 8, 64]) {
    for (const stride of [1, 4, 256]) {
      it(`${PODS} pods, ${stride} apart, over ${addresses} addresses: each has half to twice its share`, () => {
        withPlane(planeWith(addresses, Math.ceil((2 * PODS) / addresses)), (plane) => {
          const counts = new Map<string, number>();
          for (const pod of pods(stride)) {
            const address = addressOf(plane, pod);
            counts.set(address, (counts.get(address) ?? 0) + 1);
          }
          expect(counts.size, 'addresses in use').to.equal(addresses);
          const share = PODS / addresses;
          for (const [address, count] of counts) expect(count, address).to.be.within(share / 2, share * 2);
        });
      });
    }
  }

  for (const addresses of [8, 16, 64]) {
    it(`a new pod is served as long as one of ${addresses} addresses has a block`, () => {
      withPlane(planeWith(addresses, 1), (plane) => {
        const served = new Set(
          pods(1)
            .slice(0, addresses)
            .map((pod) => addressOf(plane, pod)),
        );
        expect(served.size).to.equal(addresses);
        const refused = plane.gate(
          eth()
            .ip6({ src: pods(1)[addresses] as string, dst: SERVER6 })
            .udp({ sport: 5000, dport: 53 }),
        );
        expect(Array.from(refused.l3.slice(40, 42)), 'address unreachable').to.deep.equal([1, 3]);
        expect(plane.lastDrop('pool_exhausted')?.count).to.equal(1);
      });
    });
  }
});
