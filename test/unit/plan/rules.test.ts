// SPDX-License-Identifier: Apache-2.0
// prefix-ruled-elsewhere: rules of routing that lead pods' packets past the prefix's route.

import { expect } from 'chai';
import type { Route, Rule } from '../../../src/model/facts.ts';
import { ruleConflicts } from '../../../src/plan/rules.ts';
import { fakeRoute } from '../../fakes/host.ts';
import { prefixRoutes, WELL_KNOWN } from './support.ts';

const rule = (priority: number, more: Partial<Rule> = {}): Rule => ({
  priority,
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
  ...more,
});
const USUAL = [rule(0, { table: 'local' }), rule(32766, { table: 'main' })];
const AWAY = fakeRoute('::/0', 'up0', { table: '100' });
const PODS = '2001:db8:1::/64';

function found(rules: readonly Rule[], routes: readonly Route[] = [AWAY]): string[] {
  return ruleConflicts({
    family: 6,
    rules: [...rules, ...USUAL],
    routes: [...prefixRoutes(), fakeRoute('::/0', 'up0'), ...routes],
    dsts: [WELL_KNOWN],
    devices: ['gate64'],
    nodeAddresses: ['2001:db8:2::1'],
  }).map(({ message, command }) => `${message}; ${command ?? 'none'}`);
}

describe('plan/rules', () => {
  it('names the rule, and the command that puts the prefix before it', () => {
    expect(found([rule(100, { src: PODS })])).to.deep.equal([
      `the routing rule "100: from ${PODS} lookup 100" comes before the table main, and leads packets of pods for the prefix 64:ff9b::/96 past gate64; ip -6 rule add to 64:ff9b::/96 lookup main pref 99`,
    ]);
    expect(found([rule(99, { dst: WELL_KNOWN, table: 'main' }), rule(100, { src: PODS })]), 'mended').to.deep.equal([]);
    expect(found([rule(1)])[0], 'before all others but the table local').to.match(/; none$/);
  });

  const IN_THE_WAY: readonly [string, Rule, (readonly Route[])?][] = [
    ['of everybody', rule(5)],
    ['of a part of what pods send', rule(5, { isNarrow: true })],
    ['by an interface', rule(5, { iif: 'pod0' })],
    ['that refuses', rule(5, { table: undefined, action: 'prohibit' })],
    ['to a table that drops', rule(5), [fakeRoute(WELL_KNOWN, 'lo', { table: '100', type: 'unreachable' })]],
    ['of what has no mark (WireGuard without its rule of main)', rule(5, { isMarked: true, isInverted: true })],
  ];
  for (const [what, one, routes] of IN_THE_WAY) {
    it(`a rule ${what} is in the way`, () => {
      expect(found([one], routes)).to.have.length(1);
    });
  }

  const HARMLESS: readonly [string, readonly Rule[], (readonly Route[])?][] = [
    ['of marked packets (Cilium)', [rule(9, { isMarked: true })]],
    ['of the node’s own sockets', [rule(9, { isLocal: true, iif: 'lo' })]],
    ['of an address of the node (several uplinks)', [rule(9, { src: '2001:db8:2::1' })]],
    ['of gate64’s device', [rule(9, { iif: 'gate64' })]],
    ['to elsewhere', [rule(9, { dst: '2001:db8:9::/48' })]],
    ['of all but the prefix', [rule(9, { dst: '64:ff9b::/64', isInverted: true })]],
    ['whose table has nothing for the prefix', [rule(9)], [fakeRoute('2001:db8::/32', 'up0', { table: '100' })]],
    ['whose table leads it to gate64', [rule(9)], [AWAY, fakeRoute(WELL_KNOWN, 'gate64', { table: '100' })]],
    ['whose table passes it on', [rule(9)], [AWAY, fakeRoute(WELL_KNOWN, 'up0', { table: '100', type: 'throw' })]],
    ['whose default does not count', [rule(9, { suppressedLength: 0 })]],
    [
      'of WireGuard, behind its rule of main',
      [rule(8, { table: 'main', suppressedLength: 0 }), rule(9, { isMarked: true, isInverted: true })],
    ],
    ['behind main', [rule(40_000)]],
  ];
  for (const [what, rules, routes] of HARMLESS) {
    it(`a rule ${what} is not`, () => {
      expect(found(rules, routes)).to.deep.equal([]);
    });
  }

  it('answers to pods are asked about by the pool', () => {
    const [one] = ruleConflicts({
      family: 4,
      rules: [rule(10), ...USUAL],
      routes: [fakeRoute('0.0.0.0/0', 'up1', { table: '100' })],
      dsts: ['192.0.0.0/29'],
      devices: ['gate64'],
      nodeAddresses: [],
    });
    expect(one?.command).to.equal('ip -4 rule add to 192.0.0.0/29 lookup main pref 9');
  });
});
