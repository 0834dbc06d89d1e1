// SPDX-License-Identifier: Apache-2.0
// Random damage: whatever comes in, the programs answer, and what they let on has lengths that agree.

import { expect } from 'chai';
import fc from 'fast-check';
import { parseIp } from '../helpers/packet-read.ts';
import { bare, eth, hex, PROTO, TCP, type Packet } from '../helpers/packet.ts';
import { holds } from '../helpers/property.ts';
import { Plane, POD, POOL, SERVER, SERVER6 } from './plane.ts';

const from6 = () => eth().ip6({ src: POD, dst: SERVER6 });
const from4 = () => eth().ip4({ src: SERVER, dst: POOL });
const T = 40001;
const quoted4 = bare().ip4({ src: POOL, dst: SERVER }).udp({ sport: T, dport: 53 }).payload('quoted');
const quoted6 = bare().ip6({ src: SERVER6, dst: POD }).udp({ sport: 53, dport: T }).payload('quoted');

const SEEDS: readonly Packet[] = [
  from6().udp({ sport: T, dport: 53 }).payload('payload'),
  from6().tcp({ sport: T, dport: 80, flags: TCP.syn }).payload('payload'),
  from6().echo6(T).payload('payload'),
  from6().hopByHop().destinationOptions(new Uint8Array(20)).routing(0).udp({ sport: T, dport: 53 }),
  from6().fragment({ id: 1, more: true }).udp({ sport: T, dport: 53 }).payload('12345678'),
  from6().fragment({ id: 1, offset: 2, nextHeader: PROTO.udp }).payload('12345678'),
  from6().icmp6({ type: 1 }).payload(quoted6),
  from6().icmp6({ type: 2, rest: 1400 }).payload(quoted6),
  from4().udp({ sport: 53, dport: T }).payload('payload'),
  from4().udp({ sport: 53, dport: T, checksum: 0 }).payload('payload'),
  from4().tcp({ sport: 80, dport: T, flags: TCP.syn | TCP.ack }),
  from4().echo4(T, 1, true).payload('payload'),
  eth()
    .ip4({ src: SERVER, dst: POOL, options: new Uint8Array(12).fill(1) })
    .udp({ sport: 53, dport: T }),
  eth().ip4({ src: SERVER, dst: POOL, mf: true, id: 3 }).udp({ sport: 53, dport: T }).payload('12345678'),
  eth().ip4({ src: SERVER, dst: POOL, offset: 2, id: 3, protocol: PROTO.udp }).payload('12345678'),
  from4().icmp4({ type: 3, code: 1 }).payload(quoted4),
  from4().icmp4({ type: 3, code: 4, rest: 1400 }).payload(quoted4),
];

describe('damaged packets', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane({ uplink: true });
    for (const packet of SEEDS.slice(0, 3)) plane.gate(packet);
  });
  after(() => plane[Symbol.dispose]());

  it('N6146-3.7-a: cut anywhere and with any bits turned, a packet passes, drops or goes on whole', () => {
    const damage = fc.record({
      seed: fc.integer({ min: 0, max: SEEDS.length - 1 }),
      cut: fc.option(fc.integer({ min: 14, max: 140 })),
      more: fc.uint8Array({ maxLength: 30 }),
      flips: fc.array(fc.tuple(fc.nat(140), fc.integer({ min: 1, max: 255 })), { maxLength: 4 }),
    });
    let redirected = 0;
    holds(
      fc.property(damage, ({ seed, cut, more, flips }) => {
        const whole = (SEEDS[seed] as Packet).build();
        // The kernel runs no program on less than an IP header.
        const least = whole[12] === 0x86 ? 54 : 34;
        const bytes = new Uint8Array([...whole.slice(0, Math.max(least, cut ?? 200)), ...more]);
        // The addresses stay, or hardly a packet would be for us.
        const addresses = bytes[14] === 0x45 ? [26, 34] : [22, 54];
        for (const [at, mask] of flips) {
          const place = 14 + at;
          if (place < bytes.length && (place < (addresses[0] as number) || place >= (addresses[1] as number))) {
            bytes[place] = (bytes[place] as number) ^ mask;
          }
        }
        const outcome = plane.gate(bytes);
        if (outcome.action === 'pass') {
          expect(hex(outcome.frame), 'untouched').to.equal(hex(bytes));
        } else if (outcome.action === 'redirect') {
          redirected += 1;
          const out = parseIp(outcome.l3);
          expect(out.length, `${hex(bytes)} → ${hex(outcome.l3)}`).to.equal(outcome.l3.length);
          expect(out.ttl).to.be.above(0);
        }
      }),
      { runs: 20_000 },
    );
    expect(redirected, 'that many packets went on').to.be.above(100);
  });

  it('X7915-4.1-e: X7915-5.1-c: every length from the IP header on: what is cut short never goes on', () => {
    for (const [i, packet] of SEEDS.entries()) {
      const whole = packet.build();
      for (let length = whole[12] === 0x86 ? 54 : 34; length < whole.length; length++) {
        const { action } = plane.gate(whole.slice(0, length));
        expect(action, `packet ${i}, ${length} of ${whole.length} bytes`).not.to.equal('redirect');
      }
    }
  });

  it('H8200-3-a: random bytes behind either EtherType', () => {
    holds(
      fc.property(fc.uint8Array({ minLength: 40, maxLength: 120 }), fc.boolean(), (bytes, v6) => {
        const frame = new Uint8Array(14 + bytes.length);
        frame.set(v6 ? [0x86, 0xdd] : [0x08, 0x00], 12);
        frame.set(bytes, 14);
        const outcome = plane.gate(frame);
        expect(outcome.action).to.equal('pass');
        expect(plane.uplink(frame).action).to.equal('pass');
      }),
      { runs: 3000 },
    );
  });
});
