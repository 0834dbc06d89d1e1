// SPDX-License-Identifier: Apache-2.0
// What one pod may take: sessions up to nat64.maxSessionsPerPod; and what it gets when its address leaves the pool
// (RFC 6888 REQ-2, REQ-4).

import { expect } from 'chai';
import { formatIp4, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth } from '../helpers/packet.ts';
import { expectSound, type Plane, POD, POOL, PREFIX, SERVER, withPlane } from './plane.ts';

const POD2 = '2001:db8:1::20';
const LIMIT = 16;
const toServer = (n: number, src = POD, sport = 40001) =>
  eth()
    .ip6({ src, dst: `${PREFIX}198.51.100.${n}` })
    .udp({ sport, dport: 53 });
const pods = (plane: Plane) => [...plane.maps.n64_pods.keys()].length;
const end = (plane: Plane): void => {
  plane.age(100);
  plane.datapath.sweep(60_000);
};

describe('sessions of a pod', () => {
  const options = { config: { maxSessionsPerPod: LIMIT } };

  it('G6888-4-a: G6888-5-a: one socket with many destinations takes no more than its share; others and what there is go on', () => {
    withPlane(options, (plane) => {
      for (let n = 1; n <= LIMIT; n++) expectSound(plane.gate(toServer(n)));
      const refused = plane.gate(toServer(99));
      expect(Array.from(refused.l3.slice(40, 42)), 'address unreachable').to.deep.equal([1, 3]);
      expect(Array.from(plane.gate(toServer(99, POD, 40002)).l3.slice(40, 42))).to.deep.equal([1, 3]);
      expect(plane.lastDrop('pod_quota')?.count).to.equal(2);
      expect(plane.datapath.sessions()).to.have.length(LIMIT);
      for (let n = 1; n <= LIMIT; n++) expectSound(plane.gate(toServer(n)));
    });
    withPlane({ ...options, blocks: blocks() }, (plane) => {
      for (let n = 1; n <= LIMIT; n++) expectSound(plane.gate(toServer(n)));
      expectSound(plane.gate(toServer(1, POD2)));
      end(plane);
      for (let n = 1; n <= LIMIT; n++) expectSound(plane.gate(toServer(n)));
      plane.dropsOf(() => plane.gate(toServer(99)));
      expect(plane.lastDrop('pod_quota')?.count).to.equal(1);
    });
  });

  it('G6888-4-a: G6888-5-a: sessions that the internet begins count as the pod’s', () => {
    const binding = {
      protocol: 'udp' as const,
      source: { v6: parseIp6(POD2), port: 80 },
      pool: { v4: parseIp4(POOL), port: 40007 },
    };
    withPlane({ ...options, staticPorts: [40007] }, (plane) => {
      plane.datapath.putStaticBinding(binding);
      const from = (n: number) => eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: n, dport: 40007 });
      for (let round = 0; round < 2; round++) {
        for (let n = 1; n <= LIMIT; n++) expectSound(plane.gate(from(n)));
        const drops = plane.dropsOf(() => expect(plane.gate(from(99)).action).to.equal('drop'));
        expect(drops).to.deep.equal({ pod_quota: 1 });
        expectSound(plane.gate(toServer(1)));
        end(plane);
        plane.datapath.sweep(0);
        expect(pods(plane), 'a record without sessions or blocks goes').to.equal(0);
        plane.datapath.offerBlock(0);
      }
      // With a block as well: the record lasts as long as either.
      expectSound(plane.gate(toServer(1, POD2)));
      plane.age(100);
      expectSound(plane.gate(from(1)));
      plane.datapath.sweep(0);
      expect(pods(plane)).to.equal(1);
      end(plane);
      expect(pods(plane)).to.equal(0);
    });
  });
});

const ADDRESSES = [POOL, '203.0.113.6'];
function blocks() {
  return ADDRESSES.flatMap((address, slot) =>
    [0, 1].map((n) => ({
      index: 2 * slot + n,
      slot,
      v4: parseIp4(address),
      firstPort: 40000 + 16 * n,
      size: 16,
    })),
  );
}

