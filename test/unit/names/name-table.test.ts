// SPDX-License-Identifier: Apache-2.0
// Which name led to which IPv4 address: order, grace, bounds.

import { expect } from 'chai';
import * as fc from 'fast-check';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { NameTable } from '../../../src/names/name-table.ts';
import { holds } from '../../helpers/property.ts';

const V4 = parseIp4('192.0.2.33');

describe('NameTable', () => {
  it('knows the names of an address, the latest first', () => {
    const table = new NameTable({ now: () => 0 });
    table.remember('a.example', V4, 60);
    table.remember('b.example', V4, 60);
    table.remember('a.example', V4, 60);
    expect(table.namesOf(V4)).to.deep.equal(['a.example', 'b.example']);
    expect(table.namesOf(V4 + 1)).to.deep.equal([]);
    expect([table.has(V4), table.has(V4 + 1)]).to.deep.equal([true, false]);
  });

  it('a name counts for its TTL and the grace, not longer', () => {
    let now = 0;
    const table = new NameTable({ now: () => now, graceSeconds: 100 });
    table.remember('short.example', V4, 1);
    table.remember('long.example', V4, 50);
    now = 100_999;
    expect(table.namesOf(V4)).to.deep.equal(['long.example', 'short.example']);
    now = 101_000;
    expect(table.namesOf(V4)).to.deep.equal(['long.example']);
    now = 150_000;
    expect(table.has(V4)).to.equal(false);
    expect(table.size, 'sessions that began with them may still run').to.equal(2);
  });

  it('a shorter TTL does not shorten what a longer one promised', () => {
    let now = 0;
    const table = new NameTable({ now: () => now, graceSeconds: 0 });
    table.remember('a.example', V4, 100);
    table.remember('a.example', V4, 1);
    now = 99_000;
    expect(table.has(V4)).to.equal(true);
  });

  it('stays within its bounds and drops what was handed out longest ago', () => {
    const table = new NameTable({ now: () => 0, maxRecords: 4, maxRecordsPerAddress: 2 });
    for (const name of ['a', 'b', 'c']) table.remember(name, 1, 60);
    expect(table.namesOf(1)).to.deep.equal(['c', 'b']);
    for (const v4 of [2, 3]) table.remember('x', v4, 60);
    table.remember('c', 1, 60);
    table.remember('x', 4, 60);
    expect([1, 2, 3, 4].map((v4) => table.has(v4))).to.deep.equal([true, false, true, true]);
    expect(table.size).to.equal(4);
  });

  describe('the name of a session', () => {
    const POD = '2001:db8::5';
    const OTHER = '2001:db8::6';
    let now: number;
    let table: NameTable;
    beforeEach(() => {
      now = 0;
      table = new NameTable({ now: () => now, graceSeconds: 100 });
    });
    /** Of a session that began at `begunAt`. */
    const found = (client: string, begunAt: number) => table.nameFor(client, V4, now - begunAt);
    const ask = (at: number, name: string, client?: string) => {
      now = at;
      table.remember(name, V4, 60, client);
    };

    it('is what its pod was told; what another was told is a guess', () => {
      ask(0, 'a.example', POD);
      ask(5000, 'b.example', OTHER);
      expect(found(POD, 6000)).to.deep.equal({ name: 'a.example', isGuess: false });
      expect(found(OTHER, 6000)).to.deep.equal({ name: 'b.example', isGuess: false });
      expect(found('2001:db8::7', 6000)).to.deep.equal({ name: 'b.example', isGuess: true });
      expect(table.nameFor(POD, V4 + 1, 0)).to.equal(undefined);
    });

    it('behind another resolver is the last that was told before it began', () => {
      ask(0, 'a.example');
      ask(50_000, 'b.example');
      now = 90_000;
      expect([10_000, 60_000].map((at) => found(POD, at))).to.deep.equal([
        { name: 'a.example', isGuess: true },
        { name: 'b.example', isGuess: true },
      ]);
    });

    it('is a guess where its pod was told several', () => {
      ask(0, 'a.example', POD);
      ask(5000, 'b.example', POD);
      expect(found(POD, 9000)).to.deep.equal({ name: 'b.example', isGuess: true });
      expect(found(POD, 1000)).to.deep.equal({ name: 'a.example', isGuess: false });
    });

    it('is none that came later, or whose time was over; it stays while the session does', () => {
      ask(10_000, 'a.example', POD);
      now = 1e9;
      expect(found(POD, 1000)).to.equal(undefined);
      expect(found(POD, 169_999)?.name).to.equal('a.example');
      expect(found(POD, 170_000)).to.equal(undefined);
    });

    it('is the same in a table that was restored under another clock', () => {
      ask(1000, 'a.example', POD);
      ask(2000, 'b.example');
      let later = 777;
      const again = new NameTable({ now: () => later, graceSeconds: 100 });
      again.restore(table.records(1e12), 1e12 + 3000);
      expect(again.records(1e12 + 3000)).to.deep.equal(table.records(1e12));
      later += 1000;
      expect(again.nameFor(POD, V4, 4000)).to.deep.equal({ name: 'a.example', isGuess: false });
    });
  });

  it('never exceeds its bounds, and always knows what it was told last', () => {
    const step = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), v4: fc.nat(9), ttl: fc.nat(100) });
    holds(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new NameTable({ now: () => 0, maxRecords: 4, maxRecordsPerAddress: 3 });
        for (const { name, v4, ttl } of steps) {
          table.remember(name, v4, ttl);
          expect(table.namesOf(v4)[0]).to.equal(name);
          expect(table.namesOf(v4).length).to.be.at.most(3);
          expect(table.size).to.be.at.most(4);
        }
      }),
    );
  });
});
