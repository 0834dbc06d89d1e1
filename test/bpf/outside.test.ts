// SPDX-License-Identifier: Apache-2.0
// What the IPv4 side may do to a pod: sessions that others begin take nothing of the pod's own, do not outlive the pod
// for long, and what no pod asked for on an address of the node's is the node's.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { eth, TCP } from '../helpers/packet.ts';
import { POD, POOL, SERVER, SERVER6, TIMEOUTS, withPlane } from './plane.ts';

const T = 40001;
const { syn, ack, fin, psh } = TCP;

const out = (sport = T, dport = 53, dst = SERVER6) =>
  eth().ip6({ src: POD, dst }).udp({ sport, dport }).payload('question');
const back = (sport = 53, dport = T, src = SERVER) =>
  eth().ip4({ src, dst: POOL }).udp({ sport, dport }).payload('answer');

describe('from outside', () => {
  describe('sessions that others begin', () => {
    const LIMIT = 16;

    it('count apart from the pod’s own, and end as they began', () => {
      withPlane({ config: { maxSessionsPerPod: LIMIT } }, (plane) => {
        expect(plane.gate(out()).action).to.equal('redirect');
        // From another port of a server that the pod has written to: admitted by its address (RFC 6146 3.5.1).
        for (let port = 1000; port < 1000 + LIMIT; port++) {
          expect(plane.gate(back(port)).action, `from port ${port}`).to.equal('redirect');
        }
        expect(plane.dropsOf(() => plane.gate(back(2000)))).to.deep.equal({ pod_quota: 1 });
        for (let i = 1; i < LIMIT; i++) {
          expect(plane.gate(out(T, 53 + i)).action, `the pod’s own, ${i}`).to.equal('redirect');
        }
        expect(plane.dropsOf(() => plane.gate(out(T, 200)))).to.deep.equal({ pod_quota: 1 });
        expect(plane.datapath.pods()[0]?.sessions).to.equal(2 * LIMIT);
        plane.age(TIMEOUTS.udp + 5);
        plane.datapath.sweep(60_000);
        expect(plane.datapath.sessions()).to.deep.equal([]);
        expect(plane.gate(out()).action).to.equal('redirect');
        for (let port = 1000; port < 1000 + LIMIT; port++) {
          expect(plane.gate(back(port)).action, `again, from port ${port}`).to.equal('redirect');
        }
      });
    });
  });

  describe('U4787-6-a: packets from outside alone', () => {
    const lives = (inboundRefresh: 'bounded' | 'always' | 'never') =>
      withPlane({ config: { inboundRefresh } }, (plane) => {
        plane.gate(out());
        plane.gate(back());
        // The pod was heard so many lifetimes ago, the server just now.
        for (let lifetimes = 0; lifetimes < 8; lifetimes++) {
          plane.heard({ pod: lifetimes * TIMEOUTS.udp + 5, server: 0 });
          plane.datapath.sweep(60_000);
          if (plane.datapath.sessions().length === 0) return lifetimes;
        }
        return Infinity;
      });

    it('bounded: keep a session for one lifetime more after the pod was heard last', () => {
      expect(lives('bounded')).to.equal(2);
    });
    it('N6146-5.3-b: never: keep none', () => expect(lives('never')).to.equal(1));
    it('always: keep it', () => expect(lives('always')).to.equal(Infinity));
  });

  it('sessions without an answer give way before others while there is want of ports', () => {
    withPlane({}, (plane) => {
      plane.gate(out());
      plane.gate(out(T + 1));
      plane.gate(back());
      plane.datapath.setClosingTimes([{ ms: 2000 }]);
      plane.age(12);
      plane.datapath.sweep(60_000);
      expect(plane.datapath.sessions().map(({ source }) => source.port)).to.deep.equal([T]);
      plane.datapath.setClosingTimes([]);
    });
  });

  describe('on an address that the node uses too', () => {
    const shared = { uplink: true, pool: [{ v4: parseIp4(POOL), slot: 0, shared: true, draining: false }] };
    const tcp = (flags: number, src = SERVER) => eth().ip4({ src, dst: POOL }).tcp({ sport: 443, dport: T, flags });

    it('what belongs to no session goes to the node’s stack, and is no drop', () => {
      withPlane(shared, (plane) => {
        plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: T, dport: 443, flags: syn }));
        plane.gate(out());
        for (const [what, packet] of [
          ['an answer to a connection of the node’s own', tcp(syn | ack, '198.51.100.8')],
          ['its data', tcp(psh | ack, '198.51.100.8')],
          ['its end', tcp(fin | ack, '198.51.100.8')],
          ['a connection to the node', tcp(syn, '198.51.100.9')],
          ['a datagram of whom no pod has written to', back(53, T, '198.51.100.8')],
        ] as const) {
          expect(
            plane.dropsOf(() => expect(plane.uplink(packet).action, what).to.equal('pass')),
            what,
          ).to.deep.equal({});
        }
        expect(plane.uplink(tcp(syn | ack)).action).to.equal('redirect');
        expect(plane.uplink(back()).action).to.equal('redirect');
      });
    });

    it('on an address of gate64’s alone it is dropped under its reason', () => {
      withPlane({}, (plane) => {
        plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: T, dport: 443, flags: syn }));
        expect(plane.dropsOf(() => plane.gate(tcp(psh | ack, '198.51.100.8')))).to.deep.equal({ tcp_no_session: 1 });
      });
    });
  });

  describe('from the uplink’s side to the prefix', () => {
    it('nobody is served unless nat64.allowSources names them', () => {
      withPlane({}, (plane) => {
        const uplink = plane.config.uplinks[0]?.ifindex as number;
        const options = { ingress: uplink };
        expect(plane.dropsOf(() => plane.gate(out(), options))).to.deep.equal({ from_uplink: 1 });
      });
      withPlane({ config: { restrictSources: true } }, (plane) => {
        const options = { ingress: plane.config.uplinks[0]?.ifindex as number };
        expect(
          plane.dropsOf(() => plane.gate(out(), options)),
          'on no list',
        ).to.deep.equal({ from_uplink: 1 });
        plane.datapath.setSources([{ v6: parseIp6('2001:db8:1::'), length: 64 }]);
        expect(plane.gate(out(), options).action).to.equal('redirect');
      });
    });
  });
});