describe('a pool address that leaves', () => {
  const pool = (draining?: string) =>
    ADDRESSES.map((address, slot) => ({ v4: parseIp4(address), slot, shared: false, draining: address === draining }));
  const given = (plane: Plane, n: number, sport: number): string => {
    const outcome = plane.gate(toServer(n, POD, sport));
    expectSound(outcome);
    return formatIp4(new DataView(parseIp(outcome.l3).src.buffer).getUint32(0));
  };

  for (const maxBlocksPerPod of [1, 2]) {
    it(`G6888-2-a: flows go on, new ones get another address, with ${maxBlocksPerPod} blocks a pod`, () => {
      const options = { pool: pool(), blocks: blocks(), config: { slots: 2, maxBlocksPerPod } };
      withPlane(options, (plane) => {
        const old = given(plane, 1, 50);
        plane.datapath.setPoolAddresses(pool(old));
        const [other] = ADDRESSES.filter((address) => address !== old);
        expect(given(plane, 1, 50), 'its flow').to.equal(old);
        expect(given(plane, 2, 50), 'its binding').to.equal(old);
        for (let i = 0; i < 16; i++) expect(given(plane, 1, 100 + i), 'a new flow').to.equal(other);
        expectSound(
          plane.gate(
            eth()
              .ip4({ src: '198.51.100.1', dst: old })
              .udp({ sport: 53, dport: portOf(plane, 50) }),
          ),
        );
        const held = () => plane.datapath.blocks().filter((row) => row.state === 'leased').length;
        expect(held()).to.equal(2);
        plane.dropsOf(() => plane.gate(toServer(1, POD, 200)));
        expect(held(), 'those that drain are beyond the quota').to.equal(1 + maxBlocksPerPod);
        // All that drains empties in time, though the pod never rests.
        end(plane);
        for (let i = 0; i < 4; i++) given(plane, 1, 300 + i);
        plane.datapath.sweep(0);
        const rows = plane.datapath.blocks().filter((row) => formatIp4(row.v4) === old);
        expect(rows.map((row) => row.state)).not.to.include('leased');
        expect(given(plane, 1, 400)).to.equal(other);
      });
    });
  }

  it('G6888-2-a: an address that comes back in another slot serves its pods again', () => {
    withPlane({ pool: pool(), blocks: blocks(), config: { slots: 2, maxBlocksPerPod: 8 } }, (plane) => {
      const old = given(plane, 1, 50);
      plane.datapath.setPoolAddresses(pool(old));
      const back = pool().map((address) => (formatIp4(address.v4) === old ? { ...address, slot: 7 } : address));
      plane.datapath.setPoolAddresses(back);
      const index = 100;
      plane.datapath.writeBlock(
        { index, slot: 7, v4: parseIp4(old), firstPort: 41000, size: 16 },
        { tcp: [], udp: [], icmp: [] },
      );
      plane.datapath.offerBlock(index);
      for (let i = 0; i < 31; i++) expect(given(plane, 1, 100 + i)).to.equal(old);
      plane.datapath.setPoolAddresses(pool());
    });
  });

  it('a pod whose only address is leaving is told that there is none', () => {
    withPlane({}, (plane) => {
      expectSound(plane.gate(toServer(1)));
      plane.datapath.setPoolAddresses([{ v4: parseIp4(POOL), slot: 0, shared: false, draining: true }]);
      expectSound(plane.gate(toServer(1)));
      expect(plane.dropsOf(() => plane.gate(toServer(1, POD, 40002)))).to.deep.equal({ pool_exhausted: 1 });
      expect(plane.dropsOf(() => plane.gate(toServer(1, POD2)))).to.deep.equal({ pool_exhausted: 1 });
    });
  });
});

const portOf = (plane: Plane, sport: number): number =>
  plane.datapath.bindings().find((row) => row.source.port === sport)?.pool.port ?? 0;
