// SPDX-License-Identifier: Apache-2.0
// Worked vectors: whole packets in, whole packets out, computed apart from this code base.

import { parseIp4 } from '../../src/addr/ip.ts';
import { bare, eth, frame, fromHex } from '../helpers/packet.ts';
import { expectOut, NODE, Plane, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const V3_IN =
  '62e123450014114020010db80001000000000000000000100064ff9b0001fffe00000000c63364079c4000350014b0a0' +
  '68656c6c6f206e6174363421';
const V3_OUT = '452e0028123400003f110323cb007105c6336407c351003500147b5368656c6c6f206e6174363421';

/** One port: T,t is the vector's. */
const onePort = (firstPort: number) => ({
  blocks: [{ index: 0, slot: 0, v4: parseIp4(POOL), firstPort, size: 1 }],
});

describe('vectors', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane(onePort(50001));
  });
  after(() => plane[Symbol.dispose]());

  it('N6146-3.6.1-b: N6146-3.7-b: X7915-5.1-a: X7915-5.1-g: UDP from IPv6 to IPv4', () => {
    expectOut(plane.gate(frame(fromHex(V3_IN))), fromHex(V3_OUT), { anyId: true });
  });

  it('N6146-3.6.1-c: and its answer back', () => {
    plane.gate(frame(fromHex(V3_IN)));
    const answer = eth()
      .ip4({ src: SERVER, dst: POOL, ttl: 50, tos: 0xb9 })
      .udp({ sport: 53, dport: 50001 })
      .payload('answer');
    const expected = bare()
      .ip6({ src: SERVER6, dst: POD, hopLimit: 49, trafficClass: 0xb9 })
      .udp({ sport: 53, dport: 40000 })
      .payload('answer');
    expectOut(plane.gate(answer), expected);
  });

  it('A6052-4.1-a: another prefix gives the same IPv4 packet', () => {
    withPlane({ ...onePort(50001), prefixes: ['2001:db8:64::/96'] }, (other) => {
      const packet = eth()
        .ip6({ src: POD, dst: `2001:db8:64::${SERVER}`, trafficClass: 0x2e, flowLabel: 0x12345 })
        .udp({ sport: 40000, dport: 53, checksum: 0x8283 })
        .payload('hello nat64!');
      expectOut(other.gate(packet), fromHex(V3_OUT), { anyId: true });
    });
  });

  it('X7915-5.2-b: C5508-1-a: N6146-3.5.3-b: N6146-3.6.2-a: X7915-5.2-a: echo', () => {
    withPlane(onePort(0x4001), (other) => {
      const request = fromHex('800083e5123400016162636465666768');
      const packet = eth().ip6({ src: POD, dst: SERVER6, nextHeader: 58 }).payload(request);
      const expected = bare()
        .ip4({ src: POOL, dst: SERVER, ttl: 63, protocol: 1 })
        .payload(fromHex('08002668400100016162636465666768'));
      expectOut(other.gate(packet), expected, { anyId: true });
    });
  });

  it('C5508-4-b: X7915-4.3-a: N6146-3.7-d: N6146-3.4-c: Fragmentation Needed becomes Packet Too Big', () => {
    plane.gate(frame(fromHex(V3_IN)));
    const error = fromHex(
      '45c00038111100003c0106bac6336401cb0071050304b2f500000578450005c8beef40003c1113f5cb007105c6336407' +
        'c351003505b47b53',
    );
    const expected = fromHex(
      '6c00000000383a3b0064ff9b0001fffe00000000c633640120010db800010000000000000000001002007e420000058c' +
        '6000000005b4113c20010db80001000000000000000000100064ff9b0001fffe00000000c63364079c40003505b4b0a0',
    );
    expectOut(plane.gate(frame(error)), expected);
  });

  it('H4443-2.2-a: what the data plane sends itself comes from the node', () => {
    const expired = frame(fromHex(V3_IN));
    expired[14 + 7] = 1;
    const outcome = plane.gate(expired);
    expectOut(
      outcome,
      bare().ip6({ src: NODE, dst: POD, trafficClass: 0x2e }).icmp6({ type: 3 }).payload(expired.slice(14)),
    );
  });
});
