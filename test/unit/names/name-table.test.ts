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

  it('forgets a name its TTL and the grace later, not before', () => {
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
    expect(table.size).to.equal(0);
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
    const table = new NameTable({ now: () => 0, maxAddresses: 3, maxNamesPerAddress: 2 });
    for (const name of ['a', 'b', 'c']) table.remember(name, 1, 60);
    expect(table.namesOf(1)).to.deep.equal(['c', 'b']);
    for (const v4 of [2, 3]) table.remember('x', v4, 60);
    table.remember('c', 1, 60);
    table.remember('x', 4, 60);
    expect([1, 2, 3, 4].map((v4) => table.has(v4))).to.deep.equal([true, false, true, true]);
  });

  it('never exceeds its bounds, and always knows what it was told last', () => {
    const step = fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd'), v4: fc.nat(9), ttl: fc.nat(100) });
    holds(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new NameTable({ now: () => 0, maxAddresses: 4, maxNamesPerAddress: 3 });
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
