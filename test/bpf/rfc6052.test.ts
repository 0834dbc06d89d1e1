// SPDX-License-Identifier: Apache-2.0
// RFC 6052 in the data plane: where the IPv4 address stands for each of the six prefix lengths.

import { expect } from 'chai';
import { parseIp6 } from '../../src/addr/ip.ts';
import { bare, eth } from '../helpers/packet.ts';
import { expectOut, POD, POOL, withPlane } from './plane.ts';

const Z = '192.0.2.33';
const udp = { sport: 40001, dport: 53 };
const back = { sport: 53, dport: 40001 };

describe('RFC 6052', () => {
  for (const [prefix, address] of [
    ['2001:db8::/32', '2001:db8:c000:221::'],
    ['2001:db8:100::/40', '2001:db8:1c0:2:21::'],
    ['2001:db8:122::/48', '2001:db8:122:c000:2:2100::'],
    ['2001:db8:122:300::/56', '2001:db8:122:3c0:0:221::'],
    ['2001:db8:122:344::/64', '2001:db8:122:344:c0:2:2100:0'],
    ['2001:db8:122:344::/96', '2001:db8:122:344::192.0.2.33'],
  ] as const) {
    const length = Number(prefix.split('/')[1]);

    it(`A6052-2.2-d: A6052-2.3-a: X7915-6-a: N6146-3.5.4-b: N6146-3.5.4-a: N6146-3.5.4-d: A6052-2.2-b: A6052-2.2-e: ${prefix} there and back`, () => {
      // The pod must not lie under the prefix.
      const pod = '2001:dead::10'.replace('dead', 'db9');
      withPlane({ prefixes: [prefix] }, (plane) => {
        expectOut(
          plane.gate(eth().ip6({ src: pod, dst: address }).udp(udp)),
          bare().ip4({ src: POOL, dst: Z, ttl: 63 }).udp(udp),
          { anyId: true },
        );
        expectOut(
          plane.gate(eth().ip4({ src: Z, dst: POOL }).udp(back)),
          bare().ip6({ src: address, dst: pod, hopLimit: 63 }).udp(back),
        );
        if (length === 96) return;

        const withU = parseIp6(address);
        withU[8] = 1;
        const drops = plane.dropsOf(() => plane.gate(eth().ip6({ src: pod, dst: withU }).udp(udp)));
        expect(drops, 'A6052-2.2-g: bits 64 to 71').to.deep.equal({ dst_malformed: 1 });

        const suffix = { 32: 9, 40: 10, 48: 11, 56: 12, 64: 13 }[length] as number;
        const withSuffix = parseIp6(address);
        withSuffix.fill(0xff, suffix);
        expectOut(
          plane.gate(eth().ip6({ src: pod, dst: withSuffix }).udp(udp)),
          bare().ip4({ src: POOL, dst: Z, ttl: 63 }).udp(udp),
          { anyId: true },
        );
      });
    });
  }

  it('A6052-2.2-f: A6052-2.2-g: a suffix is ignored, the u octet is not: Administratively Prohibited', () => {
    withPlane({ prefixes: ['2001:db8:122:344::/64'] }, (plane) => {
      const packet = eth().ip6({ src: '2001:db9::1', dst: '2001:db8:122:344:1c0:2:2100:0' }).udp(udp);
      const outcome = plane.gate(packet);
      expect(Array.from(outcome.l3.slice(40, 42))).to.deep.equal([1, 1]);
    });
  });

  it('several prefixes at once: each flow answers under its own', () => {
    withPlane({ prefixes: ['64:ff9b:1:fffe::/96', '2001:db8:122::/48', '2001:db8:64::/96'] }, (plane) => {
      const addresses = ['64:ff9b:1:fffe::192.0.2.33', '2001:db8:122:c000:2:2100::', '2001:db8:64::192.0.2.33'];
      addresses.forEach((dst, i) => {
        const sport = 40010 + i;
        plane.gate(eth().ip6({ src: POD, dst }).udp({ sport, dport: 53 }));
        expectOut(
          plane.gate(eth().ip4({ src: Z, dst: POOL }).udp({ sport: 53, dport: sport })),
          bare().ip6({ src: dst, dst: POD, hopLimit: 63 }).udp({ sport: 53, dport: sport }),
        );
      });
      expect(plane.datapath.sessions().map((row) => row.destination6).length).to.equal(3);
      // One port of one pod to one server by two prefixes would be one flow on the IPv4 side.
      const twice = plane.dropsOf(() =>
        plane.gate(
          eth()
            .ip6({ src: POD, dst: addresses[1] as string })
            .udp({ sport: 40010, dport: 53 }),
        ),
      );
      expect(twice).to.deep.equal({ session_conflict: 1 });
    });
  });
});
