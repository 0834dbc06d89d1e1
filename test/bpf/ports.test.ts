// SPDX-License-Identifier: Apache-2.0
// Port blocks (RFC 6146 §3.5.1.1, RFC 6888): which T,t a pod gets, what happens when there is none.

import { expect } from 'chai';
import { formatIp4, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { eth, TCP, type Packet } from '../helpers/packet.ts';
import { expectSound, Plane, POD, POOL, SERVER6, withPlane } from './plane.ts';

const pod = (n: number) => `2001:db8:1::${n.toString(16)}`;
const udp = (src: string, sport: number, dport = 53): Packet => eth().ip6({ src, dst: SERVER6 }).udp({ sport, dport });
const tcp = (src: string, sport: number): Packet =>
  eth().ip6({ src, dst: SERVER6 }).tcp({ sport, dport: 80, flags: TCP.syn });
const blocks = (count: number, size: number, firstPort = 40000, v4 = POOL, slot = 0, from = 0) =>
  Array.from({ length: count }, (_, i) => ({
    index: from + i,
    slot,
    v4: parseIp4(v4),
    firstPort: firstPort + i * size,
    size,
  }));
function given(plane: Plane, packet: Packet): { address: string; port: number } {
  const outcome = plane.gate(packet);
  expectSound(outcome);
  const ip = parseIp(outcome.l3);
  expect(ip.version, 'translated').to.equal(4);
  return {
    address: formatIp4(new DataView(ip.src.buffer).getUint32(0)),
    port: new DataView(ip.l4.buffer).getUint16(0),
  };
}
/** The ICMPv6 error that a refused packet is answered with. */
const answer = (plane: Plane, packet: Packet): number[] => Array.from(plane.gate(packet).l3.slice(40, 42));

describe('ports', () => {
  it('N6146-3.5.1.1-e: N6146-3.5.2.3-c: U4787-3-a: T5382-7-a: N6146-3.1-b: no two flows of a protocol share one, to the last port of the block', () => {
    withPlane({ blocks: blocks(1, 200), config: { maxBlocksPerPod: 1 } }, (plane) => {
      const seen = new Set<number>();
      for (let i = 0; i < 200; i++) seen.add(given(plane, udp(POD, 1000 + i)).port);
      expect(seen.size).to.equal(200);
      expect(Math.min(...seen)).to.equal(40000);
      expect(Math.max(...seen)).to.equal(40199);
      expect(answer(plane, udp(POD, 5000))).to.deep.equal([1, 3]);
      expect(plane.datapath.blocks()[0]?.used).to.deep.equal({ tcp: 0, udp: 200, icmp: 0 });
      for (let i = 0; i < 200; i++) given(plane, tcp(POD, 1000 + i));
    });
  });

  it('U4787-3-b: the pod’s own port is kept where it lies in its block and is free', () => {
    withPlane({ blocks: blocks(2, 64) }, (plane) => {
      const [first] = [given(plane, udp(POD, 40010))];
      expect(first.port, 'of the first block').to.equal(40010);
      expect(given(plane, tcp(POD, 40010)).port).to.equal(40010);
      expect(given(plane, udp(POD, 40100)).port, 'not of the pod’s block').to.be.within(40000, 40063);
    });
  });

  it('B7857-9-a: G6888-13-a: other ports are spread over the whole block', () => {
    withPlane({ blocks: blocks(1, 1024, 40960) }, (plane) => {
      const got = Array.from({ length: 512 }, (_, i) => given(plane, udp(POD, 100 + i)).port);
      const inOrder = got.filter((port, i) => i > 0 && port === (got[i - 1] as number) + 1).length;
      expect(inOrder, 'neighbours in a row').to.be.below(20);
      for (let part = 0; part < 4; part++) {
        const low = 40960 + 256 * part;
        expect(got.filter((port) => port >= low && port < low + 256).length, `part ${part}`).to.be.within(85, 171);
      }
    });
  });

  it('G6888-2-a: U4787-2-a: N6146-3.5.1.1-a: N6146-3.5.2.3-a: N6146-3.5.3-b: a pod appears as one address, in all protocols', () => {
    const addresses = ['203.0.113.1', '203.0.113.2', '203.0.113.3', '203.0.113.4'];
    withPlane(
      {
        pool: addresses.map((address, slot) => ({ v4: parseIp4(address), slot, shared: false, draining: false })),
        blocks: addresses.flatMap((address, slot) => blocks(8, 16, 40000, address, slot, slot * 8)),
        config: { slots: 4 },
      },
      (plane) => {
        const used = new Set<string>();
        for (let n = 1; n <= 12; n++) {
          const mine = new Set<string>();
          for (let i = 0; i < 20; i++) mine.add(given(plane, udp(pod(n), 500 + i)).address);
          mine.add(given(plane, tcp(pod(n), 9)).address);
          const echo = parseIp(
            plane.gate(
              eth()
                .ip6({ src: pod(n), dst: SERVER6 })
                .echo6(9),
            ).l3,
          );
          mine.add(formatIp4(new DataView(echo.src.buffer).getUint32(0)));
          expect(mine.size, pod(n)).to.equal(1);
          for (const address of mine) used.add(address);
        }
        expect(used.size, 'pods are spread').to.be.above(1);
      },
    );
  });

  it('B7857-4-a: U4787-11-a: G6888-11-b: G6888-11-c: N6146-3.5.2.3-d: N6146-3.5.1.1-f: C5508-8-a: an exhausted pool: Address Unreachable, counted, nothing is taken from others', () => {
    withPlane({ blocks: blocks(1, 16) }, (plane) => {
      const ports = Array.from({ length: 16 }, (_, i) => given(plane, udp(POD, 100 + i)).port);
      const before = plane.state();
      expect(answer(plane, udp(POD, 200)), 'more of the same pod').to.deep.equal([1, 3]);
      expect(answer(plane, udp(pod(99), 1)), 'another pod').to.deep.equal([1, 3]);
      expect(answer(plane, tcp(pod(99), 1))).to.deep.equal([1, 3]);
      expect(plane.state()).to.deep.equal(before);
      expect(plane.lastDrop('pool_exhausted')?.count).to.equal(3);
      ports.forEach((port, i) => expect(given(plane, udp(POD, 100 + i, 99)).port, 'to another port').to.equal(port));
    });
  });

  it('G6888-4-a: a pod’s quota of blocks: refused with a reason of its own, others are served', () => {
    withPlane({ blocks: blocks(4, 16), config: { maxBlocksPerPod: 2 } }, (plane) => {
      for (let i = 0; i < 32; i++) given(plane, udp(POD, 100 + i));
      expect(answer(plane, udp(POD, 200))).to.deep.equal([1, 3]);
      expect(plane.lastDrop('pod_quota')?.count).to.equal(1);
      given(plane, udp(pod(2), 1));
      expect(plane.datapath.blocks().filter((row) => row.state === 'leased')).to.have.length(3);
    });
  });

  it('G6888-4-a: a pod with many blocks gets all of their ports, and not one more', () => {
    withPlane({ blocks: blocks(80, 16), config: { maxBlocksPerPod: 64 } }, (plane) => {
      const given64 = Array.from({ length: 64 * 16 }, (_, i) => given(plane, udp(POD, 1000 + i)).port);
      expect(new Set(given64).size, 'each once').to.equal(64 * 16);
      expect(answer(plane, udp(POD, 5000))).to.deep.equal([1, 3]);
      expect(plane.lastDrop('pod_quota')?.count).to.equal(1);
      expect(plane.datapath.blocks().filter((row) => row.state === 'leased')).to.have.length(64);
      // Idle, it gives them all back and may begin anew.
      plane.age(1000);
      plane.datapath.sweep(0);
      plane.datapath.sweep(0);
      expect(plane.datapath.blocks().filter((row) => row.state === 'leased')).to.have.length(0);
      given(plane, udp(POD, 5000));
    });
  });

  it('a flood beyond the quota costs no more with sixty-four blocks than with one', () => {
    /** Nanoseconds of the quickest tenth, which no other work of the machine is in. */
    const refusal = (quota: number): number => {
      let ns = NaN;
      withPlane({ blocks: blocks(quota, 16), config: { maxBlocksPerPod: quota } }, (plane) => {
        for (let i = 0; i < quota * 16; i++) given(plane, udp(POD, 1000 + i));
        const all = Array.from({ length: 500 }, (_, i) => plane.gate(udp(POD, 10_000 + i)).duration);
        expect(plane.lastDrop('pod_quota')?.count).to.equal(500);
        ns = all.sort((a, b) => a - b)[50] as number;
      });
      return ns;
    };
    expect(refusal(64) / refusal(1)).to.be.below(2);
  });

  it('without a pool: Address Unreachable, with a reason of its own', () => {
    withPlane({ blocks: [], pool: [], config: { slots: 0 } }, (plane) => {
      expect(answer(plane, udp(POD, 1))).to.deep.equal([1, 3]);
      expect(plane.lastDrop('not_configured')?.count).to.equal(1);
    });
  });

  it('G6888-s4-a: a leased block says whose it is, and an event tells', async () => {
    const plane = new Plane({ blocks: blocks(2, 16) });
    try {
      const heard: unknown[] = [];
      const stop = plane.datapath.onEvent(({ block, holder }) =>
        heard.push([block, Buffer.from(holder).toString('hex')]),
      );
      given(plane, udp(POD, 1));
      const [first, second] = plane.datapath.blocks();
      expect(first?.state).to.equal('leased');
      expect(first?.holder).to.deep.equal(parseIp6(POD));
      expect(first?.since).to.be.closeTo(Date.now(), 2000);
      expect(second?.state).to.equal('offered');
      for (let i = 0; i < 50 && heard.length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
      stop();
      expect(heard).to.deep.equal([[0, Buffer.from(parseIp6(POD)).toString('hex')]]);
    } finally {
      plane[Symbol.dispose]();
    }
  });

  it('T5382-7-a: a port is free again when its last session has gone, and may be taken at once by TCP', () => {
    withPlane({ blocks: blocks(1, 16) }, (plane) => {
      for (let i = 0; i < 16; i++) given(plane, tcp(POD, 100 + i));
      expect(answer(plane, tcp(POD, 200))).to.deep.equal([1, 3]);
      plane.age(30);
      plane.datapath.sweep(60_000);
      expect(plane.datapath.blocks()[0]?.used).to.deep.equal({ tcp: 0, udp: 0, icmp: 0 });
      for (let i = 0; i < 16; i++) given(plane, tcp(POD, 200 + i));
    });
  });
});
