// SPDX-License-Identifier: Apache-2.0
// TCP connections from the IPv4 side that nobody asked for (bpf/syn.h): what of them goes to user space, bounded, and what
// becomes of those that have waited there in vain.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { parseIp4 } from '../../src/addr/ip.ts';
import { ifNameToIndex, PacketSocket } from '../../src/libbpf/mod.ts';
import { SYN_MARK } from '../../src/model/layout.gen.ts';
import { bare, ETHERNET_BYTES, eth, TCP, type Packet } from '../helpers/packet.ts';
import { eventually } from '../helpers/processes.ts';
import { DEVICE_MAC, expectOut, Plane, POD, POOL, SERVER, SERVER6, withPlane, type RunOptions } from './plane.ts';

const { syn, ack, fin, rst } = TCP;
const T = 40001;
const OTHER = '198.51.100.9';
const from4 = (src = OTHER, fields: object = {}) => eth().ip4({ src, dst: POOL, ...fields });
const call = (dport = T, src = OTHER, flags: number = syn) => from4(src).tcp({ sport: 7, dport, flags });
const open = (plane: Plane) =>
  plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: T, dport: 80, flags: syn }));

describe('SYNs that nobody asked for', () => {
  let plane: Plane;
  const gives = (packet: Packet, action: string, drops: Record<string, number>, options: RunOptions = {}) => {
    let outcome = '';
    expect(plane.dropsOf(() => (outcome = plane.gate(packet, options).action))).to.deep.equal(drops);
    expect(outcome).to.equal(action);
  };

  before(() => {
    plane = new Plane();
  });
  after(() => plane[Symbol.dispose]());
  beforeEach(() => {
    plane.reset();
    open(plane);
  });

  it('N6146-3.5.2.2-03: N6146-3.5.2.2-04: with a binding or without, they go to user space as they are, and count as drops', () => {
    for (const [port, reason] of [
      [T, 'tcp_external_syn'],
      [T + 1, 'no_binding'],
    ] as const) {
      gives(call(port), 'handed', { [reason]: 1 });
      const { frame: out } = plane.gate(call(port));
      expect(out.slice(0, 6)).to.deep.equal(DEVICE_MAC);
      expect(Buffer.from(out.slice(ETHERNET_BYTES))).to.deep.equal(Buffer.from(call(port).l3()));
    }
    expect(plane.datapath.sessions()).to.have.length(1);
  });

  for (const [what, flags] of [
    ['SYN with ACK', syn | ack],
    ['SYN with FIN', syn | fin],
    ['SYN with RST', syn | rst],
    ['ACK', ack],
    ['RST', rst],
  ] as const) {
    it(`${what} does not`, () => {
      gives(call(T, OTHER, flags), 'drop', { tcp_no_session: 1 });
      gives(call(T + 1, OTHER, flags), 'drop', { no_binding: 1 });
    });
  }

  it('nor does UDP, the first fragment of a SYN, or what is from no possible sender', () => {
    gives(from4().udp({ sport: 7, dport: T + 1 }), 'drop', { no_binding: 1 });
    const first = from4(OTHER, { mf: true }).tcp({ sport: 7, dport: T, flags: syn }).payload('12345678');
    gives(first, 'drop', { tcp_external_syn: 1 });
    gives(call(T, '224.0.0.1'), 'drop', { source_illegal: 1 });
    gives(call(T + 1, '224.0.0.1'), 'drop', { no_binding: 1 });
  });

  it('N6146-3.5.2.2-10: T5382-4-c: one that has waited in vain is answered: the port is unreachable', () => {
    const packet = from4(OTHER, { tos: 0x28 }).tcp({ sport: 7, dport: T, flags: syn });
    const expected = bare().ip4({ src: POOL, dst: OTHER, tos: 0x28 }).icmp4({ type: 3, code: 3 }).payload(packet);
    const drops = plane.dropsOf(() => expectOut(plane.gate(packet, { mark: SYN_MARK }), expected, { anyId: true }));
    expect(drops, 'it was counted when it came').to.deep.equal({});
  });

  it('the answers share the budget for errors: so many to one sender', () => {
    const packet = call().build();
    const actions = Array.from({ length: 1000 }, () => plane.gate(packet, { mark: SYN_MARK }).action);
    expect(actions.filter((action) => action === 'redirect').length).to.be.within(90, 500);
    expect(actions).to.include('drop');
  });

  it('one sender’s flood is handed over up to a bound, that of many up to another; the rest is dropped', () => {
    const handed = (senders: (n: number) => string) => {
      const actions = Array.from({ length: 4000 }, (_, n) => plane.gate(call(T, senders(n)).build()).action);
      expect(actions.every((action) => action === 'handed' || action === 'drop')).to.equal(true);
      return actions.filter((action) => action === 'handed').length;
    };
    const started = performance.now();
    const one = handed(() => '192.0.2.1');
    expect(one).to.be.within(1, 20 + ((performance.now() - started) / 1000) * 20 + 1);
    expect(plane.gate(call(T, '192.0.2.77')).action, 'another sender').to.equal('handed');
    const again = performance.now();
    const many = handed((n) => `10.1.${n >> 8}.${n & 255}`);
    expect(many).to.be.within(100, 200 + ((performance.now() - again) / 1000) * 200 + 1);
  });

  it('at an uplink they go to the device, without a count; beyond the bound they are dropped there', () => {
    withPlane({ uplinkMtu: 1500 }, (uplink) => {
      expect(uplink.dropsOf(() => expect(uplink.uplink(call()).action).to.equal('redirect'))).to.deep.equal({});
      for (let i = 0; i < 100; i++) uplink.gate(call());
      const drops = uplink.dropsOf(() => expect(uplink.uplink(call()).action).to.equal('drop'));
      expect(drops).to.deep.equal({ no_binding: 1 });
    });
  });

  it('T5382-4-d: N6146-3.5.2.2-02: on an address that is the node’s too its own stack answers, and nobody waits', () => {
    const pool = [{ v4: parseIp4(POOL), slot: 0, shared: true, draining: false }];
    withPlane({ uplinkMtu: 1500, pool }, (shared) => {
      open(shared);
      for (const port of [T, T + 1]) {
        expect(shared.uplink(call(port)).action).to.equal('pass');
        expect(shared.uplink(call(port), { mark: SYN_MARK }).action).to.equal('pass');
      }
      expect(shared.gate(call()).action, 'of another pod').to.equal('drop');
      expect(shared.gate(call(), { mark: SYN_MARK }).action).to.equal('drop');
    });
  });

  describe('in user space', () => {
    const names = ['syn0', 'syn0x'] as const;
    let here: Plane;
    let link: PacketSocket;
    const syns: Uint8Array[] = [];
    const others: Uint8Array[] = [];
    const seen: Uint8Array[] = [];
    const arrive = (bytes: Uint8Array) => link.send(bytes, ifNameToIndex('syn0'), 0x0800);

    before(() => {
      execFileSync('ip', ['link', 'add', names[0], 'type', 'veth', 'peer', 'name', names[1]]);
      for (const name of names) execFileSync('ip', ['link', 'set', name, 'up']);
      here = new Plane({ config: { device: { ifindex: ifNameToIndex('syn0'), mac: DEVICE_MAC, mtu: 1500 } } });
      open(here);
      link = new PacketSocket({ ifindex: ifNameToIndex('syn0'), mark: 0, receiveBuffer: 1 << 20 }, (frames) => {
        seen.push(...frames.filter((one) => one[12] === 8 && one[13] === 0));
      });
      here.datapath.takeSyns((packets) => syns.push(...packets));
      here.datapath.takeFragments((packets) => others.push(...packets));
    });
    after(() => {
      link.close();
      here[Symbol.dispose]();
      execFileSync('ip', ['link', 'delete', names[0]]);
    });
    beforeEach(() => [syns, others, seen].forEach((list) => list.splice(0)));

    it('come apart from fragments', async () => {
      arrive(call().build());
      const tail = from4(OTHER, { id: 5, offset: 9, protocol: 6 }).payload('12345678');
      arrive(tail.build());
      const came = await eventually('both', () =>
        syns.length > 0 && others.some((one) => one[0] === 0x45) ? syns : undefined,
      );
      expect(came.map((one) => Buffer.from(one))).to.deep.equal([Buffer.from(call().l3())]);
    });

    it('what is sent again and goes astray is not taken a second time', async () => {
      here.datapath.setPoolAddresses([]);
      expect(here.datapath.refuseSyn(call().l3())).to.equal(true);
      here.datapath.setPoolAddresses([{ v4: parseIp4(POOL), slot: 0, shared: false, draining: false }]);
      arrive(call(T + 2).build());
      await eventually('the next', () => (syns.length > 0 ? true : undefined));
      expect(syns.map((one) => Buffer.from(one))).to.deep.equal([Buffer.from(call(T + 2).l3())]);
    });

    it('T5382-4-b: one whose connection the pod has opened meanwhile is dropped without a word', () => {
      const packet = eth().ip4({ src: SERVER, dst: POOL }).tcp({ sport: 80, dport: T, flags: syn });
      expect(here.datapath.refuseSyn(packet.l3())).to.equal(false);
      const counters = here.datapath.packetCounters().map(({ packets }) => packets);
      expect(here.datapath.refuseSyn(packet.l3())).to.equal(false);
      expect(here.datapath.packetCounters().map(({ packets }) => packets)).to.deep.equal(counters);
      expect(here.datapath.sessions()[0]?.state).to.equal('v6Init');
    });
  });
});
