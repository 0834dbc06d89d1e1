// SPDX-License-Identifier: Apache-2.0
// RFC 7915 §5.1: IPv6 headers to IPv4 headers.

import { expect } from 'chai';
import { parseIp } from '../helpers/packet-read.ts';
import { bare, concat, eth, hex, PROTO, TCP, type Ip6Fields, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, NODE, Plane, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;
const from = (fields: Partial<Ip6Fields> = {}) => eth().ip6({ src: POD, dst: SERVER6, ...fields });
const udp = (packet: Packet, text = 'data') => packet.udp({ sport: PORT, dport: 53 }).payload(text);
const out = (fields: Partial<Parameters<Packet['ip4']>[0]> = {}) =>
  bare().ip4({ src: POOL, dst: SERVER, ttl: 63, ...fields });

describe('headers from IPv6 to IPv4', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane();
  });
  after(() => plane[Symbol.dispose]());

  for (const trafficClass of [0, 0x2e, 0x2f, 0x80, 0xff]) {
    it(`X7915-5.1-b: traffic class ${trafficClass} becomes the type of service, the flow label goes`, () => {
      expectOut(plane.gate(udp(from({ trafficClass, flowLabel: 0xabcde }))), udp(out({ tos: trafficClass })), {
        anyId: true,
      });
    });
  }

  for (const [hopLimit, ttl] of [
    [2, 1],
    [3, 2],
    [64, 63],
    [255, 254],
  ] as const) {
    it(`X7915-5.1-e: hop limit ${hopLimit} becomes ${ttl}`, () => {
      expectOut(plane.gate(udp(from({ hopLimit }))), udp(out({ ttl })), { anyId: true });
    });
  }

  for (const hopLimit of [0, 1]) {
    it(`X7915-5.1-e: H8200-3-a: C5508-10-a: hop limit ${hopLimit} ends here with Time Exceeded and no session`, () => {
      const before = plane.state();
      const packet = from({ hopLimit, trafficClass: 0x28 }).udp({ sport: 40900, dport: 53 });
      const drops = plane.dropsOf(() =>
        expectOut(
          plane.gate(packet),
          bare().ip6({ src: NODE, dst: POD, trafficClass: 0x28 }).icmp6({ type: 3 }).payload(packet),
        ),
      );
      expect(drops).to.deep.equal({ hop_limit: 1 });
      expect(plane.state()).to.deep.equal(before);
    });
  }

  for (const [length, df] of [
    [100, false],
    [1279, false],
    [1280, false],
    [1281, true],
    [1400, true],
    [1500, true],
  ] as const) {
    it(`X7915-5-b: an IPv6 packet of ${length} bytes becomes one with DF=${Number(df)}`, () => {
      const text = 'x'.repeat(length - 48);
      expectOut(plane.gate(udp(from(), text)), udp(out({ df }), text), { anyId: true });
    });
  }

  it('X7915-5.1-d: B7857-10-a: a thousand packets in a row have identifications of their own', () => {
    const ids = new Set<number>();
    for (let i = 0; i < 1000; i++) ids.add(parseIp(plane.gate(udp(from())).l3).id);
    expect(ids.size).to.equal(1000);
  });

  it('X7915-5.1-c: what follows the packet in its frame is cut off', () => {
    const padded = concat(udp(from()).build(), new Uint8Array(20).fill(0xee));
    expectOut(plane.gate(padded), udp(out()), { anyId: true });
  });

  it('X7915-4-a: TCP, UDP and echo keep their payload', () => {
    const text = 'every byte \0 of it ÿ';
    for (const packet of [
      from().tcp({ sport: 40005, dport: 80, flags: TCP.syn }).payload(text),
      from().udp({ sport: 40005, dport: 80 }).payload(text),
      from().echo6(40005).payload(text),
    ]) {
      const outcome = plane.gate(packet);
      expectSound(outcome);
      expect(hex(outcome.l3)).to.match(new RegExp(`${Buffer.from(text, 'latin1').toString('hex')}$`));
    }
  });

  describe('extension headers', () => {
    const chains: readonly [string, (packet: Packet) => Packet][] = [
      ['hop by hop', (p) => p.hopByHop()],
      ['a long hop by hop', (p) => p.hopByHop(new Uint8Array(100))],
      ['destination options', (p) => p.destinationOptions()],
      ['a routing header that has ended', (p) => p.routing(0)],
      ['hop by hop and destination options', (p) => p.hopByHop().destinationOptions()],
      ['hop by hop, routing, destination options', (p) => p.hopByHop().routing(0).destinationOptions()],
      ['four', (p) => p.hopByHop().destinationOptions().routing(0).destinationOptions(new Uint8Array(14))],
      ['five', (p) => p.hopByHop().destinationOptions().routing(0).destinationOptions().destinationOptions()],
    ];
    for (const [what, add] of chains) {
      it(`X7915-5.1-f: X7915-5.1-i: X7915-5.1-c: X7915-1.2-a: ${what}: skipped`, () => {
        expectOut(plane.gate(udp(add(from()))), udp(out()), { anyId: true });
        const syn = (p: Packet) => p.tcp({ sport: 40007, dport: 443, flags: TCP.syn }).payload('x');
        expectOut(plane.gate(syn(add(from()))), syn(out()), { anyId: true });
        expectOut(plane.gate(add(from()).echo6(40007)), out().echo4(40007), { anyId: true });
      });
    }

    it('X7915-5.1-f: a chain of seven is refused and counted', () => {
      let packet = from().hopByHop();
      for (let i = 0; i < 6; i++) packet = packet.destinationOptions();
      expect(plane.dropsOf(() => expect(plane.gate(udp(packet)).action).to.equal('drop'))).to.deep.equal({
        extension_headers: 1,
      });
    });

    it('X7915-5.1-f: a header that claims more than the packet has is refused', () => {
      const bytes = udp(from().hopByHop()).build();
      for (const claim of [3, 10, 255]) {
        bytes[14 + 41] = claim;
        const padded = concat(bytes, new Uint8Array(2100));
        expect(
          plane.dropsOf(() => expect(plane.gate(padded).action).to.equal('drop')),
          `${claim}`,
        ).to.deep.equal({ malformed: 1 });
      }
    });

    for (const [what, packet, pointer] of [
      ['first', from().routing(1), 43],
      ['after hop by hop', from().hopByHop().routing(3), 51],
    ] as const) {
      it(`X7915-5.1-j: a routing header that has not ended, ${what}: Parameter Problem at ${pointer}`, () => {
        const whole = udp(packet);
        expectOut(
          plane.gate(whole),
          bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 4, rest: pointer }).payload(whole),
        );
      });
    }

    for (const next of [PROTO.hopByHop, PROTO.routing, PROTO.destination]) {
      it(`X7915-5.1.1-c: a fragment header before extension header ${next}: refused`, () => {
        const packet = udp(from().fragment({ id: 7, nextHeader: next }).destinationOptions());
        expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'))).to.deep.equal({
          extension_headers: 1,
        });
      });
    }
  });

  describe('protocols', () => {
    for (const number of [PROTO.sctp, PROTO.esp, PROTO.ah, 47, PROTO.none, 135, 139, 140, 2, 33, 136]) {
      it(`N6146-3.4-n: X7915-4.5-c: N6146-5.1-a: protocol ${number}: Port Unreachable, no session`, () => {
        const before = plane.state();
        const packet = from({ nextHeader: number }).payload('0123456789abcdef');
        const drops = plane.dropsOf(() =>
          expectOut(
            plane.gate(packet),
            bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 1, code: 4 }).payload(packet),
          ),
        );
        expect(drops).to.deep.equal({ protocol: 1 });
        expect(plane.state()).to.deep.equal(before);
      });
    }

    it('N6146-5.1-a: ESP in UDP is UDP', () => {
      const packet = (p: Packet) => p.udp({ sport: 40500, dport: 4500 }).payload('\0\0\0\0esp');
      expectOut(plane.gate(packet(from())), packet(out()), { anyId: true });
    });

    it('K6877-6-a: a CLAT is a client like any other', () => {
      withPlane({}, (other) => {
        expectOut(other.gate(udp(from({ src: '2001:db8:1:464::192.0.0.1' }))), udp(out()), { anyId: true });
      });
    });

    it('N6146-3.4-n: ICMPv4 in IPv6 is no ICMP', () => {
      expect(
        plane.dropsOf(() => plane.gate(from({ nextHeader: PROTO.icmp }).icmp4({ type: 8 }).payload('x'))),
      ).to.deep.equal({ protocol: 1 });
    });
  });

  describe('sources and destinations', () => {
    for (const src of ['::', '::1', 'ff02::1', 'ff05::2', 'fe80::1', 'febf::1', '::ffff:192.0.2.1']) {
      it(`X7915-5.1-h: X7915-1.2-c: the source ${src} is refused without a word`, () => {
        const before = plane.state();
        for (const packet of [
          udp(from({ src })),
          from({ src }).echo6(9),
          udp(from({ src, hopLimit: 1 })),
          from({ src, nextHeader: PROTO.sctp }).payload('12345678'),
        ]) {
          expect(plane.gate(packet).action, hex(packet.l3())).to.equal('drop');
        }
        expect(plane.state()).to.deep.equal(before);
      });
    }

    it('N6146-3.5-b: a source under the prefix is refused without a word, whatever the packet is', () => {
      const src = '64:ff9b:1:fffe::192.0.2.1';
      const before = plane.state();
      const error = from({ src }).icmp6({ type: 1, code: 4 });
      for (const packet of [
        udp(from({ src })),
        from({ src }).tcp({ sport: 1, dport: 2, flags: TCP.syn }),
        from({ src }).echo6(1),
        error.payload(udp(bare().ip6({ src: SERVER6, dst: POD }))),
        udp(from({ src, hopLimit: 1 })),
        from({ src, nextHeader: PROTO.sctp }).payload('12345678'),
        udp(from({ src }).routing(1)),
      ]) {
        expect(plane.gate(packet).action, hex(packet.l3())).to.equal('drop');
      }
      expect(plane.state()).to.deep.equal(before);
    });

    it('N6146-3.5-c: L8215-5-b: what is not for the prefix is left alone', () => {
      for (const dst of ['2001:db8::1', '64:ff9b:1:ffff::198.51.100.7', '64:ff9b::198.51.100.7', 'ff02::1']) {
        const packet = udp(from({ dst })).build();
        const outcome = plane.gate(packet);
        expect(outcome.action).to.equal('pass');
        expect(hex(outcome.frame)).to.equal(hex(packet));
      }
      const solicitation = eth().ip6({ src: 'fe80::1', dst: 'ff02::1:ff00:1', hopLimit: 255 }).icmp6({ type: 135 });
      expect(plane.gate(solicitation.payload(new Uint8Array(16))).action, 'neighbour discovery').to.equal('pass');
    });
  });

  describe('sizes with a smaller IPv4 link', () => {
    for (const [mtu4, length, mtu] of [
      [1400, 1500, 1420],
      [1200, 1300, 1280],
    ] as const) {
      it(`X7915-5.1.1-e: X7915-1.4-a: C5508-10-a: ${length} bytes to an MTU of ${mtu4}: Packet Too Big with ${mtu}`, () => {
        withPlane({ uplinkMtu: mtu4 }, (direct) => {
          const packet = udp(from(), 'x'.repeat(length - 48));
          const quoted = packet.l3().slice(0, 1280 - 48);
          expectOut(
            direct.gate(packet),
            bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 2, rest: mtu }).payload(quoted),
          );
          const fits = udp(from(), 'x'.repeat(mtu - 48));
          expectSound(direct.gate(fits));
        });
      });
    }
  });

  it('N6146-3.7-b: a GSO packet is counted and judged by its segments', () => {
    withPlane({ uplinkMtu: 1500 }, (direct) => {
      const big = from().tcp({ sport: 40100, dport: 80, flags: TCP.syn }).payload('x'.repeat(2880));
      const outcome = direct.gate(big, { gsoSize: 1440, gsoSegs: 2 });
      expect(outcome.action).to.equal('redirect');
      expect(parseIp(outcome.l3)).to.include({ df: true, length: 20 + 20 + 2880 });
      expect(direct.datapath.sessions()[0]).to.include({ packetsOut: 2 });
      const tooBig = direct.gate(big, { gsoSize: 1461, gsoSegs: 2 });
      expect(hex(tooBig.l3.slice(40, 48)), 'Packet Too Big').to.match(/^0200.{4}000005f0$/);
    });
  });

  it('BIG TCP: a packet that is cut into segments later may have no length, and then ends where its bytes do', () => {
    withPlane({}, (other) => {
      const segments = (p: Packet) => p.tcp({ sport: 40100, dport: 80, flags: TCP.syn }).payload('x'.repeat(2880));
      const outcome = other.gate(segments(from({ payloadLength: 0 })), { gsoSize: 1440, gsoSegs: 2 });
      expect(outcome.action).to.equal('redirect');
      expect(parseIp(outcome.l3)).to.include({ length: 20 + 20 + 2880 });
      expect(other.dropsOf(() => other.gate(segments(from({ payloadLength: 0 }))))).to.deep.equal({ malformed: 1 });
    });
  });

  it('X7915-5.1-c: payload length beyond the frame, none at all, a header cut short', () => {
    for (const packet of [
      udp(from({ payloadLength: 13 })),
      udp(from({ payloadLength: 7 })),
      udp(from({ payloadLength: 0 })),
      from().tcp({ sport: 1, dport: 2, flags: TCP.syn }).build().slice(0, -1),
    ]) {
      const drops = plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'));
      expect(drops).to.deep.equal({ malformed: 1 });
    }
  });
});
