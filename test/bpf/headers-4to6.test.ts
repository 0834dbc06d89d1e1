// SPDX-License-Identifier: Apache-2.0
// RFC 7915 §4.1: IPv4 headers to IPv6 headers.

import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import {
  bare,
  concat,
  eth,
  fromHex,
  hex,
  PROTO,
  TCP,
  type Ip4Fields,
  type Ip6Fields,
  type Packet,
} from '../helpers/packet.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { expectOut, expectSound, Plane, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;
const from = (fields: Partial<Ip4Fields> = {}) => eth().ip4({ src: SERVER, dst: POOL, df: true, ...fields });
const udp = (packet: Packet, text: string | Uint8Array = 'data') =>
  packet.udp({ sport: 53, dport: PORT }).payload(text);
const out = (fields: Partial<Ip6Fields> = {}) => bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63, ...fields });

/** Lets answers in: UDP, TCP and echo of one pod to the server. */
function openSessions(plane: Plane): void {
  const pod = eth().ip6({ src: POD, dst: SERVER6 });
  expectSound(plane.gate(pod.udp({ sport: PORT, dport: 53 })));
  expectSound(plane.gate(pod.tcp({ sport: PORT, dport: 80, flags: TCP.syn })));
  expectSound(plane.gate(pod.echo6(PORT)));
}

