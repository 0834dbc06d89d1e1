// SPDX-License-Identifier: Apache-2.0
// RFC 7915 §5.2, §5.3, RFC 5508: ICMPv6 to ICMPv4, errors with what they quote.

import { expect } from 'chai';
import { bare, eth, fromHex, hex, PROTO, TCP, type Ip4Fields, type Ip6Fields, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, Plane, POD, POOL, PREFIX, SERVER, SERVER6 } from './plane.ts';

const PORT = 40001;
/** A router of the cluster, whose address has no IPv4 form. */
const ROUTER = '2001:db8:9::1';
/** What the pod received, as IPv6 and as IPv4. */
const quoted6 = (fields: Partial<Ip6Fields> = {}) => bare().ip6({ src: SERVER6, dst: POD, hopLimit: 9, ...fields });
const quoted4 = (fields: Partial<Ip4Fields> = {}) => bare().ip4({ src: SERVER, dst: POOL, ttl: 9, ...fields });
const error = (type: number, code = 0, rest = 0, fields: Partial<Ip6Fields> = {}) =>
  eth()
    .ip6({ src: ROUTER, dst: SERVER6, ...fields })
    .icmp6({ type, code, rest });
/** C-03: the pool address that the server talked to. */
const becomes = (type: number, code = 0, rest = 0, fields: Partial<Ip4Fields> = {}) =>
  bare()
    .ip4({ src: POOL, dst: SERVER, ttl: 63, ...fields })
    .icmp4({ type, code, rest });

const quotes: readonly [string, (packet: Packet, v6: boolean) => Packet][] = [
  ['UDP', (p) => p.udp({ sport: 53, dport: PORT }).payload('an answer')],
  ['TCP', (p) => p.tcp({ sport: 80, dport: PORT, flags: TCP.syn | TCP.ack, seq: 7 })],
  ['an echo reply', (p, v6) => (v6 ? p.echo6(PORT, 3, true) : p.echo4(PORT, 3, true)).payload('ping')],
];
const dns = (p: Packet) => p.udp({ sport: 53, dport: PORT }).payload('an answer');

function openSessions(plane: Plane): void {
  const pod = eth().ip6({ src: POD, dst: SERVER6 });
  expectSound(plane.gate(pod.udp({ sport: PORT, dport: 53 })));
  expectSound(plane.gate(pod.tcp({ sport: PORT, dport: 80, flags: TCP.syn })));
  expectSound(plane.gate(pod.echo6(PORT)));
}

