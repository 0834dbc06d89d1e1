// SPDX-License-Identifier: Apache-2.0
// Fragments that user space has put in order: what n64_hold says of their datagram makes their checksum (bpf/held.h).

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { DIRECTION, fragKeyCodec, HELD_MARK, holdCodec, type FragKey } from '../../src/model/layout.gen.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { bare, eth, PROTO, type Packet } from '../helpers/packet.ts';
import { expectOut, Plane, POD, POOL, SERVER, SERVER6, withPlane } from './plane.ts';

const PORT = 40001;
const from6 = () => eth().ip6({ src: POD, dst: SERVER6 });
const from4 = (fields: object = {}) => eth().ip4({ src: SERVER, dst: POOL, ...fields });
const out4 = (fields: object = {}) => bare().ip4({ src: POOL, dst: SERVER, ttl: 63, ...fields });
const out6 = () => bare().ip6({ src: SERVER6, dst: POD, hopLimit: 63 });
const data = Uint8Array.from({ length: 2101 }, (_, i) => (i * 13) & 255);
/** Where the datagrams here are cut. */
const CUT = 1200;

const embedded = (v4: string) => {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint32(12, parseIp4(v4));
  return bytes;
};
const key6 = (id: number): FragKey => ({
  src: parseIp6(POD),
  dst: embedded(SERVER),
  id,
  protocol: PROTO.icmp6,
  direction: DIRECTION['6TO4'],
});
const key4 = (id: number, protocol: number): FragKey => ({
  src: embedded(SERVER),
  dst: embedded(POOL),
  id,
  protocol,
  direction: DIRECTION['4TO6'],
});

/** One's complement sum of 16-bit words as the machine reads them. */
function sumOf(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] as number) | ((bytes[i + 1] ?? 0) << 8);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

describe('fragments put in order', () => {
  let plane: Plane;
  const hold = (key: FragKey, l4: Uint8Array, seconds = 2) =>
    new TypedMap(plane.maps.n64_hold, fragKeyCodec, holdCodec).update(key, {
      expiresNs: monotonicNs() + BigInt(seconds) * 1_000_000_000n,
      payloadLength: l4.length,
      sum: sumOf(l4),
    });
  const sent = (packet: Packet) => plane.gate(packet, { mark: HELD_MARK });
  const six = (id: number, l4: Uint8Array, from: number, to = l4.length) =>
    from6()
      .fragment({ id, more: to < l4.length, offset: from / 8, nextHeader: PROTO.icmp6 })
      .payload(l4.slice(from, to));
  const four = (id: number, protocol: number, l4: Uint8Array, from: number, to = l4.length) =>
    from4({ id, mf: to < l4.length, offset: from / 8, protocol }).payload(l4.slice(from, to));
  const to4 = (id: number, l4: Uint8Array, from: number, to = l4.length) =>
    out4({ id, mf: to < l4.length, offset: from / 8, protocol: PROTO.icmp }).payload(l4.slice(from, to));
  const to6 = (id: number, nextHeader: number, l4: Uint8Array, from: number, to = l4.length) =>
    out6()
      .fragment({ id, more: to < l4.length, offset: from / 8, nextHeader })
      .payload(l4.slice(from, to));

  before(() => {
    plane = new Plane({ deviceMtu: 9000 });
    plane.gate(from6().echo6(PORT));
    plane.gate(from6().udp({ sport: PORT, dport: 53 }));
  });
  after(() => plane[Symbol.dispose]());

  it('an echo request is translated with the length of the whole, the rest follows', () => {
    const before6 = from6().echo6(PORT, 7).payload(data).l3().slice(40);
    const after4 = out4().echo4(PORT, 7).payload(data).l3().slice(20);
    expect(plane.gate(six(1, before6, 0, CUT)).action).to.equal('handed');
    hold(key6(1), before6);
    expectOut(sent(six(1, before6, 0, CUT)), to4(1, after4, 0, CUT));
    expectOut(sent(six(1, before6, CUT)), to4(1, after4, CUT));
  });

  it('an echo reply is translated with the length of the whole, the rest follows', () => {
    const before4 = from4().echo4(PORT, 7, true).payload(data).l3().slice(20);
    const after6 = out6().echo6(PORT, 7, true).payload(data).l3().slice(40);
    expect(plane.gate(four(2, PROTO.icmp, before4, 0, CUT)).action).to.equal('handed');
    hold(key4(2, PROTO.icmp), before4);
    expectOut(sent(four(2, PROTO.icmp, before4, 0, CUT)), to6(2, PROTO.icmp6, after6, 0, CUT));
    expectOut(sent(four(2, PROTO.icmp, before4, CUT)), to6(2, PROTO.icmp6, after6, CUT));
  });

  it('N6146-3.4-l: UDP without a checksum gets that of the whole datagram', () => {
    const ports = { sport: 53, dport: PORT };
    const before4 = from4()
      .udp({ ...ports, checksum: 0 })
      .payload(data)
      .l3()
      .slice(20);
    const after6 = out6().udp(ports).payload(data).l3().slice(40);
    hold(key4(3, PROTO.udp), before4);
    expectOut(sent(four(3, PROTO.udp, before4, 0, CUT)), to6(3, PROTO.udp, after6, 0, CUT));
    expectOut(sent(four(3, PROTO.udp, before4, CUT)), to6(3, PROTO.udp, after6, CUT));
  });

  it('what is known of another datagram, or no longer, does not count', () => {
    const before6 = from6().echo6(PORT, 7).payload(data).l3().slice(40);
    hold(key6(4), before6);
    hold(key6(5), before6, -1);
    for (const id of [5, 6]) {
      const drops = plane.dropsOf(() => expect(sent(six(id, before6, 0, CUT)).action).to.equal('drop'));
      expect(drops).to.deep.equal({ fragment_icmp: 1 });
    }
  });

  it('N6146-3.4-h: one sender’s flood is handed over up to a bound, others’ fragments still are', () => {
    const tail = (src: string, id: number) =>
      eth().ip6({ src, dst: SERVER6 }).fragment({ id, offset: 9, nextHeader: PROTO.udp }).payload('12345678');
    const actions = Array.from({ length: 2000 }, (_, id) => plane.gate(tail(POD, id)).action);
    const handed = actions.filter((action) => action === 'handed').length;
    expect(handed).to.be.within(400, 1500);
    expect(actions.filter((action) => action === 'drop').length).to.equal(2000 - handed);
    expect(plane.gate(tail('2001:db8:1::77', 1)).action).to.equal('handed');
  });

  it('at an uplink they go to the device; on an address that is the node’s too the host stack has the original', () => {
    for (const shared of [false, true]) {
      withPlane({ uplinkMtu: 1500, pool: [{ v4: parseIp4(POOL), slot: 0, shared, draining: false }] }, (uplink) => {
        const tail = from4({ id: 5, offset: 9, protocol: 17 }).payload('12345678');
        expect(uplink.uplink(tail).action).to.equal(shared ? 'pass' : 'redirect');
        const drops = uplink.dropsOf(() => uplink.gate(tail, { mark: HELD_MARK }));
        expect(drops, 'what may be the node’s is not counted').to.deep.equal(shared ? {} : { fragment_unknown: 1 });
      });
    }
  });
});
