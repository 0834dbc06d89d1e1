// SPDX-License-Identifier: Apache-2.0
import { expect } from 'chai';
import { HeldSyns } from '../../../src/nat64/held-syns.ts';
import type { FakeDatapath } from '../../fakes/datapath.ts';
import { bare, TCP } from '../../helpers/packet.ts';
import { fakeDatapath, TestClock, TestLog } from './support.ts';

const HOLD_MS = 6000;
const syn = (sport: number, src = '198.51.100.7', text = '') =>
  bare().ip4({ src, dst: '203.0.113.5' }).tcp({ sport, dport: 40001, flags: TCP.syn }).payload(text).l3();

describe('SYNs that nobody asked for', () => {
  let clock: TestClock;
  let log: TestLog;
  let datapath: FakeDatapath;
  let syns: HeldSyns;

  beforeEach(() => {
    clock = new TestClock();
    log = new TestLog();
    datapath = fakeDatapath(clock);
    syns = new HeldSyns({ datapath, clock, log });
    syns.start(HOLD_MS);
  });
  afterEach(() => syns.stop());

  it('each is refused after its time and not before, once', () => {
    datapath.handSyns([syn(1)]);
    clock.advance(2000);
    datapath.handSyns([syn(2)]);
    clock.advance(HOLD_MS - 2001);
    expect(datapath.refusedSyns).to.deep.equal([]);
    clock.advance(1);
    expect(datapath.refusedSyns).to.deep.equal([syn(1)]);
    clock.advance(1999);
    expect(datapath.refusedSyns).to.have.length(1);
    clock.advance(1);
    expect(datapath.refusedSyns).to.deep.equal([syn(1), syn(2)]);
    clock.advance(10 * HOLD_MS);
    expect(datapath.refusedSyns).to.have.length(2);
    expect(syns.size).to.equal(0);
  });

  it('one that is sent again keeps the time of the first', () => {
    datapath.handSyns([syn(1), syn(1)]);
    clock.advance(3000);
    datapath.handSyns([syn(1)]);
    expect(syns.size).to.equal(1);
    clock.advance(3000);
    expect(datapath.refusedSyns).to.have.length(1);
    datapath.handSyns([syn(1)]);
    clock.advance(HOLD_MS - 1);
    expect(datapath.refusedSyns).to.have.length(1);
  });

  it('eight of one sender wait, 1024 in all, none longer than 2048 bytes; there is room again after', () => {
    datapath.handSyns([syn(1, '192.0.2.1', 'x'.repeat(2048))]);
    expect(syns.size).to.equal(0);
    datapath.handSyns(Array.from({ length: 20 }, (_, i) => syn(1000 + i)));
    expect(syns.size).to.equal(8);
    datapath.handSyns(Array.from({ length: 2000 }, (_, i) => syn(1, `10.0.${i >> 8}.${i & 255}`)));
    expect(syns.size).to.equal(1024);
    clock.advance(HOLD_MS);
    expect(datapath.refusedSyns).to.have.length(1024);
    datapath.handSyns(Array.from({ length: 20 }, (_, i) => syn(1000 + i)));
    expect(syns.size).to.equal(8);
  });

  it('a reload changes the time of those that wait; nothing is sent after the end', () => {
    datapath.handSyns([syn(1), syn(2)]);
    clock.advance(HOLD_MS - 1);
    syns.start(2 * HOLD_MS);
    clock.advance(HOLD_MS);
    expect(datapath.refusedSyns).to.deep.equal([]);
    syns.start(HOLD_MS);
    clock.advance(1);
    expect(datapath.refusedSyns).to.have.length(2);
    datapath.handSyns([syn(3)]);
    syns.stop();
    datapath.handSyns([syn(4)]);
    clock.advance(2 * HOLD_MS);
    expect(datapath.refusedSyns).to.have.length(2);
  });

  it('goes on after an answer that failed', () => {
    datapath.refuseSyn = () => {
      datapath.refuseSyn = () => true;
      throw new Error('no map');
    };
    datapath.handSyns([syn(1), syn(2)]);
    clock.advance(HOLD_MS + 10);
    expect(log.lines.length).to.be.greaterThan(0);
    expect(syns.size).to.equal(0);
  });
});
