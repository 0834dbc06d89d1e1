// SPDX-License-Identifier: Apache-2.0
// RFC 7915 §4.2, §4.3, RFC 5508: ICMPv4 to ICMPv6, errors with what they quote.

import { expect } from 'chai';
import { destinationRules } from '../../src/addr/destinations.ts';
import { formatIp6, parseIp4Net } from '../../src/addr/ip.ts';
import { parsePrefix64 } from '../../src/addr/rfc6052.ts';
import type { TestPrograms } from '../helpers/programs.ts';
import { bare, eth, fromHex, hex, PROTO, TCP, type Ip4Fields, type Ip6Fields, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, NODE, Plane, POD, POOL, PREFIX, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;
const ROUTER = '198.51.100.1';
const ROUTER6 = `${PREFIX}${ROUTER}`;
/** What the pod sent, as IPv4 and as IPv6. */
const quoted4 = (fields: Partial<Ip4Fields> = {}) => bare().ip4({ src: POOL, dst: SERVER, ttl: 17, ...fields });
const quoted6 = (fields: Partial<Ip6Fields> = {}) => bare().ip6({ src: POD, dst: SERVER6, hopLimit: 17, ...fields });
const error = (type: number, code = 0, rest = 0, fields: Partial<Ip4Fields> = {}) =>
  eth()
    .ip4({ src: ROUTER, dst: POOL, ...fields })
    .icmp4({ type, code, rest });
const becomes = (type: number, code = 0, rest = 0, fields: Partial<Ip6Fields> = {}) =>
  bare()
    .ip6({ src: ROUTER6, dst: POD, hopLimit: 63, ...fields })
    .icmp6({ type, code, rest });

/** Port of the pod and of the pool are the same here; quotes.test.ts has those that differ. */
const quotes: readonly [string, (packet: Packet, v6: boolean) => Packet][] = [
  ['UDP', (p) => p.udp({ sport: PORT, dport: 53 }).payload('a question')],
  ['TCP', (p) => p.tcp({ sport: PORT, dport: 80, flags: TCP.syn, seq: 7 })],
  ['an echo request', (p, v6) => (v6 ? p.echo6(PORT, 3) : p.echo4(PORT, 3)).payload('ping')],
];
const dns = (p: Packet) => p.udp({ sport: PORT, dport: 53 }).payload('a question');

function openSessions(plane: Plane): void {
  const pod = eth().ip6({ src: POD, dst: SERVER6 });
  expectSound(plane.gate(pod.udp({ sport: PORT, dport: 53 })));
  expectSound(plane.gate(pod.tcp({ sport: PORT, dport: 80, flags: TCP.syn })));
  expectSound(plane.gate(pod.echo6(PORT)));
}

describe('ICMPv4 to ICMPv6', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane();
    openSessions(plane);
  });
  after(() => plane[Symbol.dispose]());

  it('X7915-4.2-b: N6146-3.5.3-d: N6146-3.7-c: echo reply and request, sequence number kept', () => {
    const from = eth().ip4({ src: SERVER, dst: POOL });
    const out = bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63 });
    for (const reply of [true, false]) {
      expectOut(
        plane.gate(from.echo4(PORT, 0xfffe, reply).payload('ping')),
        out.echo6(PORT, 0xfffe, reply).payload('ping'),
      );
    }
  });

  it('X7915-4.2-c: X7915-4.2-l: N6146-3.5.3-i: C5508-11-a: C5508-10-b: no other of the 256 types passes or leaves a trace', () => {
    const before = plane.state();
    for (let type = 0; type < 256; type++) {
      if ([0, 3, 8, 11, 12].includes(type)) continue;
      for (const content of [dns(quoted4()).l3(), fromHex('0000000000000000')]) {
        const packet = error(type, 0, PORT << 16).payload(content);
        expect(
          plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop')),
          `type ${type}`,
        ).to.deep.equal({ icmp_type: 1 });
      }
    }
    expect(plane.state()).to.deep.equal(before);
  });

  describe('every code of Destination Unreachable', () => {
    const codes: Record<number, [type: number, code: number, rest?: number] | undefined> = { 3: [1, 4], 2: [4, 1, 6] };
    for (const code of [0, 1, 5, 6, 7, 8, 11, 12]) codes[code] = [1, 0];
    for (const code of [9, 10, 13, 15]) codes[code] = [1, 1];

    it('C5508-4-c: X7915-4.2-e: X7915-4.2-f: X7915-4.2-g: X7915-4.2-j: X7915-4.2-k: X7915-4.2-a: T5382-9-a: U4787-12-b: all 256', () => {
      for (let code = 0; code < 256; code++) {
        // Fragmentation Needed has a table of its own.
        if (code === 4) continue;
        const packet = error(3, code).payload(dns(quoted4()));
        const wanted = codes[code];
        if (wanted) expectOut(plane.gate(packet), becomes(...wanted).payload(dns(quoted6())));
        else {
          expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'))).to.deep.equal({
            icmp_type: 1,
          });
        }
      }
    });
  });

  it('X7915-4.2-m: Time Exceeded keeps its code', () => {
    for (const code of [0, 1]) {
      expectOut(plane.gate(error(11, code).payload(dns(quoted4()))), becomes(3, code).payload(dns(quoted6())));
    }
  });

  it('X7915-4.2-n: X7915-4.2-o: Parameter Problem: all 256 pointers, codes 0 and 2 alone', () => {
    const pointers: Record<number, number> = { 0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6 };
    for (let i = 12; i < 16; i++) pointers[i] = 8;
    for (let i = 16; i < 20; i++) pointers[i] = 24;
    for (const code of [0, 1, 2, 3, 255]) {
      for (let pointer = 0; pointer < 256; pointer++) {
        const packet = error(12, code, (pointer << 24) >>> 0).payload(dns(quoted4()));
        const wanted = code === 0 || code === 2 ? pointers[pointer] : undefined;
        if (wanted !== undefined) expectOut(plane.gate(packet), becomes(4, 0, wanted).payload(dns(quoted6())));
        else {
          expect(plane.gate(packet).action, `code ${code} pointer ${pointer}`).to.equal('drop');
        }
      }
    }
  });

  describe('Fragmentation Needed', () => {
    const planes = new Map<string, Plane>();
    const planeOf = (deviceMtu: number, uplinkMtu: number): Plane => {
      const key = `${deviceMtu} ${uplinkMtu}`;
      let other = planes.get(key);
      if (!other) {
        other = new Plane({ deviceMtu, uplinkMtu });
        planes.set(key, other);
        openSessions(other);
      }
      return other;
    };
    after(() => {
      for (const other of planes.values()) other[Symbol.dispose]();
    });

    for (const [fn, total, mtu6, mtu4, ptb] of [
      [1400, 1480, 1500, 1500, 1420],
      [1480, 1480, 1500, 1500, 1500],
      [1500, 1480, 1500, 1500, 1500],
      [1260, 1480, 1500, 1500, 1280],
      [1259, 1480, 1500, 1500, 1280],
      [576, 1480, 1500, 1500, 1280],
      [1400, 1480, 1390, 1500, 1390],
      [1400, 1480, 1500, 1300, 1320],
      [0, 1480, 1500, 1500, 1280],
      [0, 1500, 1500, 1500, 1500],
      [0, 4000, 9000, 9000, 2022],
      [0, 9000, 9000, 9000, 8186],
      [0, 576, 1500, 1500, 1280],
      [0, 60000, 65000, 65000, 32020],
    ] as const) {
      it(`X7915-4.2-h: X7915-4.2-i: MTU ${fn} about ${total} bytes, links of ${mtu6} and ${mtu4}: MTU ${ptb}`, () => {
        const other = planeOf(mtu6, mtu4);
        const udp = (p: Packet) => p.udp({ sport: PORT, dport: 53, length: total - 20, checksum: 0x1234 });
        const outcome = other.gate(error(3, 4, fn).payload(udp(quoted4({ totalLength: total, df: true }))));
        expect(outcome.action).to.equal('redirect');
        expect(new DataView(outcome.l3.buffer).getUint32(44)).to.equal(ptb);
        expect(hex(outcome.l3.slice(40, 42))).to.equal('0200');
      });
    }
  });

  describe('what is quoted', () => {
    for (const [what, content] of quotes) {
      it(`X7915-4.3-a: N6146-3.4-c: N6146-3.4-f: N6146-3.7-d: C5508-4-b: ${what}, whole: its checksum holds again`, () => {
        expectOut(
          plane.gate(error(3, 1).payload(content(quoted4(), false))),
          becomes(1).payload(content(quoted6(), true)),
        );
      });

      it(`X7915-4.3-a: N6146-3.4-d: ${what}, cut anywhere from 8 bytes on`, () => {
        const four = content(quoted4(), false).l3();
        const six = content(quoted6(), true).l3();
        for (let l4 = 0; l4 <= four.length - 20; l4++) {
          // Half of TCP's checksum cannot be kept right, and nobody reads it.
          if (l4 === 17) continue;
          const packet = error(11).payload(four.slice(0, 20 + l4));
          if (l4 >= 8) expectOut(plane.gate(packet), becomes(3).payload(six.slice(0, 40 + l4)));
          else {
            expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'))).to.deep.equal({
              icmp_error_short: 1,
            });
          }
        }
      });

      it(`C5508-3-c: ${what}, behind IPv4 options outside, inside, both`, () => {
        const options = fromHex('0101010194040000');
        for (const [outer, inner] of [
          [options, undefined],
          [undefined, options],
          [options, options],
          [fromHex('01'.repeat(40)), fromHex('01'.repeat(40))],
        ]) {
          const packet = error(3, 1, 0, outer ? { options: outer } : {}).payload(
            content(quoted4(inner ? { options: inner } : {}), false),
          );
          expectOut(plane.gate(packet), becomes(1).payload(content(quoted6(), true)));
        }
      });

      it(`C5508-3-d: ${what} with a transport checksum that is wrong stays wrong by as much`, () => {
        const four = content(quoted4(), false).l3();
        const six = content(quoted6(), true).l3();
        // The last byte of the payload or of the header.
        four[four.length - 1] = (four[four.length - 1] as number) ^ 0x5a;
        six[six.length - 1] = (six[six.length - 1] as number) ^ 0x5a;
        expectOut(plane.gate(error(3, 1).payload(four)), becomes(1).payload(six));
      });
    }

    for (const ttl of [0, 1, 255]) {
      it(`X7915-4.3-a: its TTL ${ttl} stays as it was`, () => {
        expectOut(
          plane.gate(error(11).payload(dns(quoted4({ ttl, tos: 0xb8 })))),
          becomes(3).payload(dns(quoted6({ hopLimit: ttl, trafficClass: 0xb8 }))),
        );
      });
    }

    it('X7915-4.3-a: UDP without a checksum stays without', () => {
      const none = (p: Packet) => p.udp({ sport: PORT, dport: 53, checksum: 0 }).payload('x');
      expectOut(plane.gate(error(3, 3).payload(none(quoted4()))), becomes(1, 4).payload(none(quoted6())));
    });

    it('X7915-4.3-b: X7915-4.3-a: the whole is cut to 1280 bytes', () => {
      const long = (p: Packet) => p.udp({ sport: PORT, dport: 53 }).payload('y'.repeat(1300));
      const outcome = plane.gate(error(3, 1).payload(long(quoted4())));
      expectOut(outcome, becomes(1).payload(long(quoted6()).l3().slice(0, 1232)));
      expect(outcome.l3.length).to.equal(1280);
    });

    it('X7915-4.3-b: outer class of service and hop limit are the error’s own', () => {
      expectOut(
        plane.gate(error(3, 1, 0, { tos: 0xc0, ttl: 2 }).payload(dns(quoted4()))),
        becomes(1, 0, 0, { trafficClass: 0xc0, hopLimit: 1 }).payload(dns(quoted6())),
      );
    });

    it('X7915-4.3-a: of a first fragment: a Fragment Header with its identification', () => {
      const first = quoted4({ id: 0xbeef, mf: true, totalLength: 20 + 1480 });
      const udp = (p: Packet) =>
        p.udp({ sport: PORT, dport: 53, length: 3008, checksum: 0x1234 }).payload('a question');
      const outcome = plane.gate(error(11, 1).payload(udp(first)));
      const quote = quoted6({ payloadLength: 1488 }).fragment({ id: 0xbeef, more: true });
      const wanted = becomes(3, 1).payload(udp(quote)).l3();
      // The checksum of the quoted datagram follows its addresses.
      wanted.set(outcome.l3.slice(102, 104), 102);
      wanted.set(outcome.l3.slice(42, 44), 42);
      expect(hex(outcome.l3)).to.equal(hex(wanted));
      expectSound(outcome);
    });
  });

  describe('RFC 4884: extensions behind the quote', () => {
    /** An MPLS label stack, or as many bytes. */
    const mpls = fromHex('2000dead000801010001f140');
    const many = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 7 + 1);
    const padded = (bytes: Uint8Array, size: number) => Uint8Array.from({ length: size }, (_, i) => bytes[i] ?? 0);
    const long = (p: Packet) => p.udp({ sport: PORT, dport: 53 }).payload('y'.repeat(1100));
    const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

    for (const [quote4, quote6, extensions, why] of [
      [128, 152, mpls, 'padded to 64 bits'],
      [132, 152, mpls, 'of a size that stays one of 64 bits'],
      [64, 128, mpls, 'shorter than RFC 4884 lets it be'],
      [1020, 1040, many(192), 'as long as an error may be'],
      [1020, 1032, many(196), 'cut for them by a word'],
      [512, 136, many(1096), 'cut for them'],
      [128, 128, many(1104), 'cut to the least'],
    ] as const) {
      it(`X7915-4.2-p: C5508-3-e: ${extensions.length} bytes go on unchanged, a quote of ${quote4} is ${quote6}: ${why}`, () => {
        const content = quote4 < 512 ? dns : long;
        const four = padded(content(quoted4()).l3(), quote4);
        const six = padded(padded(content(quoted6()).l3(), quote4 + 20), quote6);
        for (const [type, code, type6] of [
          [11, 0, 3],
          [3, 1, 1],
        ] as const) {
          const outcome = plane.gate(error(type, code, (quote4 / 4) << 16).payload(join(four, extensions)));
          expectOut(outcome, becomes(type6, 0, ((quote6 / 8) << 24) >>> 0).payload(join(six, extensions)));
          expect(outcome.l3.length).to.be.at.most(1280);
        }
      });
    }

    it('X7915-4.2-p: what has no room behind the shortest quote is left out whole, with the length', () => {
      const four = padded(long(quoted4()).l3(), 128);
      const six = padded(long(quoted6()).l3(), 148);
      expectOut(plane.gate(error(11, 0, 32 << 16).payload(join(four, many(1105)))), becomes(3).payload(six));
    });

    it('X7915-4.2-p: left out where ICMPv6 has no length: Packet Too Big, Parameter Problem', () => {
      const four = join(padded(dns(quoted4()).l3(), 128), mpls);
      const six = padded(dns(quoted6()).l3(), 148);
      expectOut(plane.gate(error(3, 4, (32 << 16) | 1400).payload(four)), becomes(2, 0, 1420).payload(six));
      expectOut(plane.gate(error(3, 2, 32 << 16).payload(four)), becomes(4, 1, 6).payload(six));
      expectOut(plane.gate(error(12, 0, 32 << 16).payload(four)), becomes(4).payload(six));
    });

    it('X7915-4.2-p: a length that names nothing behind the quote, or more than there is', () => {
      const four = padded(dns(quoted4()).l3(), 128);
      const six = padded(dns(quoted6()).l3(), 148);
      for (const words of [0, 32, 33, 255]) {
        expectOut(plane.gate(error(11, 0, words << 16).payload(four)), becomes(3).payload(six));
      }
    });
  });

  describe('refused without a word', () => {
    const refused = (packet: Packet | Uint8Array, reason: string) => {
      const before = plane.state();
      const drops = plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'));
      expect(drops).to.deep.equal({ [reason]: 1 });
      expect(plane.state()).to.deep.equal(before);
    };

    it('C5508-3-a: a wrong outer checksum is not repaired', () => {
      const good = error(3, 1).payload(dns(quoted4())).build();
      for (const at of [36, 38, 60, good.length - 1]) {
        const bad = good.slice();
        bad[at] = (bad[at] as number) ^ 1;
        const drops = plane.dropsOf(() => expect(plane.gate(bad).action).to.equal('drop'));
        expect(Object.values(drops), `byte ${at}`).to.deep.equal([1]);
      }
      refused(
        error(3, 1)
          .payload(dns(quoted4()))
          .build()
          .map((b, i) => (i === 36 ? b ^ 0x10 : b)),
        'icmp_error_checksum',
      );
    });

    it('C5508-3-b: a wrong checksum of the quoted header, with options too', () => {
      refused(error(3, 1).payload(dns(quoted4({ checksum: 0x1234 }))), 'icmp_error_checksum');
      refused(error(3, 1).payload(dns(quoted4({ checksum: 1, options: fromHex('01010101') }))), 'icmp_error_checksum');
    });

    it('N6146-3.6.1-d: C5508-4-a: about what has no binding', () => {
      const other = (p: Packet) => p.udp({ sport: 40999, dport: 53 }).payload('x');
      refused(error(3, 1).payload(other(quoted4())), 'icmp_error_unknown');
      refused(error(3, 1).payload(quoted4().echo4(40999)), 'icmp_error_unknown');
      refused(error(3, 1).payload(dns(quoted4({ src: '203.0.113.77' }))), 'icmp_error_unknown');
    });

    it('N6146-3.4-e: X7915-4.3-c: X7915-4.4-a: about an ICMP error', () => {
      for (const type of [3, 11, 12, 5, 13]) {
        refused(error(3, 1).payload(quoted4().icmp4({ type }).payload(dns(quoted4()))), 'icmp_error_nested');
      }
    });

    it('N6146-3.4-d: about a later fragment, which has no ports', () => {
      refused(error(11, 1).payload(dns(quoted4({ offset: 10 }))), 'icmp_error_short');
    });

    it('X7915-4.3-a: about another protocol, or what is no IPv4', () => {
      refused(error(3, 2).payload(quoted4({ protocol: PROTO.sctp }).payload('12345678')), 'protocol');
      refused(error(3, 1).payload(dns(quoted6())), 'malformed');
      refused(error(3, 1).payload('1234'), 'icmp_error_short');
    });

    it('X7915-1.2-b: an error in fragments', () => {
      refused(error(3, 1, 0, { mf: true }).payload(dns(quoted4())), 'fragment_icmp');
    });

    it('H1812-4.3.2.7-a: an error that expires here', () => {
      refused(error(3, 1, 0, { ttl: 1 }).payload(dns(quoted4())), 'hop_limit');
    });
  });

  it('N6146-3.5-a: C5508-6-a: T5382-10-a: U4787-12-a: errors change nothing, however many', () => {
    const before = plane.state();
    for (let i = 0; i < 50; i++) {
      for (const [type, code] of [
        [3, 0],
        [3, 3],
        [3, 13],
        [11, 0],
      ] as const) {
        for (const [, content] of quotes) expectSound(plane.gate(error(type, code).payload(content(quoted4(), false))));
      }
    }
    expect(plane.state()).to.deep.equal(before);
  });

  it('C5508-4-b: about a session that has gone while its binding lives', () => {
    const elsewhere = (p: Packet) => p.udp({ sport: PORT, dport: 999 }).payload('x');
    expectOut(
      plane.gate(error(3, 1).payload(elsewhere(quoted4({ dst: '192.0.2.77' })))),
      becomes(1).payload(elsewhere(quoted6({ dst: `${PREFIX}192.0.2.77` }))),
    );
  });

  it('C5508-4-b: about a session that has gone: under a prefix that is still configured', () => {
    withPlane({ emptyPlace: true }, (other) => {
      openSessions(other);
      const elsewhere = (p: Packet) => p.udp({ sport: PORT, dport: 999 }).payload('x');
      expectOut(other.gate(error(3, 1).payload(elsewhere(quoted4()))), becomes(1).payload(elsewhere(quoted6())));
    });
  });

  for (const [router, why] of [
    ['127.0.0.1', 'no source at all'],
    ['0.0.0.0', 'no source at all'],
    ['224.0.0.1', 'multicast'],
  ] as const) {
    it(`X7915-4.1-h: an error from ${router} (${why}) seems to come from the translator`, () => {
      const packet = error(3, 1, 0, { src: router }).payload(dns(quoted4()));
      expectOut(plane.gate(packet), becomes(1, 0, 0, { src: NODE }).payload(dns(quoted6())));
    });
  }

  describe('X7915-4.1-h: a router that the well-known prefix may not show (RFC 6052 3.1)', () => {
    const nothing = { deny: [], nodeAddresses: [], nodeNets: [], pool: [] };
    const rules = destinationRules({ ...nothing, allowNonGlobalIpv4: [parseIp4Net(`${SERVER}/32`)] });
    const from = (router: string, config: Partial<TestPrograms>): string => {
      const options = { prefixes: ['64:ff9b::/96'], config };
      return withPlane(options, (other) => {
        other.datapath.setDestinations(rules);
        other.gate(dns(eth().ip6({ src: POD, dst: `64:ff9b::${SERVER}` })));
        const outcome = other.gate(error(11, 0, 0, { src: router }).payload(dns(quoted4())));
        expectSound(outcome);
        return formatIp6(outcome.l3.slice(8, 24));
      });
    };

    it('is shown as the translator, never as the destination', () => {
      for (const router of ['10.1.2.3', '172.16.0.1', '192.168.1.1', '100.64.0.1']) {
        expect(from(router, {}), router).to.equal(NODE);
      }
      expect(from('9.9.9.9', {})).to.equal('64:ff9b::909:909');
    });

    it('or under nat64.errorSources, by its own address', () => {
      const errorSources = parsePrefix64('2001:db8:ee::/96');
      expect(from('10.1.2.3', { errorSources })).to.equal('2001:db8:ee::a01:203');
      expect(from('9.9.9.9', { errorSources })).to.equal('64:ff9b::909:909');
    });
  });
});
