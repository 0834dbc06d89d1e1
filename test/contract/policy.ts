// SPDX-License-Identifier: Apache-2.0
// The contract of the lists: what is set is in force whole, what is not set any more is gone.

import { expect } from 'chai';
import type { DestinationRule, DestinationVerdict } from '../../src/addr/destinations.ts';
import { formatIp4, parseIp4, parseIp4Net, parseIp6Net, type Ip6Net } from '../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { FIRST_ADDRESS, IDLE_MS, pod, PREFIX, type Play, type Stage } from './bench.ts';

const WELL_KNOWN = parsePrefix64('64:ff9b::/96');
const rule = (net: string, verdict: DestinationVerdict): DestinationRule => ({ net: parseIp4Net(net), verdict });

/** "passed", or why not. */
const fate = (stage: Stage, n: number, from: number, to = '192.0.2.1', prefix = PREFIX) => {
  const sent = stage.bench.send({ ...stage.flow(n, from), destination6: embedIp4(prefix, parseIp4(to)) });
  return typeof sent === 'string' ? sent : 'passed';
};

export function policy(play: Play): void {
  describe('policy', () => {
    it('the longest network decides about a destination, by its verdict', () => {
      const stage = play({ prefixes: [PREFIX, WELL_KNOWN] });
      stage.stock();
      stage.datapath.setDestinations([
        rule('10.0.0.0/8', 'configured'),
        rule('10.1.0.0/16', 'allow'),
        rule('10.1.2.0/24', 'never'),
        rule('10.1.2.3/32', 'node'),
        rule('192.0.2.0/24', 'nonGlobal'),
      ]);
      const fates = ['10.2.0.1', '10.1.0.1', '10.1.2.1', '10.1.2.3', '192.0.2.1', '11.0.0.1'].map((to, i) => [
        fate(stage, 1, 100 + i, to),
        fate(stage, 1, 200 + i, to, WELL_KNOWN),
      ]);
      expect(fates).to.deep.equal([
        ['dst_denied', 'dst_denied'],
        ['passed', 'passed'],
        ['dst_never', 'dst_never'],
        ['dst_node', 'dst_node'],
        ['passed', 'dst_non_global'],
        ['passed', 'passed'],
      ]);
    });

    it('destinations set again are the same, and others take their place whole', () => {
      const stage = play();
      stage.stock();
      const first = [rule('10.0.0.0/8', 'configured'), rule('10.1.0.0/16', 'never'), rule('192.0.2.0/24', 'allow')];
      for (const round of [1, 2]) {
        stage.datapath.setDestinations(first);
        expect([fate(stage, 1, round, '10.2.0.1'), fate(stage, 1, round, '10.1.0.1')]).to.deep.equal([
          'dst_denied',
          'dst_never',
        ]);
      }
      stage.datapath.setDestinations([rule('10.1.0.0/16', 'configured'), rule('192.0.2.0/25', 'never')]);
      const fates = ['10.2.0.1', '10.1.0.1', '192.0.2.1', '192.0.2.200'].map((to) => fate(stage, 1, 7, to));
      expect(fates).to.deep.equal(['passed', 'dst_denied', 'dst_never', 'passed']);
      stage.datapath.setDestinations([]);
      expect(fate(stage, 1, 8, '10.1.0.1')).to.equal('passed');
    });

    it('sources count where an allow list is in force, and others take their place whole', () => {
      const stage = play({ restrictSources: true });
      stage.stock({ blocks: 8 });
      expect(fate(stage, 1, 1), 'nobody is named').to.equal('source_not_allowed');
      const net = (text: string): Ip6Net => parseIp6Net(text);
      for (const round of [1, 2]) {
        stage.datapath.setSources([net('2001:db8:1::/127'), net('2001:db8:1::8/128')]);
        const fates = [0, 1, 2, 8].map((n) => fate(stage, n, round));
        expect(fates).to.deep.equal(['passed', 'passed', 'source_not_allowed', 'passed']);
      }
      stage.datapath.setSources([net('2001:db8:1::2/127')]);
      const fates = [0, 2, 3, 8].map((n) => fate(stage, n, 9));
      expect(fates).to.deep.equal(['source_not_allowed', 'passed', 'passed', 'source_not_allowed']);
      stage.datapath.setPrograms(stage.wanted({ restrictSources: false }));
      expect(fate(stage, 0, 9), 'no allow list is in force').to.equal('passed');
    });

    it('an address of the pool is no destination, one that the node had and has lost is', () => {
      const stage = play({ slots: 2 });
      const second = formatIp4(FIRST_ADDRESS + 1);
      stage.stock({ addresses: 2, draining: [1] });
      expect(fate(stage, 1, 1, second), 'drains, and is ours still').to.equal('dst_pool');
      stage.tellAddresses({ addresses: 2, shared: [1] });
      expect(fate(stage, 1, 2, second)).to.equal('dst_pool');
      stage.tellAddresses({ addresses: 2, shared: [1], draining: [1] });
      expect(fate(stage, 1, 3, second)).to.equal('passed');
      stage.datapath.setDestinations([rule(`${second}/32`, 'node')]);
      expect(fate(stage, 1, 4, second), 'the node has it').to.equal('dst_node');
    });

    it('is asked once a session: one that is there goes on until a sweep', () => {
      const stage = play();
      stage.stock();
      expect(fate(stage, 1, 1)).to.equal('passed');
      stage.datapath.setDestinations([rule('192.0.2.1/32', 'configured')]);
      expect([fate(stage, 1, 1), fate(stage, 1, 2)]).to.deep.equal(['passed', 'dst_denied']);
    });

    const sweep = (stage: Stage) => [1, 2].flatMap(() => stage.datapath.sweep(IDLE_MS).ended);
    const left = (stage: Stage) => stage.datapath.sessions().map(({ source }) => source.port);

    it('sessions that the destinations have come to refuse end with the next sweep, and the others go on', () => {
      const stage = play({ prefixes: [PREFIX, WELL_KNOWN] });
      stage.stock();
      const [a, b] = ['192.0.2.1', '192.0.2.2'];
      expect([fate(stage, 1, 1, a), fate(stage, 1, 2, b)]).to.deep.equal(['passed', 'passed']);
      expect([fate(stage, 1, 3, '192.0.2.3', WELL_KNOWN), fate(stage, 1, 4, '192.0.2.4')]).to.deep.equal([
        'passed',
        'passed',
      ]);
      expect(sweep(stage)).to.deep.equal([]);
      stage.datapath.setDestinations([rule(`${a}/32`, 'configured'), rule('192.0.2.3/32', 'nonGlobal')]);
      expect(sweep(stage).map(({ source }) => source.port)).to.have.members([1, 3]);
      expect(left(stage)).to.have.members([2, 4]);
      expect([fate(stage, 1, 1, a), fate(stage, 1, 2, b)]).to.deep.equal(['dst_denied', 'passed']);
      stage.datapath.setDestinations([rule(`${b}/32`, 'node')]);
      sweep(stage);
      expect(left(stage)).to.have.members([4]);
      stage.datapath.setPoolAddresses([{ v4: parseIp4('192.0.2.4'), slot: 0, shared: false, draining: false }]);
      sweep(stage);
      expect(left(stage)).to.deep.equal([]);
      expect(stage.block(0).used.udp, 'their ports are free').to.equal(0);
    });

    it('sessions of sources that are no more on the list end with the next sweep, but for those of static bindings', () => {
      const stage = play({ restrictSources: true });
      stage.stock({ blocks: 4 });
      const binding = (port: number) =>
        ({ protocol: 'udp', source: { v6: pod(1), port }, pool: { v4: FIRST_ADDRESS, port: 60_000 } }) as const;
      stage.datapath.setSources([parseIp6Net('2001:db8:1::/64')]);
      stage.datapath.putStaticBinding(binding(7));
      expect([fate(stage, 1, 1), fate(stage, 1, 7), fate(stage, 2, 2)]).to.deep.equal(['passed', 'passed', 'passed']);
      expect(sweep(stage)).to.deep.equal([]);
      stage.datapath.setSources([parseIp6Net('2001:db8:1::2/128')]);
      expect(sweep(stage).map(({ source }) => source.port)).to.deep.equal([1]);
      expect(left(stage)).to.have.members([2, 7]);
      stage.datapath.setDestinations([rule('192.0.2.1/32', 'configured')]);
      expect(sweep(stage).map(({ source }) => source.port)).to.have.members([2, 7]);
    });

    it('without endDeniedSessions they run on', () => {
      const stage = play({ endDeniedSessions: false });
      stage.stock();
      expect(fate(stage, 1, 1)).to.equal('passed');
      stage.datapath.setDestinations([rule('192.0.2.1/32', 'configured')]);
      expect(sweep(stage)).to.deep.equal([]);
      expect([fate(stage, 1, 1), fate(stage, 1, 2)]).to.deep.equal(['passed', 'dst_denied']);
      expect(left(stage)).to.deep.equal([1]);
    });

    it('with admit dns a session begins only where a name has led, while that counts, and then goes on', () => {
      const stage = play({ admit: 'dns' });
      stage.stock();
      const [a, b] = ['192.0.2.1', '192.0.2.2'];
      expect(fate(stage, 1, 1, a), 'no name has led there').to.equal('not_admitted');
      stage.bench.admit(parseIp4(a), 100);
      expect([fate(stage, 1, 1, a), fate(stage, 1, 2, b)]).to.deep.equal(['passed', 'not_admitted']);
      stage.bench.admit(parseIp4(a), 10);
      stage.bench.pass(50_000);
      expect(fate(stage, 1, 3, a), 'what was said before counts').to.equal('passed');
      stage.bench.pass(51_000);
      expect([fate(stage, 1, 3, a), fate(stage, 1, 4, a)]).to.deep.equal(['passed', 'not_admitted']);
      expect(sweep(stage)).to.deep.equal([]);
      expect(left(stage)).to.have.members([1, 3]);
      stage.bench.admit(parseIp4(a), 100);
      expect(fate(stage, 1, 4, a)).to.equal('passed');
      stage.datapath.setPrograms(stage.wanted({ admit: 'all' }));
      expect(fate(stage, 1, 5, b)).to.equal('passed');
    });

    it('what names led to counts for programs that come later, and sessions from before go on', () => {
      const stage = play();
      stage.stock();
      expect(fate(stage, 1, 1)).to.equal('passed');
      stage.bench.admit(parseIp4('192.0.2.2'), 100);
      stage.datapath.setPrograms(stage.wanted({ admit: 'dns' }));
      stage.reopen();
      const fates = [fate(stage, 1, 1), fate(stage, 1, 2), fate(stage, 1, 3, '192.0.2.2')];
      expect(fates).to.deep.equal(['passed', 'not_admitted', 'passed']);
      expect(sweep(stage)).to.deep.equal([]);
    });

    it('admit dns does not concern static bindings, and names do not lead past the other lists', () => {
      const stage = play({ admit: 'dns' });
      stage.stock();
      stage.datapath.putStaticBinding({
        protocol: 'udp',
        source: { v6: pod(1), port: 7 },
        pool: { v4: FIRST_ADDRESS, port: 60_000 },
      });
      expect([fate(stage, 1, 7), fate(stage, 1, 8)]).to.deep.equal(['passed', 'not_admitted']);
      stage.bench.admit(parseIp4('192.0.2.1'), 100);
      stage.datapath.setDestinations([rule('192.0.2.1/32', 'configured')]);
      expect(fate(stage, 1, 9)).to.equal('dst_denied');
    });

    it('nobody reaches an address of the pool, draining or not, and one that is gone is like any other', () => {
      const stage = play();
      const [a, b] = ['203.0.113.1', '203.0.113.2'];
      stage.stock({ addresses: 2, draining: [1] });
      expect(parseIp4(a)).to.equal(FIRST_ADDRESS);
      for (const round of [1, 2]) {
        stage.tellAddresses({ addresses: 2, draining: [1] });
        expect([fate(stage, 1, round, a), fate(stage, 1, round, b)]).to.deep.equal(['dst_pool', 'dst_pool']);
      }
      stage.datapath.setDestinations([rule('203.0.113.0/30', 'node')]);
      expect([fate(stage, 1, 3, a), fate(stage, 1, 3, '203.0.113.3')]).to.deep.equal(['dst_pool', 'dst_node']);
      stage.datapath.setDestinations([]);
      stage.tellAddresses({ addresses: 1 });
      expect([fate(stage, 1, 4, a), fate(stage, 1, 4, b)]).to.deep.equal(['dst_pool', 'passed']);
    });

    it('limits() say how many fit; more are refused, and what fits can be set then', () => {
      const stage = play({ restrictSources: true });
      const { datapath } = stage;
      stage.stock();
      const limits = datapath.limits();
      expect(limits.blocks).to.equal(stage.sizes.maxBlocks);
      const rules = Array.from({ length: limits.destinations + 1 }, (_, i): DestinationRule => {
        return { net: { v4: parseIp4('10.0.0.0') + i, length: 32 }, verdict: 'never' };
      });
      const sources = Array.from({ length: limits.sources + 1 }, (_, i): Ip6Net => {
        const v6 = parseIp6Net('2001:db8:1::/128').v6.slice();
        new DataView(v6.buffer).setUint32(12, i);
        return { v6, length: 128 };
      });
      for (const act of [() => datapath.setDestinations(rules), () => datapath.setSources(sources)]) {
        expect(act).to.throw().with.property('code', 'G64_DATAPATH_MAP');
      }
      datapath.setDestinations(rules.slice(1));
      datapath.setSources(sources.slice(1));
      expect([fate(stage, 1, 1, '10.0.0.0'), fate(stage, 1, 1, '10.0.0.1')]).to.deep.equal(['passed', 'dst_never']);
      expect([fate(stage, 0, 1), fate(stage, limits.sources, 1)]).to.deep.equal([
        'source_not_allowed',
        'pool_exhausted',
      ]);
    });
  });
}
