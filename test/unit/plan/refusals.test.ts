// SPDX-License-Identifier: Apache-2.0
// What plan() refuses, with the error's code, what it names and what to do; and that findings() finds the same.

import { expect } from 'chai';
import type { Nat64Config } from '../../../src/config/config.ts';
import type { NodeFacts } from '../../../src/model/facts.ts';
import { FINDINGS, FindingError, type FindingName } from '../../../src/plan/findings.ts';
import { findings, plan } from '../../../src/plan/plan.ts';
import { fakeInterface, fakeRoute } from '../../fakes/host.ts';
import { address4, address6, facts, ownDevice, pods, pool, settings, SHARED, uplink } from './support.ts';

const DIRECT = { egress: 'direct', pool: SHARED } as const;
const LO = fakeInterface('lo', 1, { linkType: 'loopback' });
const TUNNEL = fakeInterface('tun0', 7, { linkType: 'none', addresses4: [address4('198.51.100.9/32')] });

interface Refusal {
  readonly what: string;
  readonly nat64?: Partial<Nat64Config>;
  readonly node?: NodeFacts;
  readonly name: FindingName;
  readonly message: RegExp;
  readonly remedy: RegExp;
}

const taken = (what: string, interfaces: NodeFacts['interfaces'], message: RegExp): Refusal => ({
  what,
  node: facts({ interfaces: [uplink(), ...interfaces] }),
  name: 'device-name-taken',
  message,
  remedy: /Remove that interface, or set nat64\.device/,
});
const [device, peer] = ownDevice();

const REFUSALS: readonly Refusal[] = [
  {
    what: 'a node without a default route',
    node: facts({ routes: [fakeRoute('::/0', 'up0'), fakeRoute('198.18.0.0/15', 'up0')] }),
    name: 'uplink-missing',
    message: /no IPv4 default route/,
    remedy: /Add a default route.*nat64\.uplink/,
  },
  {
    what: 'an uplink that is not there',
    nat64: { uplink: 'eth7' },
    node: facts({ interfaces: [LO, uplink(), ...ownDevice(), TUNNEL] }),
    name: 'uplink-missing',
    message: /"eth7", but there is no such interface/,
    remedy: /Interfaces here: up0, tun0\. "auto"/,
  },
  {
    what: 'an uplink that is not there, nor any other',
    nat64: { uplink: 'eth7' },
    node: facts({ interfaces: [LO], routes: [] }),
    name: 'uplink-missing',
    message: /"eth7"/,
    remedy: /Interfaces here: none but loopback\./,
  },
  {
    what: 'an uplink that is down',
    nat64: { uplink: 'up0' },
    node: facts({ interfaces: [uplink({ isUp: false }), ...pods(1)] }),
    name: 'uplink-missing',
    message: /"up0", which is down/,
    remedy: /Interfaces here: up0, pod1\..* ip link set dev up0 up$/,
  },
  {
    what: 'direct by a tunnel',
    nat64: { ...DIRECT, uplink: 'tun0' },
    node: facts({ interfaces: [uplink(), TUNNEL] }),
    name: 'uplink-not-ethernet',
    message: /"tun0" is of type none, and nat64\.egress "direct" needs Ethernet/,
    remedy: /masquerade, or nat64\.uplink/,
  },
  {
    what: '"uplink" in the pool of an uplink without IPv4 address',
    nat64: DIRECT,
    node: facts({ interfaces: [uplink({ addresses4: [] }), ...pods(200)] }),
    name: 'uplink-without-address',
    message: /nat64\.pool says "uplink", but the uplink has no IPv4 address/,
    remedy: /Give the uplink an IPv4 address, or write pool addresses/,
  },
  {
    what: 'a device whose name is too long for its peer',
    nat64: { device: 'gate64-nat64-00' },
    name: 'device-name-taken',
    message: /"gate64-nat64-00" is longer than 14 characters/,
    remedy: /set nat64\.device/,
  },
  taken('a bridge by the device’s name', [fakeInterface('gate64', 5, { kind: 'bridge' })], /"gate64".*kind is bridge/),
  taken('a physical interface by the peer’s name', [fakeInterface('gate64x', 5)], /"gate64x".*kind is ether, not veth/),
  taken(
    'a veth whose other end is elsewhere',
    [{ ...device, peer: undefined }],
    /"gate64".*its peer is in another namespace, not "gate64x"/,
  ),
  taken('a veth to somebody', [{ ...peer, peer: 'eth0' }], /"gate64x".*its peer is eth0, not "gate64"/),
  taken('a port of a bridge', [{ ...device, master: 'br0' }, peer], /"gate64".*part of "br0"/),
  taken('an IPv4 address', [device, { ...peer, addresses4: [address4('10.0.0.1/24')] }], /"gate64x".*has an address/),
  taken('an IPv6 address', [{ ...device, addresses6: [address6('2001:db8::9')] }, peer], /"gate64".*has an address/),
  {
    what: 'more addresses than there are queues',
    nat64: { pool: [...pool(['10.0.0.0/22']), ...pool(['192.0.2.1'])] },
    name: 'pool-too-large',
    message: /1025 addresses; one node serves with 1024/,
    remedy: /part of the pool/,
  },
  {
    what: 'a port that two entries give, one of them as "uplink"',
    nat64: { egress: 'direct', pool: [...SHARED, ...pool(['203.0.113.2'], 61000, 61001)] },
    name: 'pool-overlaps',
    message: /203\.0\.113\.2 ports 61000-61001 and 203\.0\.113\.2 ports 61001-65535, which overlap/,
    remedy: /Remove one of the two/,
  },
  {
    what: 'masquerade with an address of a pod’s interface',
    nat64: { pool: pool(['198.51.100.200']) },
    node: facts({ interfaces: [uplink(), ...pods(200)] }),
    name: 'pool-holds-node',
    message: /198\.51\.100\.200\/32, which holds an address of this node; in masquerade mode/,
    remedy: /Choose another network/,
  },
  {
    what: 'direct with a network that holds the node’s address',
    nat64: { egress: 'direct', pool: pool(['203.0.113.2/31']) },
    name: 'pool-holds-node',
    message: /203\.0\.113\.2\/31, which holds an address of this node; a network in the pool/,
    remedy: /as "uplink" or as a single address/,
  },
];

