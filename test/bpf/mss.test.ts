// SPDX-License-Identifier: Apache-2.0
// nat64.mssClamp: what SYNs announce is lowered to what fits on both sides, and nothing else of them changes.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { bare, eth, TCP } from '../helpers/packet.ts';
import { expectOut, expectSound, Plane, POD, POOL, SERVER, SERVER6 } from './plane.ts';

const T = 40001;
const { syn, ack } = TCP;
const mss = (value: number) => Uint8Array.of(2, 4, value >> 8, value & 0xff);
const of = (...bytes: number[]) => Uint8Array.from(bytes);

type Side = 'v6' | 'v4';

describe('MSS', () => {
  const planes: Plane[] = [];
  const made = (...options: ConstructorParameters<typeof Plane>): Plane => {
    const plane = new Plane(...options);
    planes.push(plane);
    return plane;
  };
  const turn = (plane: Plane, side: Side, options: Uint8Array, flags: number, checksum?: number) => {
    const fields = { flags, options, ...(checksum === undefined ? {} : { checksum }) };
    return side === 'v6'
      ? plane.gate(
          eth()
            .ip6({ src: POD, dst: SERVER6 })
            .tcp({ sport: T, dport: 80, ...fields }),
        )
      : plane.gate(
          eth()
            .ip4({ src: SERVER, dst: POOL })
            .tcp({ sport: 80, dport: T, ...fields }),
        );
  };
  const wanted = (side: Side, options: Uint8Array, flags: number) =>
    side === 'v6'
      ? bare().ip4({ src: POOL, dst: SERVER, ttl: 63, df: false }).tcp({ sport: T, dport: 80, flags, options })
      : bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63 }).tcp({ sport: 80, dport: T, flags, options });
  /** The connection's SYN, and what comes back. */
  const passes = (plane: Plane, side: Side, options: Uint8Array, becomes: Uint8Array, flags: number = syn) => {
    if (side === 'v4') turn(plane, 'v6', of(), syn);
    const outcome = turn(plane, side, options, side === 'v4' ? flags | ack : flags);
    expectOut(outcome, wanted(side, becomes, side === 'v4' ? flags | ack : flags), { anyId: side === 'v6' });
    expectSound(outcome);
  };

  let off: Plane;
  let fixed: Plane;
  before(() => {
    off = made();
    fixed = made({ config: { mssClamp: 1200 } });
  });
  afterEach(() => {
    for (const plane of planes) plane.reset();
  });
  after(() => {
    for (const plane of planes) plane[Symbol.dispose]();
  });

  for (const side of ['v6', 'v4'] as const) {
    it(`${side}: off, it passes as it is`, () => passes(off, side, mss(8940), mss(8940)));
    it(`${side}: larger, it is lowered to the number`, () => passes(fixed, side, mss(1460), mss(1200)));
    it(`${side}: smaller, it is not raised`, () => passes(fixed, side, mss(1199), mss(1199)));
    it(`${side}: none, it is not added`, () => passes(fixed, side, of(4, 2, 1, 1), of(4, 2, 1, 1)));
    it(`${side}: behind other options, at an even octet`, () =>
      passes(fixed, side, of(4, 2, 2, 4, 0x05, 0xb4, 1, 0), of(4, 2, 2, 4, 0x04, 0xb0, 1, 0)));
    it(`${side}: behind other options, at an odd octet`, () =>
      passes(fixed, side, of(1, 2, 4, 0x05, 0xb4, 1, 1, 0), of(1, 2, 4, 0x04, 0xb0, 1, 1, 0)));
    it(`${side}: with all 40 octets of options`, () => {
      const fill = Array.from({ length: 36 }, () => 1);
      passes(fixed, side, of(...fill, 2, 4, 0x05, 0xb4), of(...fill, 2, 4, 0x04, 0xb0));
    });
    for (const [what, options] of [
      ['an MSS option of a wrong length', of(2, 3, 0x05, 0xb4)],
      ['one that reaches beyond the header', of(1, 2, 4, 0x05)],
      ['an option of length 0 before it', of(3, 0, 1, 1, 2, 4, 0x05, 0xb4)],
      ['an end of options before it', of(0, 0, 0, 0, 2, 4, 0x05, 0xb4)],
    ] as const) {
      it(`${side}: ${what}: untouched`, () => passes(fixed, side, options, options));
    }
    it(`${side}: a wrong checksum stays wrong`, () => {
      if (side === 'v4') turn(fixed, 'v6', of(), syn);
      const outcome = turn(fixed, side, mss(1460), side === 'v4' ? syn | ack : syn, 0x1234);
      expect(outcome.action).to.equal('redirect');
      expect(() => expectSound(outcome)).to.throw();
    });
  }

  it('segments without SYN are not looked at', () => {
    turn(fixed, 'v6', of(), syn);
    turn(fixed, 'v4', of(), syn | ack);
    passes(fixed, 'v6', mss(1460), mss(1460), ack);
  });

  it('a header that ends beyond the packet: untouched', () => {
    const packet = eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: T, dport: 80, flags: syn }).build();
    packet[14 + 40 + 12] = 0xf0;
    expect(fixed.gate(packet).action).to.equal('redirect');
  });

  describe('auto', () => {
    const ip = (...args: string[]) => execFileSync('ip', args);
    const forwarding = (on: 0 | 1) =>
      execFileSync('sysctl', ['-qw', `net.ipv4.conf.all.forwarding=${on}`, `net.ipv6.conf.all.forwarding=${on}`]);

    it('without routes: what the device takes', () => {
      const plane = made({ deviceMtu: 1400, config: { mssClamp: 'auto' } });
      for (const side of ['v6', 'v4'] as const) passes(plane, side, mss(1460), mss(1340));
    });

    it('the smaller of both routes: 60 octets below the one to the pod, 40 below the one to the server', () => {
      const plane = made({ deviceMtu: 9000, config: { mssClamp: 'auto' } });
      ip('link', 'add', 'mss0', 'mtu', '9000', 'type', 'veth', 'peer', 'name', 'mss1', 'mtu', '9000');
      ip('link', 'set', 'mss1', 'up');
      try {
        ip('link', 'set', 'mss0', 'up');
        ip('addr', 'add', '192.0.2.1/24', 'dev', 'mss0');
        forwarding(1);
        const routes = (mtu6: number, mtu4: number) => {
          ip('-6', 'route', 'replace', '2001:db8:1::/64', 'dev', 'mss0', 'mtu', 'lock', `${mtu6}`);
          ip('route', 'replace', '198.51.100.0/24', 'dev', 'mss0', 'mtu', 'lock', `${mtu4}`);
        };
        for (const [mtu6, mtu4, fits] of [
          [1500, 1500, 1440],
          [8900, 1500, 1460],
          [1500, 1450, 1410],
          [8900, 8000, 7960],
          [1280, 500, 536],
        ] as const) {
          routes(mtu6, mtu4);
          for (const side of ['v6', 'v4'] as const) {
            plane.reset();
            passes(plane, side, mss(8940), mss(fits));
          }
        }
      } finally {
        // Other files' tests share the namespace.
        forwarding(0);
        ip('link', 'del', 'mss0');
      }
    });
  });
});
