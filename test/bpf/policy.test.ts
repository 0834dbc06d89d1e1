// SPDX-License-Identifier: Apache-2.0
// Who may go where: embedded destinations, the well-known prefix, allowed sources; and the errors that say so.

import { expect } from 'chai';
import { parseIp4, parseIp4Net, parseIp6Net } from '../../src/addr/ip.ts';
import type { DestinationRule } from '../../src/addr/destinations.ts';
import { bare, eth, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, NODE, Plane, POD, POOL, PREFIX, SERVER6, withPlane } from './plane.ts';

const rule = (net: string, verdict: DestinationRule['verdict']): DestinationRule => ({
  net: parseIp4Net(net),
  verdict,
});
const RULES = [
  rule('127.0.0.0/8', 'never'),
  rule('169.254.0.0/16', 'never'),
  rule('224.0.0.0/3', 'never'),
  rule('10.0.0.0/8', 'nonGlobal'),
  rule('192.0.2.0/24', 'nonGlobal'),
  rule('10.1.0.0/16', 'allow'),
  rule('198.51.100.200', 'node'),
  rule('198.51.100.64/26', 'configured'),
  rule('198.51.100.80', 'allow'),
];
const to = (address: string, prefix = PREFIX): Packet =>
  eth()
    .ip6({ src: POD, dst: `${prefix}${address}` })
    .udp({ sport: 40001, dport: 53 })
    .payload('x');
const WKP = '64:ff9b::';