describe('plan/plan: what is refused', () => {
  for (const { what, nat64 = {}, node = facts(), name, message, remedy } of REFUSALS) {
    it(`${name}: ${what}`, () => {
      const config = settings(nat64);
      let refused: unknown;
      try {
        plan(config, node, { leased: [], shared: [], places: [] });
      } catch (error) {
        refused = error;
      }
      if (!(refused instanceof FindingError)) throw refused ?? new Error('nothing was refused');
      expect(refused.finding).to.include({ name, severity: 'error' });
      expect(refused.code).to.equal(FINDINGS[name].code);
      expect(refused.message).to.match(message);
      expect(refused.hint).to.match(remedy);
      expect(findings(config, node), 'findings() has it as well').to.deep.include(refused.finding);
    });
  }

  it('an interface in the way can be deleted by the command that is named, unless it is a piece of hardware', () => {
    const commandFor = (kind: string | undefined) => {
      const node = facts({ interfaces: [uplink(), fakeInterface('gate64', 5, { kind })] });
      return findings(settings({}), node).map(({ command }) => command);
    };
    expect(commandFor('bridge')).to.deep.equal(['ip link delete dev gate64']);
    expect(commandFor(undefined)).to.deep.equal([undefined]);
  });

  it('the longest name that leaves room for the peer’s is taken', () => {
    const desired = plan(settings({ device: 'gate64-nat64-0' }), facts(), { leased: [], shared: [], places: [] });
    expect(desired.node.device.name).to.equal('gate64-nat64-0');
  });

  it('the own device with a link-local address is no conflict, nor a pool that fills the queues', () => {
    const linkLocal = { addresses6: [address6('fe80::1', 'link')] };
    const node = facts({ interfaces: [uplink(), ...ownDevice('gate64', 9000, linkLocal)] });
    expect(() =>
      plan(settings({ pool: pool(['10.0.0.0/22']) }), node, { leased: [], shared: [], places: [] }),
    ).not.to.throw();
  });
});
