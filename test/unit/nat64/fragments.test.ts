// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { Fragments } from '../../../src/nat64/fragments.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { cutIntoFragments } from '../../helpers/cut.ts';
import { bare, sum16 } from '../../helpers/packet.ts';
import { fakeDatapath, TestClock, TestLog } from './support.ts';

const HOLD_MS = 2000;
const text = 'abcdefghijk'.repeat(20);
const echo = () =>
  cutIntoFragments(bare().ip6({ src: '2001:db8::1', dst: '64:ff9b::1.2.3.4' }).echo6(7).payload(text).l3(), 80, 9);
const udp = (fields = {}) =>
  cutIntoFragments(
    bare()
      .ip4({ src: '198.51.100.7', dst: '203.0.113.5' })
      .udp({ sport: 1, dport: 2, checksum: 0, ...fields })
      .payload(text)
      .l3(),
    80,
    9,
  );

describe('slow path of fragments', () => {
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let fragments: Fragments;

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
    fragments = new Fragments({ datapath, clock, log });
    fragments.start(HOLD_MS);
  });
  afterEach(() => fragments.stop());

  it('an echo in fragments goes on in order once it is whole, with its length', () => {
    const packets = echo();
    for (const packet of packets.toReversed()) {
      expect(datapath.sentFragments).to.deep.equal([]);
      datapath.handFragments([packet]);
    }
    expect(datapath.sentFragments).to.deep.equal([{ packets, whole: { payloadLength: text.length + 8, sum: 0 } }]);
    expect(fragments.counts()).to.include({ released: packets.length, expired: 0 });
  });

  it('UDP without a checksum goes on with the sum of all of its bytes', () => {
    const packets = udp();
    datapath.handFragments(packets);
    const [{ whole } = { whole: undefined }] = datapath.sentFragments;
    expect(whole?.payloadLength).to.equal(text.length + 8);
    const bytes = Buffer.concat(packets.map((packet) => packet.slice(20)));
    const swapped = Buffer.from([(whole?.sum ?? 0) & 255, (whole?.sum ?? 0) >> 8]).readUInt16BE();
    let sum = sum16(bytes);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    expect(swapped).to.equal(sum);
  });

  it('UDP whose own length is not that of its fragments goes nowhere', () => {
    for (const length of [0, 7, 9000]) datapath.handFragments(udp({ length }));
    expect(datapath.sentFragments).to.deep.equal([]);
    expect(fragments.counts().refused).to.equal(3 * udp().length);
  });

  it('later fragments go on as soon as their first has passed', () => {
    const [, second, third] = udp({ checksum: 5 }) as [Uint8Array, Uint8Array, Uint8Array];
    datapath.handFragments([third, second]);
    clock.advance(20);
    expect(datapath.sentFragments).to.deep.equal([]);
    datapath.passing = ({ id }) => id === 9;
    clock.advance(40);
    expect(datapath.sentFragments).to.deep.equal([{ packets: [second, third], whole: undefined }]);
    expect(fragments.counts()).to.include({ released: 2, expired: 0 });
  });

  it('they wait for as long as timeouts.fragment says, and are asked for a bounded number of times', () => {
    let asked = 0;
    datapath.passing = () => {
      asked += 1;
      return false;
    };
    datapath.handFragments(udp().slice(1));
    clock.advance(HOLD_MS - 1);
    expect(fragments.counts().expired).to.equal(0);
    clock.advance(2);
    expect(fragments.counts().expired).to.equal(udp().length - 1);
    expect(asked).to.be.within(5, 15);
    datapath.handFragments(udp().slice(0, 1));
    clock.advance(HOLD_MS * 2);
    expect(datapath.sentFragments).to.deep.equal([]);
    expect(fragments.counts().expired).to.equal(udp().length);
  });

  it('a node that does not let it read packets is said once', () => {
    datapath.takeFragments = () => {
      throw new Error('EPERM');
    };
    fragments.start(HOLD_MS);
    fragments.start(HOLD_MS);
    expect(
      log.with('fragments out of order and fragmented ICMP are lost: they cannot be read (CAP_NET_RAW)'),
    ).to.have.length(1);
  });
});