describe('policy', () => {
  let plane: Plane;

  before(() => {
    plane = new Plane({ prefixes: [`${PREFIX}/96`, `${WKP}/96`] });
    plane.datapath.setDestinations(RULES);
  });
  after(() => plane[Symbol.dispose]());

  for (const [address, prefix, reason] of [
    ['127.0.0.1', PREFIX, 'dst_never'],
    ['169.254.169.254', PREFIX, 'dst_never'],
    ['169.254.169.254', WKP, 'dst_never'],
    ['239.1.1.1', PREFIX, 'dst_never'],
    ['255.255.255.255', PREFIX, 'dst_never'],
    ['10.0.0.1', WKP, 'dst_non_global'],
    ['192.0.2.1', WKP, 'dst_non_global'],
    ['198.51.100.200', PREFIX, 'dst_node'],
    ['198.51.100.65', PREFIX, 'dst_denied'],
    [POOL, PREFIX, 'dst_pool'],
  ] as const) {
    it(`X7915-8-a: A6052-3.1-b: A6052-3.4-c: A6052-5.3-a: X7915-5.4-a: ${prefix}${address}: Administratively Prohibited, ${reason}`, () => {
      const before = plane.state();
      const packet = to(address, prefix);
      const drops = plane.dropsOf(() =>
        expectOut(plane.gate(packet), bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 1, code: 1 }).payload(packet)),
      );
      expect(drops).to.deep.equal({ [reason]: 1 });
      expect(plane.state()).to.deep.equal(before);
    });
  }

  for (const [address, prefix] of [
    ['10.0.0.1', PREFIX],
    ['10.1.2.3', WKP],
    ['198.51.100.80', PREFIX],
    ['198.51.100.1', WKP],
  ] as const) {
    it(`L8215-5-a: A6052-3.1-b: ${prefix}${address} passes`, () => {
      expectSound(plane.gate(to(address, prefix)));
    });
  }

  it('the sample of a refused packet says whose it was', () => {
    plane.gate(to('169.254.169.254'));
    expect(plane.lastDrop('dst_never')?.last).to.include({
      source: POD,
      destination: '64:ff9b:1:fffe::a9fe:a9fe',
      protocol: 17,
      sourcePort: 40001,
      destinationPort: 53,
      length: 49,
    });
  });

  it('A6052-5.3-a: what pods may not reach does not reach pods', () => {
    withPlane({ config: { filtering: 'endpointIndependent' } }, (other) => {
      other.datapath.setDestinations(RULES);
      other.gate(to('198.51.100.7'));
      for (const src of ['198.51.100.65', '169.254.169.254']) {
        const packet = eth().ip4({ src, dst: POOL }).udp({ sport: 1, dport: 40001 });
        expect(other.dropsOf(() => other.gate(packet))).to.deep.equal({ filtered: 1 });
      }
    });
  });

  it('A6052-5.1-a: nobody outside begins a session with a pod that is no more on the list of sources', () => {
    withPlane({ config: { filtering: 'endpointIndependent', restrictSources: true } }, (other) => {
      const from = (src: string) => eth().ip4({ src, dst: POOL }).udp({ sport: 1, dport: 40001 });
      other.datapath.setDestinations([]);
      other.datapath.setSources([parseIp6Net(`${POD}/128`)]);
      expectSound(other.gate(to('198.51.100.7')));
      expectSound(other.gate(from('198.51.100.9')));
      other.datapath.setSources([parseIp6Net('2001:db8:2::/64')]);
      expect(other.dropsOf(() => other.gate(from('198.51.100.10')))).to.deep.equal({ source_not_allowed: 1 });
      expect(other.datapath.sweep(60_000).endedCount + other.datapath.sweep(60_000).endedCount).to.equal(2);
      expect(other.datapath.bindings()).to.deep.equal([]);
    });
  });

  it('A6052-3.1-b: from the IPv4 side, what 64:ff9b::/96 may not carry comes under the next prefix', () => {
    withPlane({ prefixes: [`${WKP}/96`, `${PREFIX}/96`], config: { filtering: 'endpointIndependent' } }, (other) => {
      other.datapath.setDestinations(RULES);
      other.gate(to('198.51.100.7'));
      const from = (src: string) => eth().ip4({ src, dst: POOL }).udp({ sport: 1, dport: 40001 });
      const got = (src: string) => bare().ip6({ src, dst: POD, hopLimit: 63 }).udp({ sport: 1, dport: 40001 });
      expectOut(other.gate(from('198.51.100.9')), got(`${WKP}198.51.100.9`));
      expectOut(other.gate(from('10.0.0.9')), got(`${PREFIX}10.0.0.9`));
    });
  });

  it('A6052-3.1-b: from the IPv4 side, a place without a prefix is no prefix', () => {
    withPlane({ emptyPlace: true, config: { filtering: 'endpointIndependent' } }, (other) => {
      other.gate(to('198.51.100.7'));
      expectOut(
        other.gate(eth().ip4({ src: '198.51.100.9', dst: POOL }).udp({ sport: 1, dport: 40001 })),
        bare()
          .ip6({ src: `${PREFIX}198.51.100.9`, dst: POD, hopLimit: 63 })
          .udp({ sport: 1, dport: 40001 }),
      );
    });
  });

  it('A6052-5.1-a: only allowed sources, once a list is in force', () => {
    withPlane({ config: { restrictSources: true } }, (other) => {
      other.datapath.setSources([parseIp6Net('2001:db8:1::/64')]);
      expectSound(other.gate(to('198.51.100.7')));
      const packet = eth().ip6({ src: '2001:db8:2::1', dst: SERVER6 }).udp({ sport: 40001, dport: 53 });
      expectOut(
        other.gate(packet),
        bare().ip6({ src: NODE, dst: '2001:db8:2::1' }).icmp6({ type: 1, code: 1 }).payload(packet),
      );
      expect(other.lastDrop('source_not_allowed')?.count).to.equal(1);
    });
  });

  it('A6052-5.1-a: errors of who is not allowed count for nothing, but for Packet Too Big of a router on the way', () => {
    withPlane({ config: { restrictSources: true } }, (other) => {
      other.datapath.setSources([parseIp6Net('2001:db8:1::/64')]);
      other.gate(to('198.51.100.7'));
      const quoted = bare().ip6({ src: SERVER6, dst: POD }).udp({ sport: 53, dport: 40001 }).payload('x');
      const error = (src: string, type: number) =>
        eth()
          .ip6({ src, dst: SERVER6 })
          .icmp6({ type, code: 0, rest: type === 2 ? 1300 : 0 })
          .payload(quoted);
      const refused = (src: string, type: number, reason: string) =>
        expect(other.dropsOf(() => expect(other.gate(error(src, type)).action).to.equal('drop'))).to.deep.equal({
          [reason]: 1,
        });
      refused('2001:db8:2::1', 1, 'source_not_allowed');
      refused('2001:db8:2::1', 3, 'source_not_allowed');
      refused('fe80::1', 1, 'source_illegal');
      refused('fe80::1', 2, 'source_illegal');
      refused('::1', 1, 'source_illegal');
      expectSound(other.gate(error('2001:db8:2::1', 2)));
      expectSound(other.gate(error(POD, 1)));
      expectSound(other.gate(error('2001:db8:1::20', 3)));
    });
  });

  describe('errors with what they quote', () => {
    const PORT = 40001;
    const OTHER = '2001:db8:1::20';
    const ROUTER = '2001:db8:9::1';
    const errorAbout = (address: string, { src = POD, type = 1, prefix = PREFIX } = {}) =>
      eth()
        .ip6({ src, dst: `${prefix}${address}` })
        .icmp6({ type, code: type === 1 ? 4 : 0, rest: type === 2 ? 1300 : 0 })
        .payload(
          bare()
            .ip6({ src: `${prefix}${address}`, dst: POD })
            .udp({ sport: 9, dport: PORT })
            .payload('chosen'),
        );
    const refused = (other: Plane, packet: Packet, reason: string) => {
      const before = other.state();
      expect(other.dropsOf(() => expect(other.gate(packet).action).to.equal('drop'))).to.deep.equal({ [reason]: 1 });
      expect(other.state()).to.deep.equal(before);
    };
    const both = {
      prefixes: [`${PREFIX}/96`, `${WKP}/96`],
      blocks: [0, 1].map((index) => ({
        index,
        slot: 0,
        v4: parseIp4(POOL),
        firstPort: 40000 + 512 * index,
        size: 512,
      })),
    };

    it('X7915-8-a: A6052-5.3-a: from inside go nowhere that the pod may not go, of whatever type and whoever sends them', () => {
      withPlane(both, (other) => {
        other.datapath.setDestinations(RULES);
        expectSound(other.gate(to('198.51.100.7')));
        for (const [address, prefix, reason] of [
          ['127.0.0.1', PREFIX, 'dst_never'],
          ['10.0.0.1', WKP, 'dst_non_global'],
          ['198.51.100.200', PREFIX, 'dst_node'],
          ['198.51.100.65', PREFIX, 'dst_denied'],
          [POOL, PREFIX, 'dst_pool'],
        ] as const) {
          for (const src of [POD, ROUTER])
            for (const type of [1, 2, 3, 4]) refused(other, errorAbout(address, { src, type, prefix }), reason);
        }
        for (const type of [1, 2, 3, 4]) expectSound(other.gate(errorAbout('198.51.100.80', { type })));
      });
    });

    it('A6052-5.3-a: nor where it may not go any more', () => {
      withPlane(both, (other) => {
        other.datapath.setDestinations([]);
        const about = errorAbout('198.51.100.65');
        expectSound(other.gate(to('198.51.100.65')));
        expectSound(other.gate(about));
        other.datapath.setDestinations(RULES);
        refused(other, about, 'dst_denied');
      });
    });

    it('A6052-5.3-a: errors from outside about what the pod may not reach do not reach it', () => {
      withPlane(both, (other) => {
        other.datapath.setDestinations(RULES);
        expectSound(other.gate(to('198.51.100.7')));
        const about = (dst: string) =>
          eth()
            .ip4({ src: '198.51.100.9', dst: POOL })
            .icmp4({ type: 3, code: 1 })
            .payload(bare().ip4({ src: POOL, dst, ttl: 1 }).udp({ sport: PORT, dport: 9 }).payload('chosen'));
        refused(other, about('198.51.100.65'), 'filtered');
        refused(other, about('169.254.169.254'), 'filtered');
        expectSound(other.gate(about('198.51.100.80')));
      });
    });

    it('N6146-3.6.1-d: H4443-2.4-a: a pod sends none about another pod’s flow; a router does', () => {
      withPlane(both, (other) => {
        other.datapath.setDestinations(RULES);
        expectSound(other.gate(to('198.51.100.7')));
        expectSound(other.gate(eth().ip6({ src: OTHER, dst: SERVER6 }).udp({ sport: 40002, dport: 53 })));
        expect(other.datapath.sessions()).to.have.length(2);
        for (const type of [1, 2, 3, 4]) {
          refused(other, errorAbout('198.51.100.7', { src: OTHER, type }), 'icmp_error_foreign');
          for (const src of [POD, ROUTER]) expectSound(other.gate(errorAbout('198.51.100.7', { src, type })));
        }
      });
    });
  });

  it('V6791-3.1-a: a router that the prefix may not carry shows as the translator (C-02)', () => {
    withPlane({ prefixes: [`${WKP}/96`] }, (other) => {
      other.datapath.setDestinations(RULES);
      other.gate(to('198.51.100.7', WKP));
      const quoted = (p: Packet) => p.udp({ sport: 40001, dport: 53 }).payload('x');
      const error = eth()
        .ip4({ src: '10.9.9.9', dst: POOL })
        .icmp4({ type: 11 })
        .payload(quoted(bare().ip4({ src: POOL, dst: '198.51.100.7', ttl: 1 })));
      expectOut(
        other.gate(error),
        bare()
          .ip6({ src: NODE, dst: POD, hopLimit: 63 })
          .icmp6({ type: 3 })
          .payload(quoted(bare().ip6({ src: POD, dst: `${WKP}198.51.100.7`, hopLimit: 1 }))),
      );
    });
  });

  describe('errors of our own', () => {
    /** Gives `packets` in turn, `count` in all: how many errors came, and in how many seconds. */
    const answers = (other: Plane, packets: readonly Packet[], count = 4000): { sent: number; seconds: number } => {
      const bytes = packets.map((packet) => packet.build());
      const started = performance.now();
      let sent = 0;
      for (let i = 0; i < count; i++) {
        if (other.gate(bytes[i % bytes.length] as Uint8Array).action === 'redirect') sent += 1;
      }
      return { sent, seconds: (performance.now() - started) / 1000 };
    };
    const expiring6 = (src = POD) => eth().ip6({ src, dst: SERVER6, hopLimit: 1 }).udp({ sport: 40001, dport: 53 });
    const expiring4 = (src = '198.51.100.7') => eth().ip4({ src, dst: POOL, ttl: 1 }).udp({ sport: 53, dport: 40001 });
    const many = Array.from({ length: 100 }, (_, i) => i + 1);
    const manySix = many.map((i) => expiring6(`2001:db8:1::${i.toString(16)}`));

    it('H4443-2.4-c: H1812-4.3.2.8-a: at most about a thousand a second, the rest is counted all the same', () => {
      withPlane({}, (other) => {
        other.gate(to('198.51.100.7'));
        for (const packets of [manySix, many.map((i) => expiring4(`198.51.100.${i}`))]) {
          const { sent, seconds } = answers(other, packets);
          expect(sent).to.be.within(1000, 1000 + 1000 * seconds + 20);
        }
        expect(other.lastDrop('hop_limit')).to.include({ count: 4000 });
      });
    });

    it('H4443-2.4-c: H1812-4.3.2.8-a: at most about a hundred a second for one address', () => {
      withPlane({}, (other) => {
        other.gate(to('198.51.100.7'));
        for (const packet of [expiring6(), expiring4()]) {
          const { sent, seconds } = answers(other, [packet]);
          expect(sent).to.be.within(100, 100 + 100 * seconds + 20);
        }
      });
    });

    it('H4443-2.4-c: one pod’s flood of packets that are too large leaves another its path MTU', () => {
      withPlane({ uplinkMtu: 1400 }, (other) => {
        const large = (src: string) =>
          eth().ip6({ src, dst: SERVER6 }).udp({ sport: 1, dport: 2 }).payload('x'.repeat(1400));
        answers(other, [large(POD)]);
        expect(answers(other, [large(POD), large('2001:db8:1::20')], 100).sent).to.be.within(50, 70);
      });
    });

    it('H4443-2.4-c: Packet Too Big has a share of its own: one pod’s traceroutes silence no other’s path MTU', () => {
      withPlane({ uplinkMtu: 1400 }, (other) => {
        expect(answers(other, manySix, 8000).sent, 'the other share is used up').to.be.below(8000);
        const large = eth()
          .ip6({ src: '2001:db8:1::20', dst: SERVER6 })
          .udp({ sport: 1, dport: 2 })
          .payload('x'.repeat(1400));
        const { l3 } = other.gate(large);
        expect([l3[40], new DataView(l3.buffer, l3.byteOffset).getUint32(44)]).to.deep.equal([2, 1420]);
      });
    });

    it('H4443-2.4-a: as much is quoted as fits in 1280 bytes', () => {
      const packet = eth()
        .ip6({ src: POD, dst: SERVER6, hopLimit: 1 })
        .udp({ sport: 1, dport: 2 })
        .payload('x'.repeat(1400));
      const outcome = plane.gate(packet);
      expect(outcome.l3.length).to.equal(1280);
      expectOut(outcome, bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 3 }).payload(packet.l3().slice(0, 1232)));
    });

    it('H4443-2.4-b: none about a redirect; one about an echo that expires (C-12)', () => {
      const expiring = eth().ip6({ src: POD, dst: SERVER6, hopLimit: 1 });
      for (const type of [1, 2, 3, 4, 100, 127, 137]) {
        expect(plane.gate(expiring.icmp6({ type }).payload('12345678')).action, `type ${type}`).to.equal('drop');
      }
      expectOut(
        plane.gate(expiring.echo6(1)),
        bare().ip6({ src: NODE, dst: POD }).icmp6({ type: 3 }).payload(expiring.echo6(1)),
      );
    });

    it('N6146-3.5.2.2-01: a SYN that finds no port is answered, a SYN that may not go is too', () => {
      const packet = eth()
        .ip6({ src: POD, dst: `${PREFIX}169.254.169.254` })
        .tcp({ sport: 1, dport: 80, flags: TCP.syn });
      expect(Array.from(plane.gate(packet).l3.slice(40, 42))).to.deep.equal([1, 1]);
    });
  });
});
