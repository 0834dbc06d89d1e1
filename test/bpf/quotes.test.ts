// SPDX-License-Identifier: Apache-2.0
// ICMP errors about flows whose port or identifier differs on both sides: addresses, ports and checksums inside are those
// that the receiver knows (RFC 6146 §3.6, §3.7).

import { parseIp4 } from '../../src/addr/ip.ts';
import { bare, eth, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, Plane, POD, POOL, SERVER, SERVER6 } from './plane.ts';

/** x of the pod, t of the pool. */
const X = 40001;
const T = 1024;

/** A packet of the pod's (`out`) or to it, with the near port as that side writes it. */
type Make = (packet: Packet, near: number, v6: boolean) => Packet;
const flows: readonly [string, out: Make, back: Make][] = [
  [
    'UDP',
    (p, near) => p.udp({ sport: near, dport: 53 }).payload('question'),
    (p, near) => p.udp({ sport: 53, dport: near }).payload('answer'),
  ],
  [
    'TCP',
    (p, near) => p.tcp({ sport: near, dport: 80, flags: TCP.syn }).payload('data'),
    (p, near) => p.tcp({ sport: 80, dport: near, flags: TCP.syn | TCP.ack }).payload('data'),
  ],
  [
    'echo',
    (p, near, v6) => (v6 ? p.echo6(near) : p.echo4(near)).payload('ping'),
    (p, near, v6) => (v6 ? p.echo6(near, 1, true) : p.echo4(near, 1, true)).payload('ping'),
  ],
];

describe('quotes with other ports inside', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane({ blocks: [{ index: 0, slot: 0, v4: parseIp4(POOL), firstPort: T, size: 1 }] });
    for (const [, out] of flows) expectSound(plane.gate(out(eth().ip6({ src: POD, dst: SERVER6 }), X, true)));
  });
  after(() => plane[Symbol.dispose]());

  for (const [what, out, back] of flows) {
    it(`N6146-3.7-b: ${what} there and back`, () => {
      expectOut(
        plane.gate(out(eth().ip6({ src: POD, dst: SERVER6 }), X, true)),
        out(bare().ip4({ src: POOL, dst: SERVER, ttl: 63 }), T, false),
        { anyId: true },
      );
      expectOut(
        plane.gate(back(eth().ip4({ src: SERVER, dst: POOL }), T, false)),
        back(bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63 }), X, true),
      );
    });

    it(`N6146-3.7-d: N6146-3.7-c: C5508-4-b: X7915-4.3-a: an ICMPv4 error about ${what}`, () => {
      const error = eth().ip4({ src: SERVER, dst: POOL }).icmp4({ type: 3, code: 3 });
      expectOut(
        plane.gate(error.payload(out(bare().ip4({ src: POOL, dst: SERVER, ttl: 9 }), T, false))),
        bare()
          .ip6({ src: SERVER6, dst: POD, hopLimit: 63 })
          .icmp6({ type: 1, code: 4 })
          .payload(out(bare().ip6({ src: POD, dst: SERVER6, hopLimit: 9 }), X, true)),
      );
    });

    it(`N6146-3.7-d: N6146-3.7-c: N6146-3.6.2-a: C5508-5-b: X7915-5.3-a: an ICMPv6 error about ${what}`, () => {
      const error = eth().ip6({ src: POD, dst: SERVER6 }).icmp6({ type: 1, code: 4 });
      expectOut(
        plane.gate(error.payload(back(bare().ip6({ src: SERVER6, dst: POD, hopLimit: 9 }), X, true))),
        bare()
          .ip4({ src: POOL, dst: SERVER, ttl: 63 })
          .icmp4({ type: 3, code: 3 })
          .payload(back(bare().ip4({ src: SERVER, dst: POOL, ttl: 9 }), T, false)),
        { anyId: true },
      );
    });
  }
});
