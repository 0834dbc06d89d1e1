// SPDX-License-Identifier: Apache-2.0
// Several foreign files as one configuration.

import { expect } from 'chai';
import { importedAll } from './helper.ts';

const corefile = (text: string) => ({ name: 'Corefile', text: `. {\n${text}\n}\n`, kind: 'corefile' as const });
const jool = (text: string) => ({ name: 'jool.json', text, kind: 'jool' as const });

describe('importing several files', () => {
  it('takes DNS64 of one and NAT64 of the other where they agree', () => {
    const { tree, lost } = importedAll([
      corefile('dns64 2001:DB8:64::/96\nforward . 192.0.2.53'),
      jool('{"global": {"pool6": "2001:db8:64:0::/96"}, "pool4": []}'),
    ]);
    expect(tree).to.deep.equal({
      prefix: '2001:db8:64::/96',
      dns: { upstreams: ['192.0.2.53'] },
      nat64: { egress: 'direct' },
    });
    expect(lost).to.deep.equal([]);
  });

  it('names what contradicts, with both places, and lets the first stand', () => {
    const { tree, lost } = importedAll([
      corefile('dns64 2001:db8:64::/96'),
      jool('{"global": {\n"pool6": "64:ff9b::/96"}}'),
    ]);
    expect(tree).to.have.property('prefix', '2001:db8:64::/96');
    expect(lost).to.have.length(1);
    expect(lost[0]).to.match(/^jool\.json:2: .*64:ff9b::\/96.*contradicts Corefile:2, "2001:db8:64::\/96"/);
  });

  it('adds up pools, and leaves out one that overlaps', () => {
    const tayga = (name: string, pool: string) => ({ name, text: `dynamic-pool ${pool}\n`, kind: 'tayga' as const });
    const { tree, lost } = importedAll([
      tayga('a', '192.0.2.0/28'),
      tayga('b', '192.0.2.16/28'),
      tayga('c', '192.0.2.8/29'),
    ]);
    expect(tree).to.deep.equal({
      nat64: { pool: [{ addresses: ['192.0.2.0/28'] }, { addresses: ['192.0.2.16/28'] }] },
    });
    expect(lost.join()).to.match(/^c:1: .*overlaps/);
  });

  it('keeps as many prefixes as gate64 has room for', () => {
    const text = Array.from({ length: 12 }, (_, i) => `dns64 2001:db8:${i}::/96 { };`).join('\n');
    const { tree, lost } = importedAll([
      { name: 'n', text: `options { forwarders { 192.0.2.53; };\n${text}\n};`, kind: 'bind' },
    ]);
    expect((tree as { prefix: string[] }).prefix).to.have.length.within(1, 8);
    expect(lost.length + (tree as { prefix: string[] }).prefix.length).to.equal(12);
  });
});
