// SPDX-License-Identifier: Apache-2.0
// RFC 6146 §3.8, RFC 4787 REQ-9, RFC 5382 REQ-8: two pods meet by a pool address. A packet passes the program twice, once
// a direction; the first time it leaves towards the device itself, where it comes in as from outside.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { bare, eth, frame, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, POD, POOL, PREFIX, withPlane, type Outcome, type Plane } from './plane.ts';

const A = POD;
const B = '2001:db8:1::20';
const POOL6 = `${PREFIX}${POOL}`;
const [PORT_A, PORT_B] = [40001, 40002];
const blocks = [0, 1].map((index) => {
  return { index, slot: 0, v4: parseIp4(POOL), firstPort: 40000 + 512 * index, size: 512 };
});
const options = { blocks, staticPorts: [PORT_B], uplinkMtu: 1500 };

describe('hairpinning', () => {
  const meet = (act: (plane: Plane, pass: (packet: Packet) => Outcome) => void, more = {}) =>
    withPlane({ ...options, ...more }, (plane) => {
      for (const protocol of ['tcp', 'udp'] as const) {
        const binding = { protocol, source: { v6: parseIp6(B), port: 80 }, pool: { v4: parseIp4(POOL), port: PORT_B } };
        plane.datapath.putStaticBinding(binding);
      }
      /** Both passes, as the kernel gives them. */
      const pass = (packet: Packet) => {
        const there = plane.gate(packet);
        if (there.action !== 'redirect') return there;
        return (there.l3[0] ?? 0) >> 4 === 4
          ? plane.gate(frame(there.l3), { device: plane.config.device.ifindex })
          : there;
      };
      act(plane, pass);
    });
  const toB = (p: Packet, flags: number) => p.tcp({ sport: PORT_A, dport: PORT_B, flags });

  it('N6146-3.8-a: N6146-3.8-b: T5382-8-a: TCP to a static binding, and back, each seeing the other’s pool address', () => {
    meet((plane, pass) => {
      expectOut(
        pass(toB(eth().ip6({ src: A, dst: POOL6 }), TCP.syn)),
        bare().ip6({ src: POOL6, dst: B, hopLimit: 62 }).tcp({ sport: PORT_A, dport: 80, flags: TCP.syn }),
      );
      expectOut(
        pass(
          eth()
            .ip6({ src: B, dst: POOL6 })
            .tcp({ sport: 80, dport: PORT_A, flags: TCP.syn | TCP.ack }),
        ),
        bare()
          .ip6({ src: POOL6, dst: A, hopLimit: 62 })
          .tcp({ sport: PORT_B, dport: PORT_A, flags: TCP.syn | TCP.ack }),
      );
      const rows = plane.datapath.sessions();
      expect(rows, 'two legs').to.have.length(2);
      expect(new Set(rows.map(({ state }) => state))).to.deep.equal(new Set(['established']));
      plane.datapath.sweep(60_000);
      expect(plane.datapath.sessions(), 'the policy allows them').to.have.length(2);
    });
  });

  it('N6146-3.8-c: U4787-9-a: UDP to another pod’s own binding passes the filter as from outside, twice and no more', () => {
    meet((plane, pass) => {
      const open = (src: string, sport: number, dst: string, dport: number) =>
        pass(eth().ip6({ src, dst }).udp({ sport, dport }).payload('x'));
      expect(
        plane.dropsOf(() => open(A, PORT_A, POOL6, 45000)),
        'nobody has the port',
      ).to.deep.equal({ dst_pool: 1 });
      expectSound(
        plane.gate(
          eth()
            .ip6({ src: A, dst: `${PREFIX}198.51.100.9` })
            .udp({ sport: PORT_A, dport: 53 }),
        ),
      );
      // B writes to A's address before A has written to B's: filtered. Then A has, and B's passes.
      expect(plane.dropsOf(() => open(B, 5000, POOL6, PORT_A))).to.deep.equal({ filtered: 1 });
      const there = open(A, PORT_A, POOL6, PORT_B);
      expectSound(there);
      expectOut(
        open(B, 80, POOL6, PORT_A),
        bare().ip6({ src: POOL6, dst: A, hopLimit: 62 }).udp({ sport: PORT_B, dport: PORT_A }).payload('x'),
      );
    });
  });

  it('C5508-7-a: B7857-12-a: an error about such a packet goes back the same way', () => {
    meet((plane, pass) => {
      const first = pass(toB(eth().ip6({ src: A, dst: POOL6 }), TCP.syn));
      expectSound(first);
      const error = pass(
        eth()
          .ip6({ src: B, dst: POOL6 })
          .icmp6({ type: 1, code: 4 })
          .payload(bare().ip6({ src: POOL6, dst: B, hopLimit: 62 }).tcp({ sport: PORT_A, dport: 80, flags: TCP.syn })),
      );
      expectSound(error);
      expectOut(
        error,
        bare()
          .ip6({ src: POOL6, dst: A, hopLimit: 62 })
          .icmp6({ type: 1, code: 4 })
          .payload(toB(bare().ip6({ src: A, dst: POOL6, hopLimit: 62 }), TCP.syn)),
      );
    });
  });

  it('a pool address as a source from outside is nobody’s', () => {
    meet((plane) => {
      const spoofed = eth().ip4({ src: POOL, dst: POOL }).tcp({ sport: PORT_A, dport: PORT_B, flags: TCP.syn });
      expect(plane.dropsOf(() => plane.uplink(spoofed))).to.deep.equal({ filtered: 1 });
    });
  });

  it('echo requests to the pool say no pod’s port', () => {
    meet((plane, pass) => {
      expect(plane.dropsOf(() => pass(eth().ip6({ src: A, dst: POOL6 }).echo6(PORT_B)))).to.deep.equal({ dst_pool: 1 });
    });
  });
});
