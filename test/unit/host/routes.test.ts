// SPDX-License-Identifier: Apache-2.0
// Rules of routing as `ip -j rule show` prints them.

import { expect } from 'chai';
import type { Exec } from '../../../src/host/exec.ts';
import { listRules } from '../../../src/host/routes.ts';

const rulesOf = (rows: readonly object[], family: 4 | 6 = 6) => {
  const exec: Exec = (command, args) => {
    expect([command, ...args].join(' ')).to.equal(`ip -j -${family} rule show`);
    return Promise.resolve({ exit: 0, stdout: rows.length === 0 ? '' : JSON.stringify(rows), stderr: '' });
  };
  return listRules(exec, family);
};
const PLAIN = {
  priority: 100,
  src: 'all',
  dst: undefined,
  iif: undefined,
  table: '100',
  action: undefined,
  isInverted: false,
  isMarked: false,
  isLocal: false,
  isNarrow: false,
  suppressedLength: undefined,
};

describe('host/routes: rules', () => {
  it('are read with their selectors as networks', async () => {
    const rows = [
      { priority: 100, src: 'all', table: '100' },
      { priority: 100, src: '2001:db8::', srclen: 64, table: '100' },
      { priority: 100, src: '2001:db8::1', dst: '64:ff9b::', dstlen: 96, iif: 'pod0', table: '100' },
      { priority: 100, src: 'all', dst: '64:ff9b::1', table: '100' },
      { priority: 100, src: 'all', action: 'unreachable' },
    ];
    expect(await rulesOf(rows)).to.deep.equal([
      PLAIN,
      { ...PLAIN, src: '2001:db8::/64' },
      { ...PLAIN, src: '2001:db8::1', dst: '64:ff9b::/96', iif: 'pod0' },
      { ...PLAIN, dst: '64:ff9b::1/128' },
      { ...PLAIN, table: undefined, action: 'unreachable' },
    ]);
    const [four] = await rulesOf([{ priority: 100, src: 'all', dst: '192.0.2.1', table: '100' }], 4);
    expect(four?.dst).to.equal('192.0.2.1/32');
    expect(await rulesOf([])).to.deep.equal([]);
  });

  it('are known by what else they select', async () => {
    const row = { priority: 100, src: 'all', table: '100' };
    for (const [more, expected] of [
      [{ not: null }, { isInverted: true }],
      [{ fwmark: '0x200', fwmask: '0xf00' }, { isMarked: true }],
      [{ iif: 'lo' }, { iif: 'lo', isLocal: true }],
      [{ oif: 'up0' }, { isLocal: true }],
      [{ uid_start: 0, uid_end: 0 }, { isLocal: true }],
      [{ l3mdev: null }, { isLocal: true }],
      [{ ipproto: 'tcp', dport: 53 }, { isNarrow: true }],
      [{ sport_start: 1, sport_end: 2 }, { isNarrow: true }],
      [{ tos: '0x10' }, { isNarrow: true }],
      [{ suppress_prefixlen: 0 }, { suppressedLength: 0 }],
    ] as const) {
      expect(await rulesOf([{ ...row, ...more }]), JSON.stringify(more)).to.deep.equal([{ ...PLAIN, ...expected }]);
    }
  });
});
