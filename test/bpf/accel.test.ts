// SPDX-License-Identifier: Apache-2.0
// The accelerator at a pod's interface: it takes packets of established sessions from where their pod is, and nothing else;
// answers go back to the pod's device.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { u32Codec } from '../../src/model/codecs.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { counterCodec } from '../../src/model/layout.gen.ts';
import { eth, PROTO, TCP, type Packet } from '../helpers/packet.ts';
import { expectOut, expectSound, POD, POOL, SERVER, SERVER6, withPlane, type Outcome, type Plane } from './plane.ts';

const T = 40001;
const OPTIONS = { uplinkMtu: 1500, config: { accelerate: true } } as const;
const MACS = { pod: '02:00:00:00:00:0a', node: '' };

const bytesOf = (mac: string) => Uint8Array.from(mac.split(':'), (byte) => parseInt(byte, 16));
const from6 = (hopLimit = 64) => eth().ip6({ src: POD, dst: SERVER6, hopLimit });
const from4 = (ttl = 64) => eth().ip4({ src: SERVER, dst: POOL, ttl });
const udp6 = (hopLimit = 64) => from6(hopLimit).udp({ sport: T, dport: 53 });
const udp4 = (ttl = 64) => from4(ttl).udp({ sport: 53, dport: T });

/** As the pod's interface sees it, with the addresses of its link. */
function framed(packet: Packet): Uint8Array {
  const frame = packet.build();
  frame.set(bytesOf(MACS.node), 0);
  frame.set(bytesOf(MACS.pod), 6);
  return frame;
}

/** At the interface that the route back to the pod leads to; `ifindex` is of another. */
const atPod = (plane: Plane, packet: Packet, ifindex = plane.config.device.ifindex): Outcome =>
  plane.accel(framed(packet), { device: ifindex, ingress: ifindex });

function untouched(plane: Plane, packet: Packet, ifindex?: number): void {
  const before = plane.state();
  let outcome: Outcome | undefined;
  expect(plane.dropsOf(() => (outcome = atPod(plane, packet, ifindex)))).to.deep.equal({});
  expect(outcome?.action).to.equal('pass');
  expect(outcome?.frame).to.deep.equal(framed(packet));
  expect(plane.state()).to.deep.equal(before);
}

function openUdp(plane: Plane): void {
  expectSound(plane.gate(udp6()));
  expectSound(plane.uplink(udp4()));
}

const segment = (flags: number) => from6().tcp({ sport: T, dport: 80, flags });
const answer = (flags: number) => from4().tcp({ sport: 80, dport: T, flags });

/** The handshake, then a request by so many segments and its answer. */
function openTcp(plane: Plane, requests = 2): void {
  expectSound(plane.gate(segment(TCP.syn)));
  expectSound(plane.uplink(answer(TCP.syn | TCP.ack)));
  for (let i = 0; i <= requests; i++) {
    untouched(plane, segment(TCP.ack));
    expectSound(plane.gate(segment(TCP.ack)));
  }
  expectSound(plane.uplink(answer(TCP.ack)));
}

const sysctl = (name: string, value: string) => execFileSync('sysctl', ['-qw', `${name}=${value}`]);

/** Packets by direction, 6to4 first. */
const accelerated = (plane: Plane): number[] => {
  const counters = new TypedMap(plane.maps.n64_accelerated, u32Codec, counterCodec);
  return [0, 1].map((at) => (counters.lookupPerCpu(at) ?? []).reduce((sum, { packets }) => sum + Number(packets), 0));
};