describe('headers from IPv4 to IPv6', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane({ uplink: true });
    openSessions(plane);
  });
  after(() => plane[Symbol.dispose]());

  for (const tos of [0, 0x2e, 0x2f, 0x80, 0xff]) {
    it(`X7915-4.1-d: X7915-4.1-c: type of service ${tos} becomes the traffic class, the flow label is 0`, () => {
      expectOut(plane.gate(udp(from({ tos }))), udp(out({ trafficClass: tos, flowLabel: 0 })));
    });
  }

  for (const [ttl, hopLimit] of [
    [2, 1],
    [64, 63],
    [255, 254],
  ] as const) {
    it(`X7915-4.1-g: TTL ${ttl} becomes ${hopLimit}`, () => {
      expectOut(plane.gate(udp(from({ ttl }))), udp(out({ hopLimit })));
    });
  }

  for (const ttl of [0, 1]) {
    it(`X7915-4.1-g: C5508-10-a: C5508-10-c: TTL ${ttl} ends here with Time Exceeded`, () => {
      const packet = udp(from({ ttl, tos: 0x28 }));
      const expected = bare().ip4({ src: POOL, dst: SERVER, tos: 0x28 }).icmp4({ type: 11 }).payload(packet);
      expect(plane.dropsOf(() => expectOut(plane.gate(packet), expected, { anyId: true }))).to.deep.equal({
        hop_limit: 1,
      });
    });
  }

  for (const df of [false, true]) {
    it(`X7915-4-d: X7915-4.1-k: DF=${Number(df)} adds no fragment header to a whole packet`, () => {
      expectOut(plane.gate(udp(from({ df, id: 0x1234 }))), udp(out()));
    });
  }

  it('X7915-4.1-f: N6146-3.6.1-a: each protocol has its next header', () => {
    const segment = (p: Packet) => p.tcp({ sport: 80, dport: PORT, flags: TCP.syn | TCP.ack, seq: 9, ack: 2 });
    expectOut(plane.gate(segment(from())), segment(out()));
    expectOut(plane.gate(udp(from())), udp(out()));
    expectOut(plane.gate(from().echo4(PORT, 1, true).payload('ping')), out().echo6(PORT, 1, true).payload('ping'));
  });

  for (const text of ['', 'a', '0123456789']) {
    it(`X7915-4.1-e: ${text.length} bytes in a frame padded to 60 bytes: the padding goes`, () => {
      const bytes = udp(from(), text).build();
      const padded = concat(bytes, new Uint8Array(Math.max(0, 60 - bytes.length)).fill(0xaa));
      expectOut(plane.gate(padded), udp(out(), text));
    });
  }

  describe('options', () => {
    const options: readonly [string, string][] = [
      ['router alert', '94040000'],
      ['timestamp', '440c0900000000000000000001010100'.slice(0, 24)],
      ['no operation', '01010101'],
      ['record route', '0707040000000000'],
      ['an end of list and rubbish', '00ffffff'],
      ['40 bytes', '01'.repeat(40)],
      ['one that claims too much', '99ff0000'],
      ['one of length 0', '99000000'],
    ];
    for (const [what, text] of options) {
      it(`X7915-4.1-i: X7915-1.2-a: ${what}: ignored`, () => {
        expectOut(plane.gate(udp(from({ options: fromHex(text) }))), udp(out()));
        expectOut(plane.gate(from({ options: fromHex(text) }).echo4(PORT, 2, true)), out().echo6(PORT, 2, true));
      });
    }

    for (const [what, text, translated] of [
      ['loose, not ended', '8307040000000000', false],
      ['strict, not ended', '8907040000000000', false],
      ['loose, after no operation, at its last hop', '01830704c0000201', false],
      ['loose, ended', '8307080000000000', true],
      ['strict, ended', '8907080000000000', true],
    ] as const) {
      it(`X7915-4.1-j: C5508-7.3-a: source route, ${what}: ${translated ? 'ignored' : 'Source Route Failed'}`, () => {
        const packet = udp(from({ options: fromHex(text) }));
        if (translated) expectOut(plane.gate(packet), udp(out()));
        else {
          expectOut(
            plane.gate(packet),
            bare().ip4({ src: POOL, dst: SERVER }).icmp4({ type: 3, code: 5 }).payload(packet),
            { anyId: true },
          );
        }
      });
    }
  });

  describe('what is not for us', () => {
    it('N6146-3.5-d: another destination is left alone', () => {
      const packet = udp(from({ dst: '203.0.113.6' })).build();
      const outcome = plane.gate(packet);
      expect(outcome.action).to.equal('pass');
      expect(hex(outcome.frame)).to.equal(hex(packet));
      expect(plane.uplink(packet).action).to.equal('pass');
    });

    for (const number of [PROTO.igmp, PROTO.sctp, PROTO.esp, 47, PROTO.icmp6, PROTO.none]) {
      it(`N6146-3.4-o: X7915-4.2-d: protocol ${number} to the pool is dropped`, () => {
        const packet = from({ protocol: number }).payload('0123456789abcdef');
        expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'))).to.deep.equal({ protocol: 1 });
      });
    }

    it('N6146-3.5.1-d: N6146-3.5.2.2-07: N6146-3.5.3-f: no binding: dropped without a word', () => {
      const before = plane.state();
      for (const [packet, action] of [
        [from().udp({ sport: 53, dport: 40700 }), 'drop'],
        [from().tcp({ sport: 80, dport: 40700 }), 'drop'],
        // It waits to be answered in tcpIncomingSyn (test/bpf/syns.test.ts).
        [from().tcp({ sport: 80, dport: 40700, flags: TCP.syn }), 'handed'],
        [from().echo4(40700), 'drop'],
        [from().echo4(40700, 1, true), 'drop'],
        [from({ ttl: 1 }).udp({ sport: 53, dport: 40700 }), 'drop'],
      ] as const) {
        expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal(action))).to.deep.equal({
          no_binding: 1,
        });
      }
      expect(plane.state()).to.deep.equal(before);
    });

    it('N6146-3.5.1-d: on an address that the node uses too, what has no binding passes untouched', () => {
      const pool = [{ v4: parseIp4(POOL), slot: 0, shared: true, draining: false }];
      withPlane({ pool, uplink: true }, (shared) => {
        openSessions(shared);
        const quoted = bare().ip4({ src: POOL, dst: SERVER }).udp({ sport: 5353, dport: 53 }).payload('x');
        for (const packet of [
          from().udp({ sport: 53, dport: 22 }),
          from().tcp({ sport: 80, dport: 22, flags: TCP.syn }),
          from().echo4(77),
          from({ ttl: 1 }).udp({ sport: 53, dport: 22 }),
          from({ protocol: PROTO.sctp }).payload('12345678'),
          from({ mf: true, df: false, id: 4 }).udp({ sport: 53, dport: 22 }).payload('12345678'),
          from({ offset: 100, df: false, id: 4, protocol: 17 }).payload('12345678'),
          from().icmp4({ type: 3, code: 3 }).payload(quoted),
          from().icmp4({ type: 13 }).payload('12345678'),
        ]) {
          const outcome = shared.uplink(packet);
          expect(outcome.action).to.equal('pass');
          expect(hex(outcome.frame)).to.equal(hex(packet.build()));
        }
        expect(shared.datapath.drops(), 'nothing counts as dropped').to.deep.equal([]);
        expectOut(shared.uplink(udp(from())), udp(out()));
      });
    });

    it('BIG TCP: a packet that is cut into segments later may have no length, and then ends where its bytes do', () => {
      const pool = [{ v4: parseIp4(POOL), slot: 0, shared: true, draining: false }];
      withPlane({ pool, uplink: true }, (shared) => {
        openSessions(shared);
        const segments = (dport: number) =>
          from({ totalLength: 0 }).tcp({ sport: 80, dport, flags: TCP.ack }).payload('x'.repeat(2800));
        const gso = { gsoSize: 1400, gsoSegs: 2 };
        const outcome = shared.uplink(segments(PORT), gso);
        expect(outcome.action).to.equal('redirect');
        expect(parseIp(outcome.l3)).to.include({ length: 40 + 20 + 2800 });
        expect(shared.uplink(segments(22), gso).action, 'not of a pod').to.equal('pass');
        expect(shared.uplink(segments(PORT)).action, 'no segments').to.equal('pass');
      });
    });

    for (const src of ['0.0.0.0', '0.1.2.3', '127.0.0.1', '224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255']) {
      it(`X7915-4.1-h: X7915-1.2-c: H1812-4.3.2.7-a: the source ${src} is refused without a word`, () => {
        const before = plane.state();
        for (const packet of [udp(from({ src })), udp(from({ src, ttl: 1 })), from({ src }).echo4(PORT)]) {
          expect(plane.gate(packet).action).to.equal('drop');
        }
        expect(plane.state()).to.deep.equal(before);
      });
    }
  });

  describe('sizes', () => {
    it('X7915-4.1-b: C5508-10-a: U4787-13-a: DF=1 and too large by one byte: Fragmentation Needed, with the next MTU', () => {
      const fits = 'x'.repeat(1480 - 28);
      expectOut(plane.gate(udp(from(), fits)), udp(out(), fits));
      const packet = udp(from(), `${fits}x`);
      expectOut(
        plane.gate(packet),
        bare()
          .ip4({ src: POOL, dst: SERVER })
          .icmp4({ type: 3, code: 4, rest: 1480 })
          .payload(packet.l3().slice(0, 576 - 28)),
        { anyId: true },
      );
    });

    it('N6146-3.7-b: a GSO packet is judged by its segments', () => {
      const big = from().tcp({ sport: 80, dport: PORT }).payload('x'.repeat(2880));
      const good = plane.gate(big, { gsoSize: 1440, gsoSegs: 2 });
      expectOut(good, out().tcp({ sport: 80, dport: PORT }).payload('x'.repeat(2880)));
      const bad = plane.gate(big, { gsoSize: 1441, gsoSegs: 2 });
      expect(hex(bad.l3.slice(20, 28))).to.match(/^0304.{4}000005c8$/);
    });
  });

  it('X7915-4.1-e: lengths that contradict each other are refused', () => {
    for (const packet of [
      udp(from({ totalLength: 33 })),
      udp(from({ totalLength: 19 })),
      udp(from({ totalLength: 27 })),
      from().udp({ sport: 53, dport: PORT, length: 100 }).payload('x'),
      from().udp({ sport: 53, dport: PORT, length: 7 }).payload('x'),
      from({ totalLength: 39 }).tcp({ sport: 80, dport: PORT }),
    ]) {
      const drops = plane.dropsOf(() => expect(plane.gate(packet).action).to.equal('drop'));
      expect(drops).to.deep.equal({ malformed: 1 });
    }
  });

  it('N6146-3.7-a: in direct mode the uplink takes what is for this host, and nothing else', () => {
    withPlane({ uplinkMtu: 1500 }, (direct) => {
      openSessions(direct);
      expectOut(direct.uplink(udp(from())), udp(out()));
      const foreign = udp(from()).build();
      foreign.set([2, 2, 2, 2, 2, 2]);
      expect(direct.uplink(foreign).action, 'for another host').to.equal('pass');
    });
  });
});
