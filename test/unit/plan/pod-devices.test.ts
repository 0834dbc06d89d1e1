// SPDX-License-Identifier: Apache-2.0
// nat64.accelerate: which interfaces are pods', and what the plan makes of them.

import { expect } from 'chai';
import { MAX_POD_DEVICES } from '../../../src/model/layout.gen.ts';
import { LIBERAL_TRACKING } from '../../../src/plan/sysctls.ts';
import { plan } from '../../../src/plan/plan.ts';
import { podDevices } from '../../../src/plan/pod-devices.ts';
import { fakeInterface } from '../../fakes/host.ts';
import { facts, ownDevice, pods, settings, SHARED, sysctls, uplink } from './support.ts';

const names = (patterns: readonly string[], others: readonly string[] = []) =>
  podDevices(
    [
      ...pods(2),
      fakeInterface('lxc_health', 40),
      fakeInterface('eth0.7', 41),
      fakeInterface('eth0x7', 42),
      fakeInterface('tun0', 43, { linkType: 'none' }),
      fakeInterface('pod9', 44, { isUp: false }),
      uplink(),
    ],
    patterns,
    others,
  ).map(({ name }) => name);

describe('plan/pod-devices', () => {
  it('takes what a pattern names whole, * being any characters and a dot a dot', () => {
    expect(names(['pod*'])).to.deep.equal(['pod1', 'pod2']);
    expect(names(['od*', 'pod'])).to.deep.equal([]);
    expect(names(['*health', 'pod2', 'eth0.7'])).to.deep.equal(['pod2', 'lxc_health', 'eth0.7']);
  });

  it('leaves out what is not Ethernet, what is down, and the others that are named', () => {
    expect(names(['*'], ['up0', 'pod1'])).to.deep.equal(['pod2', 'lxc_health', 'eth0.7', 'eth0x7']);
  });

  it('takes as many as the data plane has room for', () => {
    const many = Array.from({ length: MAX_POD_DEVICES + 5 }, (_, i) => fakeInterface(`pod${i}`, 100 + i));
    expect(podDevices(many, ['pod*'], [])).to.have.length(MAX_POD_DEVICES);
  });

  const node = (more: Parameters<typeof facts>[0] = {}) =>
    facts({ interfaces: [uplink(), ...ownDevice(), ...pods(2)], ...more });
  const planned = (accelerate: string[], where = node(), egress: 'direct' | 'masquerade' = 'direct') =>
    plan(settings({ egress, accelerate, ...(egress === 'direct' ? { pool: SHARED } : {}) }), where, {
      leased: [],
      shared: [],
      places: [],
    });

  it('a new pod changes no program; the uplink and gate64’s own device are never taken', () => {
    const [two, three] = [planned(['*']), planned(['*'], node({ interfaces: [uplink(), ...ownDevice(), ...pods(3)] }))];
    expect(two.datapath?.podDevices).to.deep.equal([20, 21]);
    expect(three.datapath?.podDevices).to.deep.equal([20, 21, 22]);
    expect(three.datapath?.programs).to.deep.equal(two.datapath?.programs);
    expect(two.datapath?.programs.accelerate).to.equal(1);
    expect(two.node.tcDevices).to.deep.equal(['up0', 'pod1', 'pod2']);
  });

  it('nothing without a pattern or without a direct way out', () => {
    for (const desired of [planned([]), planned(['*'], node(), 'masquerade')]) {
      expect(desired.datapath?.podDevices).to.deep.equal([]);
      expect(desired.datapath?.programs.accelerate).to.equal(0);
    }
  });

  it('connection tracking is liberal where there is one, and put back at uninstall', () => {
    const liberal = (desired: ReturnType<typeof planned>) =>
      desired.node.sysctls.filter(({ name }) => name === LIBERAL_TRACKING);
    const tracked = node({ sysctls: sysctls({ [LIBERAL_TRACKING]: '0' }) });
    expect(liberal(planned(['*'], tracked))).to.deep.equal([{ name: LIBERAL_TRACKING, value: '1', owned: false }]);
    expect(liberal(planned([], tracked))).to.deep.equal([]);
    expect(liberal(planned(['*']))).to.deep.equal([]);
  });
});