describe('accelerator', () => {
  before(() => {
    withPlane(OPTIONS, () => undefined);
    const shown = execFileSync('ip', ['-j', 'link', 'show', 'plane0'], { encoding: 'utf8' });
    MACS.node = (JSON.parse(shown) as [{ address: string }])[0].address;
    sysctl('net.ipv6.conf.plane0.forwarding', '1');
    execFileSync('ip', ['-6', 'route', 'replace', `${POD}/128`, 'dev', 'plane0']);
  });

  after(() => {
    execFileSync('ip', ['-6', 'route', 'del', `${POD}/128`, 'dev', 'plane0']);
    sysctl('net.ipv6.conf.plane0.forwarding', '0');
  });

  it('takes UDP once an answer has been seen, and is the hop; a first packet is the node’s', () => {
    withPlane(OPTIONS, (plane) => {
      untouched(plane, udp6());
      expectSound(plane.gate(udp6()));
      untouched(plane, udp6());
      expectSound(plane.uplink(udp4()));
      const expected = eth().ip4({ src: POOL, dst: SERVER, ttl: 63 }).udp({ sport: T, dport: 53 });
      expectOut(atPod(plane, udp6()), expected, { anyId: true });
      expect(accelerated(plane)).to.deep.equal([1, 0]);
    });
  });

  it('takes an established connection’s segments, none with SYN, FIN or RST', () => {
    withPlane(OPTIONS, (plane) => {
      openTcp(plane);
      expectSound(atPod(plane, segment(TCP.ack)));
      for (const flags of [TCP.syn, TCP.fin | TCP.ack, TCP.rst]) untouched(plane, segment(flags));
      expectSound(plane.gate(segment(TCP.fin | TCP.ack)));
      untouched(plane, segment(TCP.ack));
    });
  });

  it('a packet a second is the node’s, and every one from then on until the node has let one pass', () => {
    withPlane(OPTIONS, (plane) => {
      openUdp(plane);
      expectSound(atPod(plane, udp6()));
      plane.age(1.1);
      for (let i = 0; i < 3; i++) untouched(plane, udp6());
      expectSound(plane.gate(udp6()));
      expectSound(atPod(plane, udp6()));
    });
  });

  it('answers that begin or end something go the node’s way, and so does a flow’s first one', () => {
    withPlane(OPTIONS, (plane) => {
      const isStraight = (packet: Packet) => plane.uplink(packet, { ingress: 1 }).l3[7] === 63;
      openTcp(plane);
      expectSound(atPod(plane, segment(TCP.ack)));
      expect(isStraight(answer(TCP.ack))).to.equal(true);
      for (const flags of [TCP.syn | TCP.ack, TCP.fin | TCP.ack, TCP.rst]) {
        expect(isStraight(answer(flags)), `${flags}`).to.equal(false);
      }
      expectSound(plane.gate(udp6()));
      expect(isStraight(udp4())).to.equal(false);
      expect(isStraight(udp4())).to.equal(true);
    });
  });

  it('takes echo', () => {
    withPlane(OPTIONS, (plane) => {
      expectSound(plane.gate(from6().echo6(T)));
      untouched(plane, from6().echo6(T));
      expectSound(plane.uplink(from4().echo4(T, 1, true)));
      expectSound(atPod(plane, from6().echo6(T)));
    });
  });

  it('leaves fragments, the last hop, what has run out and other destinations to the node', () => {
    withPlane(OPTIONS, (plane) => {
      openUdp(plane);
      untouched(plane, from6().fragment({ id: 1, more: true }).udp({ sport: T, dport: 53 }));
      untouched(plane, from6().fragment({ id: 1, offset: 8, nextHeader: PROTO.udp }));
      untouched(plane, udp6(1));
      untouched(plane, eth().ip6({ src: POD, dst: '2001:db8::1' }).udp({ sport: T, dport: 53 }));
      plane.age(60);
      untouched(plane, udp6());
    });
  });

  it('believes no source that the route back leads elsewhere for, learned or not', () => {
    withPlane(OPTIONS, (plane) => {
      openUdp(plane);
      untouched(plane, udp6(), 1);
      expectSound(atPod(plane, udp6()));
      untouched(plane, udp6(), 1);
    });
  });

  it('answers go to the pod’s device, with the addresses of its link, one hop less', () => {
    withPlane(OPTIONS, (plane) => {
      openUdp(plane);
      expect(plane.uplink(udp4(), { ingress: 1 }).l3[7], 'nothing is learned yet').to.equal(64);
      expectSound(atPod(plane, udp6()));
      const reply = plane.uplink(udp4(), { ingress: 1 });
      expectOut(reply, eth().ip6({ src: SERVER6, dst: POD, hopLimit: 63 }).udp({ sport: 53, dport: T }));
      expect(reply.frame.slice(0, 6)).to.deep.equal(bytesOf(MACS.pod));
      expect(reply.frame.slice(6, 12)).to.deep.equal(bytesOf(MACS.node));
      expect(accelerated(plane)).to.deep.equal([1, 1]);
    });
  });

  it('answers too large for the pod’s device go the node’s way, which says so', () => {
    withPlane({ ...OPTIONS, deviceMtu: 9000 }, (plane) => {
      openUdp(plane);
      expectSound(atPod(plane, udp6()));
      const large = from4().udp({ sport: 53, dport: T }).payload(new Uint8Array(1470));
      expect(plane.uplink(large, { ingress: 1 }).l3[7]).to.equal(64);
      expect(accelerated(plane)).to.deep.equal([1, 0]);
    });
  });
});