describe('ICMPv6 to ICMPv4', () => {
  let plane: Plane;
  const expectError = (packet: Packet | Uint8Array, expected: Packet) =>
    expectOut(plane.gate(packet), expected, { anyId: true });

  before(() => {
    plane = new Plane();
    openSessions(plane);
  });
  after(() => plane[Symbol.dispose]());

  it('X7915-5.2-b: X7915-5.2-a: echo request and reply, sequence number kept', () => {
    const from = eth().ip6({ src: POD, dst: SERVER6 });
    const out = bare().ip4({ src: POOL, dst: SERVER, ttl: 63 });
    for (const reply of [false, true]) {
      expectError(from.echo6(PORT, 0xfffe, reply).payload('ping'), out.echo4(PORT, 0xfffe, reply).payload('ping'));
    }
  });

  it('X7915-5.2-c: X7915-5.2-l: N6146-3.5.3-i: none of the other types passes or leaves a trace', () => {
    const before = plane.state();
    for (let type = 0; type < 256; type++) {
      if ([1, 2, 3, 4, 128, 129].includes(type)) continue;
      const packet = error(type, 0, PORT << 16, { src: POD }).payload(dns(quoted6()));
      expect(
        plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop')),
        `type ${type}`,
      ).to.deep.equal({ icmp_type: 1 });
    }
    expect(plane.state()).to.deep.equal(before);
  });

  it('X7915-5.2-d: X7915-5.2-e: X7915-5.2-f: X7915-5.2-g: all 256 codes of Destination Unreachable', () => {
    const codes: Record<number, number> = { 0: 1, 1: 10, 2: 1, 3: 1, 4: 3 };
    for (let code = 0; code < 256; code++) {
      const packet = error(1, code).payload(dns(quoted6()));
      const wanted = codes[code];
      if (wanted !== undefined) expectError(packet, becomes(3, wanted).payload(dns(quoted4())));
      else expect(plane.gate(packet).action, `code ${code}`).to.equal('drop');
    }
  });

  it('X7915-5.2-i: Time Exceeded keeps its code', () => {
    for (const code of [0, 1])
      expectError(error(3, code).payload(dns(quoted6())), becomes(11, code).payload(dns(quoted4())));
  });

  it('X7915-5.2-j: X7915-5.2-k: X7915-5.2-l: Parameter Problem: pointers and codes', () => {
    const pointers: Record<number, number> = { 0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8 };
    for (let i = 8; i < 24; i++) pointers[i] = 12;
    for (let i = 24; i < 40; i++) pointers[i] = 16;
    for (const pointer of [...Array.from({ length: 65 }, (_, i) => i), 255, 256, 260, 65536, 0xffffffff]) {
      const packet = error(4, 0, pointer).payload(dns(quoted6()));
      const wanted = pointers[pointer];
      if (wanted !== undefined) expectError(packet, becomes(12, 0, (wanted << 24) >>> 0).payload(dns(quoted4())));
      else expect(plane.gate(packet).action, `pointer ${pointer}`).to.equal('drop');
    }
    expectError(error(4, 1, 6).payload(dns(quoted6())), becomes(3, 2).payload(dns(quoted4())));
    for (const code of [2, 3, 255]) expect(plane.gate(error(4, code).payload(dns(quoted6()))).action).to.equal('drop');
  });

  describe('Packet Too Big', () => {
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

    for (const [ptb, mtu4, mtu6, fn, fragment] of [
      [1500, 1500, 1500, 1480],
      [1420, 1500, 1500, 1400],
      [1280, 1500, 1500, 1260],
      [1280, 1500, 1500, 1252, true],
      [9000, 1500, 9000, 1500],
      [1400, 1500, 1400, 1380],
      [0xffffffff, 1500, 9000, 1500],
      [1279, 1500, 1500, undefined],
      [0, 1500, 1500, undefined],
    ] as const) {
      it(`X7915-5.2-h: H8201-4-a: ${ptb}${fragment ? ' about a fragment' : ''}, links of ${mtu4} and ${mtu6}: ${fn ?? 'dropped'}`, () => {
        const other = planeOf(mtu6, mtu4);
        const quote = fragment ? quoted6().fragment({ id: 77, more: true }) : quoted6();
        const outcome = other.gate(error(2, 0, ptb).payload(dns(quote)));
        expect(outcome.action).to.equal(fn === undefined ? 'drop' : 'redirect');
        if (fn === undefined) return;
        expect(hex(outcome.l3.slice(20, 22))).to.equal('0304');
        expect(new DataView(outcome.l3.buffer).getUint32(24)).to.equal(fn);
      });
    }
  });

  describe('what is quoted', () => {
    for (const [what, content] of quotes) {
      it(`X7915-5.3-a: N6146-3.4-c: N6146-3.4-f: C5508-5-b: V6791-3.2-a: V6791-3.1-a: ${what}, whole: its checksum holds again`, () => {
        expectError(error(1, 3).payload(content(quoted6(), true)), becomes(3, 1).payload(content(quoted4(), false)));
        expectError(
          error(1, 4, 0, { src: POD }).payload(content(quoted6(), true)),
          becomes(3, 3).payload(content(quoted4(), false)),
        );
      });

      it(`X7915-5.3-a: N6146-3.4-d: ${what}, cut anywhere from 8 bytes on`, () => {
        const six = content(quoted6(), true).l3();
        const four = content(quoted4(), false).l3();
        for (let l4 = 0; l4 <= six.length - 40; l4++) {
          if (l4 === 17) continue;
          const packet = error(3).payload(six.slice(0, 40 + l4));
          if (l4 >= 8) expectError(packet, becomes(11).payload(four.slice(0, 20 + l4)));
          else expect(plane.gate(packet).action, `${l4} bytes`).to.equal('drop');
        }
      });

      it(`X7915-5.3-a: ${what}, behind extension headers outside, inside, both`, () => {
        const expected = becomes(3, 1).payload(content(quoted4(), false));
        const outer = eth().ip6({ src: ROUTER, dst: SERVER6 });
        expectError(outer.hopByHop().icmp6({ type: 1 }).payload(content(quoted6(), true)), expected);
        expectError(error(1).payload(content(quoted6().destinationOptions(new Uint8Array(20)), true)), expected);
        expectError(
          outer
            .hopByHop()
            .destinationOptions()
            .icmp6({ type: 1 })
            .payload(content(quoted6().hopByHop().routing(0), true)),
          expected,
        );
      });

      it(`X7915-5.3-a: ${what} with a transport checksum that is wrong stays wrong by as much`, () => {
        const six = content(quoted6(), true).l3();
        const four = content(quoted4(), false).l3();
        six[six.length - 1] = (six[six.length - 1] as number) ^ 0x5a;
        four[four.length - 1] = (four[four.length - 1] as number) ^ 0x5a;
        expectError(error(1).payload(six), becomes(3, 1).payload(four));
      });
    }

    for (const hopLimit of [0, 1, 255]) {
      it(`X7915-5.3-a: its hop limit ${hopLimit} stays as it was`, () => {
        expectError(
          error(3).payload(dns(quoted6({ hopLimit, trafficClass: 0xb8 }))),
          becomes(11).payload(dns(quoted4({ ttl: hopLimit, tos: 0xb8 }))),
        );
      });
    }

    it('X7915-5.3-b: H1812-4.3.2.3-a: the whole is cut to 576 bytes, the lengths inside stay', () => {
      const long = (p: Packet) => p.udp({ sport: 53, dport: PORT }).payload('y'.repeat(1100));
      const outcome = plane.gate(error(1).payload(long(quoted6())));
      expectOut(outcome, becomes(3, 1).payload(long(quoted4()).l3().slice(0, 548)), { anyId: true });
      expect(outcome.l3.length).to.equal(576);
    });

    it('X7915-5.3-b: class of service and hop limit are the error’s own', () => {
      expectError(
        error(1, 0, 0, { trafficClass: 0xc0, hopLimit: 2 }).payload(dns(quoted6())),
        becomes(3, 1, 0, { tos: 0xc0, ttl: 1 }).payload(dns(quoted4())),
      );
    });
  });

  describe('RFC 4884: extensions behind the quote', () => {
    const mpls = fromHex('2000dead000801010001f140');
    const many = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 7 + 1);
    const padded = (bytes: Uint8Array, size: number) => Uint8Array.from({ length: size }, (_, i) => bytes[i] ?? 0);
    const long = (p: Packet) => p.udp({ sport: 53, dport: PORT }).payload('y'.repeat(1100));
    const join = (...parts: Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

    for (const [quote6, quote4, extensions, why] of [
      [128, 128, mpls, 'padded to the least'],
      [152, 132, mpls, 'of 32 bits each'],
      [64, 128, mpls, 'shorter than RFC 4884 lets it be'],
      [552, 532, many(16), 'as long as an error may be'],
      [552, 528, many(17), 'cut for them by a word'],
      [1024, 348, many(200), 'cut for them'],
      [128, 128, many(420), 'cut to the least'],
    ] as const) {
      it(`X7915-5.2-m: ${extensions.length} bytes go on unchanged, a quote of ${quote6} is ${quote4}: ${why}`, () => {
        const content = quote6 < 512 ? dns : long;
        const six = padded(content(quoted6()).l3(), quote6);
        const four = padded(padded(content(quoted4()).l3(), quote6 - 20), quote4);
        for (const [type, code, type4, code4] of [
          [3, 0, 11, 0],
          [1, 3, 3, 1],
        ] as const) {
          const packet = error(type, code, ((quote6 / 8) << 24) >>> 0).payload(join(six, extensions));
          expectError(packet, becomes(type4, code4, (quote4 / 4) << 16).payload(join(four, extensions)));
        }
      });
    }

    it('X7915-5.2-m: what has no room behind the shortest quote is left out whole, with the length', () => {
      const six = join(padded(long(quoted6()).l3(), 128), many(421));
      expectError(error(3, 0, (16 << 24) >>> 0).payload(six), becomes(11).payload(padded(long(quoted4()).l3(), 108)));
    });

    it('X7915-5.2-m: a length that names nothing behind the quote, or more than there is', () => {
      const six = padded(dns(quoted6()).l3(), 128);
      const four = padded(dns(quoted4()).l3(), 108);
      for (const words of [0, 16, 17, 255]) {
        expectError(error(3, 0, (words << 24) >>> 0).payload(six), becomes(11).payload(four));
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
      const good = error(1).payload(dns(quoted6())).build();
      for (const at of [56, good.length - 1])
        refused(
          good.map((b, i) => (i === at ? b ^ 1 : b)),
          'icmp_error_checksum',
        );
    });

    it('N6146-3.6.1-d: C5508-5-a: about what has no binding, or came from elsewhere', () => {
      const other = (p: Packet) => p.udp({ sport: 53, dport: 40999 }).payload('x');
      refused(error(1).payload(other(quoted6())), 'icmp_error_unknown');
      refused(error(1).payload(dns(quoted6({ src: '2001:db8::5' }))), 'icmp_error_unknown');
      refused(error(1).payload(quoted6().echo6(40999)), 'icmp_error_unknown');
    });

    it('N6146-3.4-e: X7915-5.3-c: H4443-2.4-b: X7915-5.4-a: about an ICMPv6 error', () => {
      for (const type of [1, 2, 3, 4, 137]) {
        refused(error(1).payload(quoted6().icmp6({ type }).payload(dns(quoted6()))), 'icmp_error_nested');
      }
    });

    it('N6146-3.4-d: about a later fragment, another protocol, what is no IPv6, next to nothing', () => {
      refused(error(3, 1).payload(dns(quoted6().fragment({ id: 1, offset: 5 }))), 'icmp_error_short');
      refused(error(4, 1).payload(quoted6({ nextHeader: PROTO.sctp }).payload('12345678')), 'protocol');
      refused(error(1).payload(dns(quoted4())), 'icmp_error_short');
      refused(error(1).payload('1234'), 'icmp_error_short');
    });

    it('X7915-1.2-b: an error in fragments', () => {
      const packet = eth().ip6({ src: ROUTER, dst: SERVER6 }).fragment({ id: 3, more: true }).icmp6({ type: 1 });
      refused(packet.payload(dns(quoted6())), 'fragment_icmp');
    });

    it('H4443-2.4-b: an error that expires here', () => {
      refused(error(1, 0, 0, { hopLimit: 1 }).payload(dns(quoted6())), 'hop_limit');
    });
  });

  it('N6146-3.5-a: C5508-6-a: U4787-12-a: B7857-7.1-a: errors change nothing, however many', () => {
    const before = plane.state();
    for (let i = 0; i < 50; i++) {
      for (const [, content] of quotes) expectSound(plane.gate(error(1, 4).payload(content(quoted6(), true))));
    }
    expect(plane.state()).to.deep.equal(before);
  });

  it('X7915-5.2-h: the quote of a packet that arrived as a fragment has its identification again', () => {
    expectError(
      error(2, 0, 1400).payload(dns(quoted6().fragment({ id: 0xbeef, more: true }))),
      becomes(3, 4, 1372).payload(dns(quoted4({ id: 0xbeef, mf: true }))),
    );
  });

  it('C5508-5-b: about a session that has gone while its binding lives', () => {
    const elsewhere = (p: Packet) => p.udp({ sport: 999, dport: PORT }).payload('x');
    expectError(
      error(1).payload(elsewhere(quoted6({ src: `${PREFIX}192.0.2.77` }))),
      bare()
        .ip4({ src: POOL, dst: '192.0.2.77', ttl: 63 })
        .icmp4({ type: 3, code: 1 })
        .payload(elsewhere(quoted4({ src: '192.0.2.77' }))),
    );
  });
});
