// SPDX-License-Identifier: Apache-2.0
// snat-any-port: SNAT rules of the node that may take the pool's ports on an address that both use.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import type { Nat64Config } from '../../../src/config/config.ts';
import type { SnatRule } from '../../../src/model/facts.ts';
import { findings } from '../../../src/plan/plan.ts';
import { fakeInterface } from '../../fakes/host.ts';
import { address4, facts, pool, settings, SHARED, uplink } from './support.ts';

const RULE: SnatRule = {
  family: 'ip',
  table: 'nat',
  chain: 'POSTROUTING',
  device: undefined,
  to: undefined,
  ports: undefined,
  isRandom: false,
};
const found = (
  rules: readonly Partial<SnatRule>[],
  nat64: Partial<Nat64Config> = { egress: 'direct', pool: SHARED },
) => {
  const interfaces = [uplink(), fakeInterface('br0', 9, { addresses4: [address4('198.51.100.1/24')] })];
  const node = facts({ interfaces, snatRules: rules.map((rule) => ({ ...RULE, ...rule })) });
  return findings(settings(nat64), node).filter(({ name }) => name === 'snat-any-port');
};

describe('plan/snat', () => {
  it("kube-proxy's rule is found; the remedy is an address of its own", () => {
    const [finding, ...others] = found([{ chain: 'KUBE-POSTROUTING', isRandom: true }]);
    expect(others).to.deep.equal([]);
    expect(finding?.severity).to.equal('warning');
    expect(finding?.message).to.match(
      /203\.0\.113\.2 ports 61001-65535.*"KUBE-POSTROUTING" of the nftables table ip nat picks ports at random/,
    );
    expect(finding?.remedy)
      .to.match(/address of its own/)
      .and.not.match(/to-ports/);
  });

  it('others are told which ports are left; once a chain', () => {
    const [finding, ...others] = found([{}, { isRandom: true }]);
    expect(others).to.deep.equal([]);
    expect(finding?.remedy).to.match(/address of its own.*--to-ports 1024-61000/);
    expect(found([{}, { table: 'other' }])).to.have.length(2);
  });

  it('what cannot meet the pool is no finding', () => {
    expect(found([])).to.deep.equal([]);
    expect(found([{ ports: [1024, 61000] }])).to.deep.equal([]);
    expect(found([{ device: 'br0', isRandom: true }])).to.deep.equal([]);
    expect(found([{ to: parseIp4('203.0.113.9') }])).to.deep.equal([]);
    expect(found([{}], { egress: 'direct', pool: pool(['192.0.2.0/29']) }), 'a pool of its own').to.deep.equal([]);
    expect(found([{}], {}), 'masquerade').to.deep.equal([]);
  });

  it('what can is one', () => {
    for (const rule of [
      { ports: [1024, 61001] as const },
      { device: 'up0' },
      { to: parseIp4('203.0.113.2') },
      { device: 'gone0' },
    ])
      expect(found([rule]), JSON.stringify(rule)).to.have.length(1);
  });
});
