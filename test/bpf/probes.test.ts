// SPDX-License-Identifier: Apache-2.0
// Silent TCP sessions (RFC 6146 §3.5.2.2): the sweep moves them to TRANS and asks the pod, whose answer brings them back;
// without a way to ask they keep their time.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { faults } from '../helpers/packet-read.ts';
import { ETHERNET_BYTES, eth, TCP } from '../helpers/packet.ts';
import { eventually } from '../helpers/processes.ts';
import { DEVICE_MAC, Plane, POD, POOL, SERVER, SERVER6, TIMEOUTS } from './plane.ts';

const { syn, ack, rst, fin } = TCP;
const T = 40001;
const IDLE_MS = 60_000;
const { tcpEstablished: EST, tcpTransitory: TRANS } = TIMEOUTS;
/** Of the clock that packets judge by. */
const SLACK = 1;

describe('probes of silent TCP sessions', () => {
  let plane: Plane;
  let link: PacketSocket;
  const frames: Uint8Array[] = [];

  const send = (side: 'v6' | 'v4', flags: number, port = T) =>
    side === 'v6'
      ? plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: port, dport: 80, flags }))
      : plane.gate(eth().ip4({ src: SERVER, dst: POOL }).tcp({ sport: 80, dport: port, flags }));
  const session = () => plane.datapath.sessions()[0];
  const left = () => ((session()?.expiresAt ?? 0) - Date.now()) / 1000;
  const open = (port = T) => {
    send('v6', syn, port);
    send('v4', syn | ack, port);
  };
  const sweep = () => plane.datapath.sweep(IDLE_MS);
  const came = (count: number) => eventually('probes', () => (frames.length >= count ? frames.splice(0) : undefined));
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));

  before(() => {
    execFileSync('ip', ['link', 'add', 'probe0', 'type', 'veth', 'peer', 'name', 'probe0x']);
    for (const name of ['probe0', 'probe0x']) execFileSync('ip', ['link', 'set', name, 'up']);
    const ifindex = ifNameToIndex('probe0');
    plane = new Plane({ config: { device: { ifindex, mac: DEVICE_MAC, mtu: 1500 } } });
    link = new PacketSocket({ ifindex, mark: 0, receiveBuffer: 1 << 20 }, (got) => {
      // The kernel's own, of a device that came up, are beside the point.
      frames.push(...got.filter((frame) => frame[ETHERNET_BYTES + 6] === 6));
    });
  });
  after(() => {
    link.close();
    plane[Symbol.dispose]();
    execFileSync('ip', ['link', 'delete', 'probe0']);
  });
  afterEach(() => {
    plane.reset();
    frames.splice(0);
  });

  it('N6146-3.5.2.2-20: without a packet socket no session is moved: ESTABLISHED lasts as long as both timers', async () => {
    open();
    plane.age(EST + TRANS - 2);
    expect(sweep().endedCount).to.equal(0);
    expect(session()?.state).to.equal('established');
    await pause();
    expect(frames).to.deep.equal([]);
    plane.age(EST + TRANS + SLACK + 1);
    expect(sweep().endedCount).to.equal(1);
  });

  describe('with one', () => {
    before(() => plane.datapath.takeFragments(() => undefined));

    it('N6146-3.5.2.2-20: ESTABLISHED, its timer: TRANS for TCP_TRANS, and the pod is asked by ACK, then SYN with ACK', async () => {
      open();
      plane.age(EST - 1);
      expect(sweep().endedCount).to.equal(0);
      expect(session()?.state).to.equal('established');
      plane.age(EST + 1);
      expect(sweep()).to.deep.include({ endedCount: 0, ended: [], finished: true });
      expect(session()?.state).to.equal('transitory');
      expect(left()).to.be.closeTo(TRANS + SLACK, 1);
      const probes = await came(2);
      expect(probes.map((probe) => probe.slice(0, 6))).to.deep.equal([DEVICE_MAC, DEVICE_MAC]);
      const wanted = [ack, syn | ack].map((flags) =>
        eth()
          .ip6({ src: SERVER6, dst: POD, hopLimit: 64 })
          .tcp({ sport: 80, dport: T, flags, seq: 0, ack: 0, window: 0xffff }),
      );
      const bytes = probes.map((probe) => Buffer.from(probe.slice(ETHERNET_BYTES)).toString('hex'));
      expect(bytes).to.deep.equal(wanted.map((one) => Buffer.from(one.l3()).toString('hex')));
      expect(probes.flatMap((probe) => faults(probe.slice(ETHERNET_BYTES)))).to.deep.equal([]);
      sweep();
      await pause();
      expect(frames, 'once').to.deep.equal([]);
    });

    for (const side of ['v6', 'v4'] as const) {
      it(`N6146-3.5.2.2-29: a probed session that ${side} is heard of is ESTABLISHED again for its whole time`, () => {
        open();
        plane.age(EST + 1);
        sweep();
        expect(send(side, ack).action).to.equal('redirect');
        expect(session()?.state).to.equal('established');
        expect(left()).to.be.closeTo(EST + TRANS, 3);
        expect(sweep().endedCount).to.equal(0);
        expect(session()?.state).to.equal('established');
      });
    }

    it('N6146-3.5.2.2-30: N6146-3.5.2.2-31: one whose pod answers with RST, or not, is over after TCP_TRANS', () => {
      open();
      open(T + 1);
      plane.age(EST + 1);
      sweep();
      expect(send('v6', rst).action).to.equal('redirect');
      expect(plane.datapath.sessions().map(({ state }) => state)).to.deep.equal(['transitory', 'transitory']);
      // TRANS's own timer is tcpClosing, and starts the difference later.
      plane.age(TIMEOUTS.tcpClosing - 1);
      expect(sweep().endedCount).to.equal(0);
      plane.age(TIMEOUTS.tcpClosing + SLACK + 1);
      const ended = [...sweep().ended, ...sweep().ended];
      expect(ended.map(({ state }) => state)).to.deep.equal(['transitory', 'transitory']);
    });

    it('asks of nothing but silent ESTABLISHED: not what one side is heard of, nor what closes, nor what is over', async () => {
      open();
      plane.heard({ pod: EST + 1, server: 5 });
      sweep();
      plane.heard({ pod: 5, server: EST + 1 });
      sweep();
      expect(session()?.state).to.equal('established');
      send('v6', fin | ack);
      plane.age(EST - 1);
      sweep();
      expect(session()?.state).to.equal('v6FinReceived');
      plane.reset();
      open();
      plane.age(EST + TRANS + SLACK + 1);
      expect(sweep().ended.map(({ state }) => state)).to.deep.equal(['established']);
      await pause();
      expect(frames).to.deep.equal([]);
    });

    it('asks a thousand a second; the others keep their state and their time', async () => {
      const big = Array.from({ length: 1020 }, (_, i) => 40000 + i);
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (const port of big) open(port);
      plane.age(EST + 1);
      const started = performance.now();
      sweep();
      const states = () => plane.datapath.sessions().filter(({ state }) => state === 'transitory').length;
      expect(states()).to.be.within(990, 1000);
      while (states() < big.length && performance.now() - started < 5000) {
        await pause();
        sweep();
      }
      expect(states()).to.equal(big.length);
      expect(plane.datapath.sessions()).to.have.length(big.length);
    });
  });
});
