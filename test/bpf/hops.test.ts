// SPDX-License-Identifier: Apache-2.0
// RFC 7915 §4.1, §5.1: the node with gate64 is one hop. What came in by an interface its forwarding decrements.

import { expect } from 'chai';
import { eth } from '../helpers/packet.ts';
import { POD, POOL, SERVER, SERVER6, withPlane, type Plane } from './plane.ts';

const T = 40001;
const out = (hopLimit: number) => eth().ip6({ src: POD, dst: SERVER6, hopLimit }).udp({ sport: T, dport: 53 });
const back = (ttl: number) => eth().ip4({ src: SERVER, dst: POOL, ttl }).udp({ sport: 53, dport: T });
const forwarded = (plane: Plane) => ({ ingress: plane.config.device.ifindex });

describe('hops', () => {
  for (const [egress, options] of [
    ['masquerade', {}],
    ['direct', { uplinkMtu: 1500 }],
  ] as const) {
    it(`X7915-5.1-e: X7915-4.1-g: ${egress}: what the node forwards loses one there, what it sends itself here`, () => {
      withPlane(options, (plane) => {
        expect(plane.gate(out(64), forwarded(plane)).l3[8]).to.equal(64);
        expect(plane.gate(out(64)).l3[8]).to.equal(63);
        const answer =
          egress === 'direct' ? plane.uplink(back(64), forwarded(plane)) : plane.gate(back(64), forwarded(plane));
        expect(answer.l3[7]).to.equal(64);
      });
    });
  }

  it('direct: the last hop goes on to the router, which says so; loops end in the node’s own forwarding', () => {
    withPlane({ uplinkMtu: 1500 }, (plane) => {
      expect(plane.gate(out(1), forwarded(plane)).l3[8]).to.equal(1);
      expect(plane.dropsOf(() => plane.gate(out(0), forwarded(plane)))).to.deep.equal({ hop_limit: 1 });
      expect(plane.dropsOf(() => plane.gate(out(1)))).to.deep.equal({ hop_limit: 1 });
    });
  });

  it('masquerade: what the host stack would drop is answered here', () => {
    withPlane({}, (plane) => {
      expect(plane.dropsOf(() => plane.gate(out(1), forwarded(plane)))).to.deep.equal({ hop_limit: 1 });
      expect(plane.gate(out(2), forwarded(plane)).l3[8]).to.equal(2);
    });
  });
});
