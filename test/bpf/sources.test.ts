// SPDX-License-Identifier: Apache-2.0
// One pod with many source addresses, its own or forged: what it can take of the pool.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { formatIp6, parseIp4 } from '../../src/addr/ip.ts';
import { eth } from '../helpers/packet.ts';
import { POOL, SERVER6, withPlane } from './plane.ts';

const SIZE = 64;
const blocksOf = (count: number) =>
  Array.from({ length: count }, (_, index) => {
    return { index, slot: 0, v4: parseIp4(POOL), firstPort: 1024 + SIZE * index, size: SIZE };
  });
const udp = (src: string, sport = 5000, dport = 53) => eth().ip6({ src, dst: SERVER6 }).udp({ sport, dport });

describe('many sources', () => {
  describe('nat64.podPrefixLength', () => {
    const host = (n: number) => `2001:db8:1:${n >> 16}::${(n & 0xffff).toString(16)}`;

    for (const [length, expected] of [
      [128, 200],
      [64, 1],
    ] as const) {
      it(`${length}: 200 addresses of one /64 are ${expected === 1 ? 'one pod' : '200 pods'} to quotas and blocks`, () => {
        withPlane(
          { config: { podPrefixLength: length, maxBlocksPerPod: 4 }, blocks: blocksOf(256), maxBlocks: 256 },
          (plane) => {
            for (let n = 1; n <= 200; n++) expect(plane.gate(udp(host(n))).action, host(n)).to.equal('redirect');
            const pods = plane.datapath.pods();
            expect(pods).to.have.length(expected);
            expect(pods.reduce((sum, { sessions }) => sum + sessions, 0)).to.equal(200);
            const leased = plane.datapath.blocks().filter(({ state }) => state === 'leased');
            expect(leased).to.have.length(expected === 1 ? 4 : 200);
            // The sessions are each address's own all the same.
            expect(new Set(plane.datapath.sessions().map(({ source }) => formatIp6(source.v6))).size).to.equal(200);
          },
        );
      });
    }

    it('64: one /64 is held to its quota, and the next one is served', () => {
      withPlane(
        { config: { podPrefixLength: 64, maxBlocksPerPod: 2 }, blocks: blocksOf(256), maxBlocks: 256 },
        (plane) => {
          const refused = plane.dropsOf(() => {
            for (let n = 1; n <= 2 * SIZE + 10; n++) plane.gate(udp(host(n)));
          });
          expect(refused).to.deep.equal({ pod_quota: 10 });
          expect(plane.gate(udp('2001:db8:1:7::1')).action).to.equal('redirect');
          plane.age(600);
          // The kernel's walk may step over an entry whose neighbours it sees deleted: the next one finds it.
          while (plane.datapath.sessions().length > 0) plane.datapath.sweep(60_000);
          expect(plane.datapath.pods().map(({ sessions }) => sessions)).to.deep.equal([0, 0]);
        },
      );
    });
  });

  it('the last blocks are kept for pods that hold none', () => {
    const options = { config: { maxBlocksPerPod: 64, reservedBlocks: 4 }, blocks: blocksOf(32), maxBlocks: 256 };
    withPlane(options, (plane) => {
      const greedy = '2001:db8:1::66';
      const refused = plane.dropsOf(() => {
        for (let port = 1; port <= 32 * SIZE; port++) plane.gate(udp(greedy, port));
      });
      expect(refused).to.deep.equal({ pool_exhausted: 4 * SIZE });
      for (let n = 1; n <= 4; n++)
        expect(plane.gate(udp(`2001:db8:1::${n}`)).action, `newcomer ${n}`).to.equal('redirect');
      expect(plane.dropsOf(() => plane.gate(udp('2001:db8:1::5')))).to.deep.equal({ pool_exhausted: 1 });
      // What comes back to the pool counts again.
      plane.age(600);
      while (plane.datapath.sessions().length > 0) plane.datapath.sweep(0);
      plane.datapath.sweep(0);
      for (const { index, state } of plane.datapath.blocks()) if (state === 'resting') plane.datapath.offerBlock(index);
      expect(
        plane.dropsOf(() => {
          for (let port = 1; port <= 28 * SIZE; port++) plane.gate(udp(greedy, port));
        }),
      ).to.deep.equal({});
    });
  });

  describe('nat64.checkSources', () => {
    const pod = '2001:db8:5::5';
    const sh = (command: string) => execFileSync('sh', ['-ec', command]);
    let ingress: { pod: number; other: number };

    before(() => {
      // The device has to forward, as the owned one does.
      sh(`
        ip link add src0 type veth peer name src1; ip link add out0 type veth peer name out1
        for d in src0 src1 out0 out1; do ip link set $d up; done
        ip -6 route add 2001:db8:5::/64 dev src0
        ip -6 route add default dev plane1
        sysctl -qw net.ipv6.conf.all.forwarding=1`);
      const index = (name: string) =>
        Number(execFileSync('sh', ['-c', `ip -o link show ${name} | cut -d: -f1`], { encoding: 'utf8' }));
      ingress = { pod: index('src0'), other: index('out0') };
    });
    after(() =>
      sh(
        'ip -6 route del default dev plane1; ip link del src0; ip link del out0; sysctl -qw net.ipv6.conf.all.forwarding=0',
      ),
    );

    const outcome = (checkSources: 'loose' | 'strict' | 'off', src: string, from: number | undefined) =>
      withPlane({ config: { checkSources }, blocks: blocksOf(16) }, (plane) => {
        const dropped = plane.dropsOf(() => plane.gate(udp(src), from === undefined ? {} : { ingress: from }));
        return Object.keys(dropped)[0] ?? 'passed';
      });

    it('loose: a source whose route leads outside is refused, one that is routed elsewhere inside is not', () => {
      expect(outcome('loose', pod, ingress.pod)).to.equal('passed');
      expect(outcome('loose', pod, ingress.other)).to.equal('passed');
      expect(outcome('loose', '2001:db8:6::1', ingress.pod), 'by the default route').to.equal('source_not_routed');
      expect(outcome('loose', '2001:db8:6::1', undefined), 'the node’s own').to.equal('passed');
    });

    it('strict: by no other interface than the route back', () => {
      expect(outcome('strict', pod, ingress.pod)).to.equal('passed');
      expect(outcome('strict', pod, ingress.other)).to.equal('source_not_routed');
    });

    it('an echo in fragments is not handed to user space, where nobody knows what it came by', () => {
      withPlane({ config: { checkSources: 'strict' }, blocks: blocksOf(16) }, (plane) => {
        const first = eth()
          .ip6({ src: pod, dst: SERVER6 })
          .fragment({ id: 9, more: true })
          .echo6(7)
          .payload('12345678');
        const dropped = plane.dropsOf(() => plane.gate(first, { ingress: ingress.other }));
        expect(dropped).to.deep.equal({ source_not_routed: 1 });
        expect(plane.gate(first, { ingress: ingress.pod }).action).to.equal('handed');
      });
    });

    it('off: all', () => {
      expect(outcome('off', '2001:db8:6::1', ingress.pod)).to.equal('passed');
    });

    it('no route at all: refused', () => {
      sh('ip -6 route add unreachable 2001:db8:7::/64');
      expect(outcome('loose', '2001:db8:7::1', ingress.pod)).to.equal('source_not_routed');
      sh('ip -6 route del unreachable 2001:db8:7::/64');
    });

    it('a pod with a whole /64 leaves the last blocks to those behind other interfaces', () => {
      const config = { checkSources: 'strict' as const, reservedBlocks: 8 };
      withPlane({ config, blocks: blocksOf(64), maxBlocks: 256 }, (plane) => {
        const many = plane.dropsOf(() => {
          for (let n = 1; n <= 2100; n++) plane.gate(udp(`2001:db8:5::1:${n.toString(16)}`), { ingress: ingress.pod });
        });
        expect(many).to.deep.equal({ pool_exhausted: 2100 - 56 });
        sh('ip -6 route add 2001:db8:8::/64 dev out0');
        for (let n = 1; n <= 8; n++) {
          expect(plane.gate(udp(`2001:db8:8::${n}`), { ingress: ingress.other }).action, `other ${n}`).to.equal(
            'redirect',
          );
        }
        sh('ip -6 route del 2001:db8:8::/64 dev out0');
        // What it held goes back with its blocks.
        plane.age(600);
        plane.datapath.sweep(0);
        expect([...plane.maps.n64_devices.keys()]).to.deep.equal([]);
      });
    });

    it('a flood of 2100 forged sources takes no block', () => {
      withPlane({ blocks: blocksOf(64), maxBlocks: 256 }, (plane) => {
        for (let n = 0; n < 2100; n++) {
          plane.gate(udp(`2001:db8:6:${n.toString(16)}::1`), { ingress: ingress.pod });
        }
        expect(plane.datapath.pods()).to.deep.equal([]);
        expect(plane.gate(udp(pod), { ingress: ingress.pod }).action).to.equal('redirect');
      });
    });
  });
});
