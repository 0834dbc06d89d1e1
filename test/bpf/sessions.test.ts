// SPDX-License-Identifier: Apache-2.0
// Bindings and sessions of UDP, ICMP and TCP (RFC 6146 §3.1 to §3.5): what the maps hold, who may come in.

import { expect } from 'chai';
import { formatIp4, formatIp6, parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import {
  bib4Codec,
  bib4KeyCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  type Bib4,
  type Bib4Key,
  type Flow4,
  type Flow4Key,
  type Flow6,
  type Flow6Key,
} from '../../src/model/layout.gen.ts';
import { disagreements } from '../helpers/map-checker.ts';
import { parseIp } from '../helpers/packet-read.ts';
import { bare, eth, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, FIRST_PORT, Plane, POD, POOL, PREFIX, SERVER, SERVER6, withPlane } from './plane.ts';

const POD2 = '2001:db8:1::20';
const from6 = (src = POD, dst = SERVER6) => eth().ip6({ src, dst });
const from4 = (src = SERVER, dst = POOL) => eth().ip4({ src, dst });
const KINDS = ['udp', 'tcp', 'icmp'] as const;
type Kind = (typeof KINDS)[number];
const open = (packet: Packet, kind: Kind, sport: number, dport = 7): Packet => {
  if (kind === 'udp') return packet.udp({ sport, dport });
  return kind === 'tcp' ? packet.tcp({ sport, dport, flags: TCP.syn }) : packet.echo6(sport);
};
const port = (plane: Plane, packet: Packet, kind: Kind): { address: string; port: number } => {
  const outcome = plane.gate(packet);
  expectSound(outcome);
  const ip = parseIp(outcome.l3);
  const at = kind === 'icmp' ? 4 : 0;
  return {
    address: formatIp4(new DataView(ip.src.buffer).getUint32(0)),
    port: new DataView(ip.l4.buffer).getUint16(at),
  };
};
/** A SYN goes to user space, where it waits. */
const refused = (plane: Plane, packet: Packet, reason: string, action = 'drop') =>
  expect(plane.dropsOf(() => expect(plane.gate(packet).action).to.equal(action))).to.deep.equal({ [reason]: 1 });

describe('sessions', () => {
  it('N6146-3.2-a: N6146-3.4-a: N6146-3.5.1-a: N6146-3.5.1-b: all five columns of a UDP and a TCP session', () => {
    withPlane({}, (plane) => {
      plane.gate(open(from6(), 'udp', 50, 53));
      plane.gate(open(from6(), 'tcp', 40001, 443));
      const rows = plane.datapath.sessions().toSorted((a, b) => a.source.port - b.source.port);
      expect(
        rows.map((row) => [
          row.protocol,
          row.state,
          formatIp6(row.source.v6),
          row.source.port,
          formatIp6(row.destination6),
          formatIp4(row.pool.v4),
          formatIp4(row.destination.v4),
          row.destination.port,
          row.packetsOut,
          row.packetsIn,
        ]),
      ).to.deep.equal([
        ['udp', 'open', POD, 50, formatIp6(parseIp6(SERVER6)), POOL, SERVER, 53, 1, 0],
        ['tcp', 'v6Init', POD, 40001, formatIp6(parseIp6(SERVER6)), POOL, SERVER, 443, 1, 0],
      ]);
      expect(rows[1]?.pool.port, 'the pod’s own port').to.equal(40001);
      expect(rows[0]?.pool.port).to.be.within(FIRST_PORT, FIRST_PORT + 1023);
      expect(plane.datapath.counts()).to.deep.equal({
        sessions: { tcp: 1, udp: 1, icmp: 0 },
        bindings: { tcp: 1, udp: 1, icmp: 0 },
      });
    });
  });

  it('N6146-3.2-b: N6146-3.4-b: an ICMP session has identifiers for ports', () => {
    withPlane({}, (plane) => {
      plane.gate(from6().echo6(3, 1));
      const [row, ...others] = plane.datapath.sessions();
      expect(others).to.deep.equal([]);
      expect(row?.source.port).to.equal(3);
      expect(row?.destination.port).to.equal(row?.pool.port);
      plane.gate(from4().echo4(row?.pool.port as number, 1, true));
      expect(plane.datapath.sessions()[0]).to.include({ packetsIn: 1, packetsOut: 1 });
    });
  });

  it('N6146-3.5.1-b: packets and bytes are counted on both sides', () => {
    withPlane({}, (plane) => {
      for (let i = 0; i < 3; i++) plane.gate(from6().udp({ sport: 40001, dport: 53 }).payload('12345678'));
      for (let i = 0; i < 2; i++) plane.gate(from4().udp({ sport: 53, dport: 40001 }).payload('1234'));
      expect(plane.datapath.sessions()[0]).to.include({
        packetsOut: 3,
        bytesOut: 3 * 56,
        packetsIn: 2,
        bytesIn: 2 * 32,
      });
      const rows = plane.datapath.packetCounters().filter((row) => row.packets > 0);
      expect(rows).to.deep.equal([
        { direction: '6to4', protocol: 'udp', packets: 3, bytes: 168 },
        { direction: '4to6', protocol: 'udp', packets: 2, bytes: 64 },
      ]);
    });
  });

  for (const kind of KINDS) {
    it(`N6146-5.2-a: U4787-1-a: T5382-1-a: C5508-1-b: N6146-3.3-a: ${kind}: a hundred destinations, one T,t`, () => {
      withPlane({}, (plane) => {
        const seen = new Set<string>();
        for (let i = 0; i < 100; i++) {
          seen.add(JSON.stringify(port(plane, open(from6(POD, `${PREFIX}198.51.100.${i}`), kind, 1234, 80), kind)));
        }
        expect(seen.size).to.equal(1);
        expect(plane.datapath.bindings()).to.have.length(1);
        expect(plane.datapath.bindings()[0]?.sessions).to.equal(100);
        expect(plane.datapath.sessions()).to.have.length(100);
      });
    });
  }

  it('N6146-3.1-a: B7857-5-a: T,t of one protocol is free in the others', () => {
    withPlane({ blocks: [{ index: 0, slot: 0, v4: parseIp4(POOL), firstPort: 40000, size: 1 }] }, (plane) => {
      for (const kind of KINDS) {
        expect(port(plane, open(from6(), kind, 9), kind)).to.deep.equal({ address: POOL, port: 40000 });
      }
      expect(plane.datapath.bindings()).to.have.length(3);
      for (const kind of KINDS) expect(plane.datapath.blocks()[0]?.used[kind]).to.equal(1);
    });
  });

  it('N6146-3.1-c: N6146-3.5.3-c: two pods with one identifier get two, on one T', () => {
    withPlane(
      {
        blocks: [0, 1].map((index) => ({
          index,
          slot: 0,
          v4: parseIp4(POOL),
          firstPort: 40000 + 16 * index,
          size: 16,
        })),
      },
      (plane) => {
        const a = port(plane, from6(POD).echo6(40000), 'icmp');
        const b = port(plane, from6(POD2).echo6(40000), 'icmp');
        expect(a.address).to.equal(b.address);
        expect(a.port).not.to.equal(b.port);
        for (const [pod, t] of [
          [POD, a.port],
          [POD2, b.port],
        ] as const) {
          expectOut(
            plane.gate(from4().echo4(t, 5, true).payload('p')),
            bare().ip6({ src: SERVER6, dst: pod, hopLimit: 63 }).echo6(40000, 5, true).payload('p'),
          );
        }
      },
    );
  });

  it('N6146-3.6-a: N6146-3.8-c: the embedded address is never looked up in the bindings; the pool’s own is refused where no pod has the port', () => {
    withPlane({}, (plane) => {
      plane.gate(open(from6(POD2), 'udp', 40001));
      const packet = from6(POD, `${PREFIX}${POOL}`).udp({ sport: 5, dport: 40002 });
      expect(plane.dropsOf(() => plane.gate(packet))).to.deep.equal({ dst_pool: 1 });
    });
  });

  describe('from the IPv4 side', () => {
    it('N6146-3.5.1-e: U4787-8-a: address-dependent: any port of whom the pod wrote to, nobody else', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'udp', 40001, 53));
        const before = plane.datapath.sessions()[0]?.expiresAt;
        refused(plane, from4('198.51.100.8').udp({ sport: 53, dport: 40001 }), 'filtered');
        expect(plane.datapath.sessions()[0]?.expiresAt, 'B7857-7-a').to.be.within(
          (before as number) - 3,
          (before as number) + 3,
        );
        expectSound(plane.gate(from4().udp({ sport: 9999, dport: 40001 })));
        const rows = plane.datapath.sessions().map((row) => row.destination.port);
        expect(
          rows.toSorted((a, b) => a - b),
          'N6146-3.5.1-f',
        ).to.deep.equal([53, 9999]);
        expect(plane.datapath.bindings()[0]?.sessions).to.equal(2);
      });
    });

    it('N6146-3.5.1-f: the session made from outside has the same columns, and carries both ways', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'udp', 40001, 53));
        plane.gate(from4().udp({ sport: 9999, dport: 40001 }));
        const out = plane.gate(from6().udp({ sport: 40001, dport: 9999 }));
        expectSound(out);
        const row = plane.datapath.sessions().find((one) => one.destination.port === 9999);
        expect(row).to.include({ protocol: 'udp', state: 'open', packetsIn: 1, packetsOut: 1 });
        expect(plane.datapath.sessions()).to.have.length(2);
      });
    });

    it('U4787-8-a: B7857-6-a: T5382-3-a: endpoint-independent: anybody, in the protocol of the binding alone', () => {
      withPlane({ config: { filtering: 'endpointIndependent' } }, (plane) => {
        plane.gate(open(from6(), 'udp', 40001, 53));
        expectSound(plane.gate(from4('198.51.100.9').udp({ sport: 1, dport: 40001 })));
        refused(plane, from4().tcp({ sport: 1, dport: 40001, flags: TCP.syn }), 'no_binding', 'handed');
        plane.gate(open(from6(), 'tcp', 40002, 53));
        expectSound(plane.gate(from4('198.51.100.9').tcp({ sport: 1, dport: 40002, flags: TCP.syn })));
        plane.gate(open(from6(), 'icmp', 40003));
        expectSound(plane.gate(from4('198.51.100.9').echo4(40003)));
      });
    });

    it('N6146-3.5.3-g: an echo request of somebody else is filtered', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'icmp', 40003));
        refused(plane, from4('198.51.100.9').echo4(40003), 'filtered');
        refused(plane, from4('198.51.100.9').echo4(40003, 1, true), 'filtered');
        expectSound(plane.gate(from4().echo4(40003)));
      });
    });

    it('a TCP connection to a dynamic binding makes no session', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'tcp', 40001, 80));
        refused(
          plane,
          from4('198.51.100.9').tcp({ sport: 80, dport: 40001, flags: TCP.syn }),
          'tcp_external_syn',
          'handed',
        );
        refused(plane, from4().tcp({ sport: 81, dport: 40001, flags: TCP.syn }), 'tcp_external_syn', 'handed');
        refused(plane, from4('198.51.100.9').tcp({ sport: 80, dport: 40001 }), 'tcp_no_session');
      });
    });
  });

  describe('static bindings', () => {
    const T = 40007;
    const binding = (protocol: Kind) => ({
      protocol,
      source: { v6: parseIp6(POD2), port: 80 },
      pool: { v4: parseIp4(POOL), port: T },
    });
    let plane: Plane;

    before(() => {
      plane = new Plane({ staticPorts: [T] });
      for (const kind of KINDS) plane.datapath.putStaticBinding(binding(kind));
    });
    after(() => plane[Symbol.dispose]());

    it('N6146-3.1-d: N6146-3.5.3-h: N6146-3.5.2.2-05: connections from the IPv4 side reach the pod, in all three protocols', () => {
      const pod = bare().ip6({ src: SERVER6, dst: POD2, hopLimit: 63 });
      expectOut(plane.gate(from4().udp({ sport: 9, dport: T })), pod.udp({ sport: 9, dport: 80 }));
      expectOut(
        plane.gate(from4().tcp({ sport: 9, dport: T, flags: TCP.syn })),
        pod.tcp({ sport: 9, dport: 80, flags: TCP.syn }),
      );
      expectOut(plane.gate(from4().echo4(T)), pod.echo6(80));
      const states = plane.datapath.sessions().map((row) => `${row.protocol} ${row.state}`);
      expect(states.toSorted()).to.deep.equal(['icmp open', 'tcp v4Init', 'udp open']);
    });

    it('N6146-3.1-b: the pod’s answers, and its own connections, leave by the same T,t; others never get it', () => {
      expect(port(plane, from6(POD2).udp({ sport: 80, dport: 9 }), 'udp').port).to.equal(T);
      expect(port(plane, from6(POD2).udp({ sport: 80, dport: 10 }), 'udp').port).to.equal(T);
      expect(port(plane, from6(POD2).udp({ sport: T, dport: 10 }), 'udp').port).not.to.equal(T);
    });

    it('N6146-3.1-e: they outlive their sessions, and go when they are taken back', () => {
      plane.age(100);
      expect(plane.datapath.sweep(60_000).ended).to.have.length(5);
      expect(plane.datapath.bindings().map((row) => [row.isStatic, row.sessions])).to.deep.equal([
        [true, 0],
        [true, 0],
        [true, 0],
      ]);
      expectSound(plane.gate(from4().udp({ sport: 9, dport: T })));
      plane.age(100);
      plane.datapath.sweep(60_000);
      for (const kind of KINDS) plane.datapath.deleteStaticBinding(binding(kind));
      expect(plane.datapath.bindings()).to.deep.equal([]);
      refused(plane, from4().udp({ sport: 9, dport: T }), 'no_binding');
      expect(plane.datapath.counts().bindings).to.deep.equal({ tcp: 0, udp: 0, icmp: 0 });
    });
  });

  it('N6146-3.5.2.2-01: only a plain SYN begins a connection, from either side', () => {
    withPlane({ config: { filtering: 'endpointIndependent' } }, (plane) => {
      plane.gate(open(from6(), 'tcp', 40001));
      for (const flags of [TCP.syn | TCP.ack, TCP.syn | TCP.fin, TCP.syn | TCP.rst, TCP.ack, TCP.rst]) {
        refused(plane, from6().tcp({ sport: 40002, dport: 7, flags }), 'tcp_no_session');
        refused(plane, from4('198.51.100.9').tcp({ sport: 7, dport: 40001, flags }), 'tcp_no_session');
      }
      // RFC 3168 6.1.1: with ECN it has two flags more.
      expectSound(plane.gate(from6().tcp({ sport: 40002, dport: 7, flags: TCP.syn | 0xc0 })));
    });
  });

  it('G6888-11-d: G6888-11-a: N6146-5.3-a: N6146-3.5.1.1-f: a full table refuses new flows and keeps the old ones', () => {
    withPlane({ maxSessions: 8 }, (plane) => {
      for (let i = 0; i < 8; i++) expectSound(plane.gate(open(from6(), 'udp', 40000 + i)));
      const before = plane.state();
      const packet = open(from6(), 'udp', 40100);
      const outcome = plane.gate(packet);
      expect(Array.from(outcome.l3.slice(40, 42)), 'address unreachable').to.deep.equal([1, 3]);
      expect(plane.lastDrop('sessions_full')?.count).to.equal(1);
      expect(plane.state()).to.deep.equal(before);
      expect(plane.datapath.blocks()[0]?.used.udp, 'the port is given back').to.equal(8);
      for (let i = 0; i < 8; i++) expectSound(plane.gate(open(from6(), 'udp', 40000 + i)));
    });
  });

  // What one processor finds while another is in the middle of something, written by hand.
  describe('half done by another processor', () => {
    const STALE = 40777;

    it('N6146-3.1-b: whoever finds what an earlier session of the pair left leaves the later one alone', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'udp', 40001));
        plane.age(3600);
        const four = new TypedMap(plane.maps.n64_flow4, flow4KeyCodec, flow4Codec);
        const [[key, value]] = [...four.entries()] as [[Flow4Key, Flow4]];
        four.update({ ...key, dport: STALE }, value);
        plane.gate(from4().udp({ sport: 7, dport: STALE }));
        four.delete({ ...key, dport: STALE });
        expect(disagreements(plane.maps)).to.deep.equal([]);
        expect(plane.datapath.sweep(60_000).endedCount).to.equal(1);
        expect(disagreements(plane.maps)).to.deep.equal([]);
      });
    });

    it('N6146-3.1-b: no session begins from outside at a port that the pod’s binding has no more', () => {
      withPlane({ config: { filtering: 'endpointIndependent' } }, (plane) => {
        plane.gate(open(from6(), 'udp', 40001));
        const four = new TypedMap(plane.maps.n64_bib4, bib4KeyCodec, bib4Codec);
        const [[key, value]] = [...four.entries()] as [[Bib4Key, Bib4]];
        four.update({ ...key, port: STALE }, value);
        refused(plane, from4('198.51.100.9').udp({ sport: 7, dport: STALE }), 'no_binding');
        four.delete({ ...key, port: STALE });
        expect(disagreements(plane.maps)).to.deep.equal([]);
      });
    });

    it('N6146-3.1-b: what is being made or deleted, neither a packet nor the sweep deletes', () => {
      withPlane({}, (plane) => {
        plane.gate(open(from6(), 'udp', 40001));
        plane.age(3600);
        const six = new TypedMap(plane.maps.n64_flow6, flow6KeyCodec, flow6Codec);
        const [[key, value]] = [...six.entries()] as [[Flow6Key, Flow6]];
        six.update(key, { ...value, createdNs: 0n });
        plane.datapath.sweep(60_000);
        refused(plane, from4().udp({ sport: 7, dport: 40001 }), 'session_conflict');
        refused(plane, open(from6(), 'udp', 40001), 'session_conflict');
        expect(disagreements(plane.maps)).to.deep.equal([]);
        six.update(key, value);
        expect(plane.datapath.sweep(60_000).endedCount).to.equal(1);
        expect(disagreements(plane.maps)).to.deep.equal([]);
        expect(plane.datapath.bindings()).to.deep.equal([]);
      });
    });
  });
});
