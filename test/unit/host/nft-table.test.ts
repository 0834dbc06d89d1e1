// SPDX-License-Identifier: Apache-2.0
// gate64's own nftables table: as text for nft, and as read again from what nft lists.

import { expect } from 'chai';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { nftScript, tableOf, type NftList, type Table } from '../../../src/host/nft-table.ts';

const TIMES = { udp: 300, tcpEstablished: 7440, tcpTransitory: 240 };
const POOL = parseIp4Net('192.0.0.0/29');
const LEAVING = [
  { device: 'up0', dst: parseIp4Net('203.0.113.0/24'), source: undefined },
  { device: 'up0', dst: parseIp4Net('0.0.0.0/0'), source: parseIp4('203.0.113.3') },
];
const table = (more: Partial<Table> = {}): Table => ({
  nets: [POOL],
  device: 'gate64',
  times: TIMES,
  leaving: [],
  lost: [],
  opened: [],
  closed: [],
  ...more,
});
const script = (more: Partial<Table> = {}) => nftScript(table(more), true).join(' ');

/** What `nft -j list table` says of a script: chains, and of each rule its comment and the statements that decide. */
function listed(text: string): NftList {
  const items: NftList['nftables'] = [];
  let chain = '';
  for (const line of text.split('\n').map((words) => words.trim())) {
    const name = /^chain (\w+) \{/.exec(line)?.[1];
    const base = /^type (\w+) hook (\w+) priority (-?\d+);/.exec(line);
    if (name !== undefined) items.push({ chain: { name: (chain = name) } });
    else if (base !== null) {
      const [, type = '', hook = '', prio] = base;
      Object.assign(items.at(-1)?.chain ?? {}, { type, hook, prio: Number(prio) });
    } else if (chain !== '' && !['', '}'].includes(line)) {
      const comment = / comment "([^"]*)"$/.exec(line)?.[1];
      const [statement = ''] =
        /ct timeout|masquerade|snat|goto|accept|drop/.exec(line.replace(/ comment ".*/, '')) ?? [];
      items.push({
        rule: { chain, ...(comment === undefined ? {} : { comment }), expr: [{ match: {} }, { [statement]: {} }] },
      });
    }
  }
  return { nftables: items };
}

describe('host/nft-table', () => {
  for (const [what, more] of [
    ['networks alone', {}],
    ['networks, and addresses that routes name', { leaving: LEAVING }],
    [
      'networks, and what of the node is open',
      { opened: [parseIp4Net('203.0.113.2'), parseIp4Net('198.51.100.0/24')] },
    ],
    ['networks, and addresses that are lost', { lost: [parseIp4('203.0.113.9'), parseIp4('203.0.113.8')] }],
    ['networks, and interfaces that forward for gate64 alone', { closed: ['up0', 'wan*'] }],
    ['interfaces alone', { nets: [], closed: ['up0'] }],
  ] as const) {
    it(`what it was made for is read again: ${what}`, () => {
      const made = table(more);
      const { times, ...rest } = made;
      const isForPool = made.nets.length > 0;
      expect(tableOf(listed(script(more)))).to.deep.equal({
        ...rest,
        guardsNode: isForPool,
        times: isForPool ? times : undefined,
        hasTimes: isForPool,
      });
    });
  }

  it('one without times is read so', () => {
    expect(tableOf(listed(nftScript(table({ leaving: LEAVING }), false).join(' ')))).to.include({ hasTimes: false });
  });

  it('one that somebody changed is not as it was made', () => {
    const whole = script({ leaving: LEAVING, lost: [parseIp4('203.0.113.9')], opened: [POOL], closed: ['up0'] });
    for (const [what, changed] of [
      ['another hook', whole.replace('hook postrouting priority 90', 'hook output priority 90')],
      ['another priority', whole.replace('priority 90', 'priority 200')],
      ['another statement', whole.replace('snat to', 'accept')],
      [
        'a rule of somebody else',
        whole.replace('snat to 203.0.113.3 comment "gate64:', 'snat to 203.0.113.3 comment "mine:'),
      ],
      ['no masquerading at the end', whole.replace(/\n masquerade\n/, '\n')],
      [
        'a lost address that is not dropped',
        whole.replace(/drop( comment "gate64: nothing of gate64 leaves)/, 'accept$1'),
      ],
      [
        'more of the node that is open',
        whole.replace('fib daddr type local accept', 'accept').replace('of the node is open', 'is open'),
      ],
      ['another device', whole.replace('nothing of gate64 is for the node', 'nothing of other0 is for the node')],
    ] as const) {
      expect(changed, what).not.to.equal(whole);
      expect(tableOf(listed(changed)).nets, what).to.equal(undefined);
    }
  });

  it('names of interfaces stand for these alone, and begin no command', () => {
    expect(script({ closed: ['wan*'] })).to.include('iifname "wan\\*" oifname');
    expect(script({ closed: ['w*n'] })).to.include('iifname "w*n" oifname');
    expect(script({ leaving: [{ ...LEAVING[1]!, device: 'up*' }] })).to.include('oifname "up\\*" snat to 203.0.113.3');
    expect(() => script({ closed: ['a";drop'] })).to.throw(Gate64Error, /no way to name the interface a";drop/);
  });
});
