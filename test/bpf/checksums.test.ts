// SPDX-License-Identifier: Apache-2.0
// Checksums are updated by difference: right ones stay right, wrong ones stay wrong, over random packets.

import { expect } from 'chai';
import fc from 'fast-check';
import { parseIp4 } from '../../src/addr/ip.ts';
import { faults, parseIp } from '../helpers/packet-read.ts';
import { bare, eth, frame, hex, TCP, type Packet } from '../helpers/packet.ts';
import { holds } from '../helpers/property.ts';
import { expectOut, expectSound, Plane, POD, POOL, PREFIX, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;

describe('checksums', () => {
  let plane: Plane;

  before(() => {
    // Ports that are none of the pods' own, so that they are always rewritten.
    plane = new Plane({
      blocks: [0, 1, 2, 3].map((index) => ({
        index,
        slot: 0,
        v4: parseIp4(POOL),
        firstPort: 1024 * (index + 1),
        size: 1024,
      })),
    });
  });
  after(() => plane[Symbol.dispose]());

  const payload = fc.uint8Array({ minLength: 0, maxLength: 300 });
  const octets = fc.uint8Array({ minLength: 8, maxLength: 8 });
  const port = fc.integer({ min: 40000, max: 40300 });
  const kinds = fc.constantFrom('udp', 'tcp', 'echo');

  const build = (packet: Packet, kind: string, sport: number, dport: number, v6: boolean): Packet => {
    if (kind === 'udp') return packet.udp({ sport, dport });
    if (kind === 'tcp') return packet.tcp({ sport, dport, flags: TCP.syn });
    return v6 ? packet.echo6(sport) : packet.echo4(sport, 1, true);
  };

  it('X7915-5-a: X7915-5.2-a: N6146-3.7-b: 6to4 a checksum holds afterwards iff it held before', () => {
    holds(
      fc.property(
        payload,
        octets,
        port,
        kinds,
        fc.integer({ min: 0, max: 0xffff }),
        (data, host, sport, kind, damage) => {
          const src = `2001:db8:5:6:ffff:0:8000:${(host[0] as number) & 3}`;
          const server = `198.51.100.${host[4] as number}`;
          const packet = build(eth().ip6({ src, dst: `${PREFIX}${server}` }), kind, sport, 7, true).payload(data);
          const bytes = packet.build();
          const at = 54 + { udp: 6, tcp: 16, echo: 2 }[kind as 'udp'];
          bytes[at] = (bytes[at] as number) ^ (damage >> 8);
          bytes[at + 1] = (bytes[at + 1] as number) ^ (damage & 0xff);
          // 0 has a meaning of its own in UDP, and 0xffff is its other form.
          const field = new DataView(bytes.buffer).getUint16(at);
          fc.pre(kind !== 'udp' || (field !== 0 && field !== 0xffff));
          const right = faults(bytes.slice(14)).length === 0;
          const outcome = plane.gate(bytes);
          expect(outcome.action).to.equal('redirect');
          expect(faults(outcome.l3).length === 0, `${hex(bytes)} → ${hex(outcome.l3)}`).to.equal(right);
        },
      ),
      { runs: 250 },
    );
  });

  it('X7915-4.5-a: X7915-4.2-a: N6146-3.7-b: 4to6 a checksum holds afterwards iff it held before', () => {
    withPlane({ blocks: [{ index: 0, slot: 0, v4: parseIp4(POOL), firstPort: 1024, size: 1024 }] }, (other) => {
      const pod = eth().ip6({ src: POD, dst: SERVER6 });
      const ports = new Map<string, number>();
      for (const kind of ['udp', 'tcp', 'echo']) {
        const out = parseIp(other.gate(build(pod, kind, PORT, 7, true)).l3);
        ports.set(kind, new DataView(out.l4.buffer).getUint16(kind === 'echo' ? 4 : 0));
      }
      holds(
        fc.property(payload, kinds, fc.integer({ min: 0, max: 0xffff }), (data, kind, damage) => {
          const t = ports.get(kind) as number;
          const from = eth().ip4({ src: SERVER, dst: POOL });
          const packet =
            kind === 'echo'
              ? from.echo4(t, 1, true)
              : kind === 'udp'
                ? from.udp({ sport: 7, dport: t })
                : from.tcp({ sport: 7, dport: t });
          const bytes = packet.payload(data).build();
          const at = 34 + { udp: 6, tcp: 16, echo: 2 }[kind as 'udp'];
          bytes[at] = (bytes[at] as number) ^ (damage >> 8);
          bytes[at + 1] = (bytes[at + 1] as number) ^ (damage & 0xff);
          const field = new DataView(bytes.buffer).getUint16(at);
          fc.pre(kind !== 'udp' || (field !== 0 && field !== 0xffff));
          const right = faults(bytes.slice(14)).length === 0;
          const outcome = other.gate(bytes);
          expect(outcome.action).to.equal('redirect');
          expect(faults(outcome.l3).length === 0, `${hex(bytes)} → ${hex(outcome.l3)}`).to.equal(right);
        }),
        { runs: 1500 },
      );
    });
  });

  it('X7915-5-a: a UDP checksum that comes out as 0 is sent as 0xffff', () => {
    withPlane({}, (other) => {
      // Chosen so that the sum of the IPv4 packet is 0xffff: the first word makes up for the rest.
      const zero = bare()
        .ip4({ src: POOL, dst: SERVER })
        .udp({ sport: PORT, dport: 53 })
        .payload(new Uint8Array(2))
        .l3();
      const check = new DataView(zero.buffer).getUint16(26);
      const data = Uint8Array.of(check >> 8, check & 0xff);
      const out = (p: Packet) => p.udp({ sport: PORT, dport: 53 }).payload(data);
      const outcome = other.gate(out(eth().ip6({ src: POD, dst: SERVER6 })));
      expect(hex(outcome.l3.slice(26, 28))).to.equal('ffff');
      expectOut(outcome, out(bare().ip4({ src: POOL, dst: SERVER, ttl: 63 })), { anyId: true });
      // And back: the same port pair the other way round.
      const six = bare()
        .ip6({ src: SERVER6, dst: POD })
        .udp({ sport: 53, dport: PORT })
        .payload(new Uint8Array(2))
        .l3();
      const check6 = new DataView(six.buffer).getUint16(46);
      const data6 = Uint8Array.of(check6 >> 8, check6 & 0xff);
      const back = other.gate(eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: 53, dport: PORT }).payload(data6));
      expect(hex(back.l3.slice(46, 48))).to.equal('ffff');
      expectSound(back);
    });
  });

  it('N6146-3.4-l: X7915-4.5-b: UDP without a checksum gets one from IPv4, for every length', () => {
    withPlane({}, (other) => {
      other.gate(eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport: PORT, dport: 53 }));
      for (const length of [0, 1, 2, 3, 55, 56, 57, 63, 64, 65, 127, 128, 129, 500, 1000, 1232]) {
        const data = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 0xff);
        const packet = eth().ip4({ src: SERVER, dst: POOL }).udp({ sport: 53, dport: PORT, checksum: 0 }).payload(data);
        const expected = bare()
          .ip6({ src: SERVER6, dst: POD, hopLimit: 63 })
          .udp({ sport: 53, dport: PORT })
          .payload(data);
        expectOut(other.gate(packet), expected);
      }
    });
  });

  it('N6146-3.4-l: bytes behind the UDP datagram are carried, not summed', () => {
    withPlane({}, (other) => {
      other.gate(eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport: PORT, dport: 53 }));
      const packet = eth()
        .ip4({ src: SERVER, dst: POOL })
        .udp({ sport: 53, dport: PORT, length: 12, checksum: 0 })
        .payload('datatrailer');
      const summed = bare().ip6({ src: SERVER6, dst: POD }).udp({ sport: 53, dport: PORT }).payload('data').l3();
      const outcome = other.gate(packet);
      expect(outcome.action).to.equal('redirect');
      expect(hex(outcome.l3.slice(40, 48))).to.equal(hex(summed.slice(40, 48)));
    });
  });

  it('H8200-8.1-a: UDP without a checksum from IPv6 is dropped and counted', () => {
    const packet = eth().ip6({ src: POD, dst: SERVER6 }).udp({ sport: PORT, dport: 53, checksum: 0 }).payload('x');
    expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'))).to.deep.equal({
      checksum_zero: 1,
    });
  });

  it('N6146-3.7-b: the frame of what was built is one that this test would accept', () => {
    const packet = bare().ip6({ src: POD, dst: SERVER6 }).udp({ sport: 1, dport: 2 }).payload('x').l3();
    expect(faults(packet)).to.deep.equal([]);
    expect(faults(packet.map((b, i) => (i === 48 ? b ^ 1 : b)))).to.deep.equal(['UDP checksum']);
    expect(frame(packet).length).to.equal(packet.length + 14);
  });
});
