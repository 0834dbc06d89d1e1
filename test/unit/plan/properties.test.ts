// SPDX-License-Identifier: Apache-2.0
// What holds of plan() and changes() whatever the node looks like: the same facts give the same, the order of interfaces
// decides nothing that it need not, and what is planned can be made and then holds.

import { expect } from 'chai';
import fc from 'fast-check';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import type { Config } from '../../../src/config/config.ts';
import { changes } from '../../../src/host/changes.ts';
import type { HostRecord, Interface, MasqueradeTable, NodeFacts, Route } from '../../../src/model/facts.ts';
import type { Desired } from '../../../src/plan/desired.ts';
import { FindingError } from '../../../src/plan/findings.ts';
import { findings, plan } from '../../../src/plan/plan.ts';
import { FakeHost, fakeInterface, fakeRoute } from '../../fakes/host.ts';
import { drawn, holds } from '../../helpers/property.ts';
import {
  address4,
  address6,
  facts,
  guardRoute,
  NO_RECORD,
  ownDevice,
  pods,
  pool,
  prefixRoutes,
  settings,
  SHARED,
  uplink,
} from './support.ts';

const PREFIXES = ['64:ff9b::/96', '2001:db8:64::/96', '2001:db8:1::/48'];
const POOLS = [
  pool(['192.0.0.0/29']),
  pool(['203.0.113.8/30', '192.0.2.7']),
  pool(['203.0.113.2']),
  pool(['203.0.113.0/30']),
  pool(['10.0.0.0/21']),
  SHARED,
  [...SHARED, ...pool(['203.0.113.9'], 1, 100)],
];
const HOSTS = ['203.0.113.2', '203.0.113.3', '203.0.113.9', '203.0.113.77', '192.0.2.7', '192.0.2.9', '198.51.100.2'];

const configuration = fc
  .record({
    egress: fc.constantFrom('masquerade' as const, 'direct' as const),
    pool: fc.constantFrom(...POOLS),
    device: fc.constantFrom('gate64', 'nat0'),
    uplink: fc.constantFrom('auto', 'auto', 'up0', 'up1'),
    prefixes: fc.shuffledSubarray(PREFIXES, { minLength: 1 }),
  })
  .map(({ prefixes, ...nat64 }): Config => settings(nat64, prefixes));

const uplinks = fc
  .array(
    fc.record({
      linkType: fc.constantFrom('ether', 'ether', 'ether', 'none'),
      isUp: fc.constantFrom(true, true, true, false),
      mtu: fc.integer({ min: 576, max: 65536 }),
      addresses4: fc.shuffledSubarray(['203.0.113.2/24', '203.0.113.3/32', '198.51.100.2/25'].map(address4)),
      addresses6: fc.shuffledSubarray([address6('2001:db8::2'), address6('fe80::2', 'link')]),
    }),
    { maxLength: 3 },
  )
  .map((all) => all.map((one, i) => fakeInterface(`up${i}`, 2 + i, one)));

/** gate64's device in any state, somebody else's of its name, or none. */
const devices = (name: string): fc.Arbitrary<readonly Interface[]> => {
  const end = fc.record({
    mtu: fc.constantFrom(576, 1500, 9000, 65535),
    isUp: fc.boolean(),
    arpOff: fc.boolean(),
    addrGenMode: fc.constantFrom('none', 'eui64', undefined),
    addresses6: fc.constantFrom([], [], [address6('fe80::1', 'link')]),
  });
  const [device, peer] = ownDevice(name);
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant([]) },
    {
      weight: 4,
      arbitrary: fc.tuple(end, end).map(([a, b]) => [
        { ...device, ...a },
        { ...peer, ...b },
      ]),
    },
    { weight: 1, arbitrary: fc.constant([fakeInterface(name, 10, { kind: 'bridge' })]) },
  );
};

/** Default routes, gate64's from before and what others have. */
const routes = fc.shuffledSubarray<Route>(
  [
    fakeRoute('0.0.0.0/0', 'up0', { gateways: ['203.0.113.1'], metric: 100 }),
    fakeRoute('0.0.0.0/0', 'up1', { source: '198.51.100.2', metric: 50 }),
    fakeRoute('::/0', 'up0'),
    ...prefixRoutes('64:ff9b::/96'),
    ...prefixRoutes('2001:db8:99::/96'),
    guardRoute('2001:db8:1::/48'),
    fakeRoute('192.0.0.0/29', 'gate64', { protocol: '64' }),
    fakeRoute('192.0.2.200/32', 'gate64', { protocol: '64' }),
    fakeRoute('203.0.113.0/24', 'up0', { protocol: 'kernel' }),
    fakeRoute('192.0.2.0/24', 'br0'),
    fakeRoute('fe80::/64', 'gate64', { protocol: 'kernel' }),
  ],
  { minLength: 3 },
);
const proxies = fc.shuffledSubarray(
  HOSTS.flatMap((text) => ['up0', 'up1'].map((device) => ({ v4: parseIp4(text), device }))),
);
const record = fc.record({
  device: fc.constantFrom(undefined, 'gate64', 'nat0'),
  sysctls: fc.constantFrom<HostRecord['sysctls']>({}, { 'ipv4/conf/up0/forwarding': { before: '0', written: '1' } }),
  proxies,
  withoutQdisc: fc.constantFrom([], ['up0'], ['up1']),
  wasRouter: fc.boolean(),
});
const times = { udp: 300, tcpEstablished: 7200, tcpTransitory: 240 };
const table = {
  device: 'gate64',
  guardsNode: true,
  closed: ['up0'],
  leaving: [],
  lost: [],
  opened: [],
  times,
  hasTimes: true,
};
const masquerade = fc.constantFrom<(MasqueradeTable | undefined)[]>(
  undefined,
  { ...table, nets: undefined, device: undefined, times: undefined, hasTimes: false },
  { ...table, nets: [parseIp4Net('192.0.0.0/29')] },
  { ...table, nets: [parseIp4Net('192.0.0.0/29')], times: { ...times, udp: 30 } },
  { ...table, nets: [parseIp4Net('192.0.2.0/24')], device: 'nat0', closed: [], hasTimes: false },
);

const node = fc
  .record({
    uplinks,
    pods: fc.constantFrom(0, 1, 2, 200),
    gate64: devices('gate64'),
    nat0: devices('nat0'),
    routes,
    proxies,
    record,
    masquerade,
    reserved: fc.constantFrom('', '8080', '8080,61001-61500'),
    forwarding: fc.constantFrom('0', '1'),
    router: fc.constantFrom('0', '1'),
  })
  .map((is) => {
    const host = new FakeHost();
    host.interfaces = [...is.uplinks, ...is.gate64, ...is.nat0, ...pods(is.pods)];
    // A route goes with its device.
    const there = new Set(['lo', 'br0', ...host.interfaces.map(({ name }) => name)]);
    host.routes = is.routes.filter((route) => route.devices.every((name) => there.has(name)));
    [host.proxies, host.record, host.masquerade] = [is.proxies, is.record, is.masquerade];
    host.sysctls.set('ipv4/ip_local_reserved_ports', is.reserved).set('ipv4/conf/up0/forwarding', is.forwarding);
    host.sysctls.set('ipv4/ip_forward', is.router);
    return host;
  });
const leased = fc.shuffledSubarray(HOSTS).map((texts) => texts.map(parseIp4));

/** What is planned; undefined when that is refused, as findings() then says, too. */
function planned(config: Config, seen: NodeFacts, used: readonly number[]): Desired | undefined {
  try {
    return plan(config, seen, { leased: used, shared: [], places: [] });
  } catch (error) {
    if (!(error instanceof FindingError)) throw error;
    expect(findings(config, seen)).to.deep.include(error.finding);
    return undefined;
  }
}

/** Makes what is planned, at most twice; whether it could be planned at all. */
function made(config: Config, host: FakeHost, used: readonly number[]): boolean {
  for (let round = 1; ; round++) {
    const seen = facts(host);
    const desired = planned(config, seen, used);
    if (desired === undefined) {
      expect(round, `what gate64 made is no reason to refuse: ${JSON.stringify(findings(config, seen))}`).to.equal(1);
      return false;
    }
    const differences = changes(seen, desired.node);
    if (round === 3) {
      expect(differences).to.deep.equal([]);
      expect(desired.datapath).not.to.equal(undefined);
      return true;
    }
    // The fake makes them at once.
    void host.make(differences);
  }
}

describe('plan and changes, whatever the node is like', () => {
  it('a plan is refused with a finding, or made in two rounds at most and then holds', () => {
    holds(
      fc.property(configuration, node, leased, (config, host, used) => void made(config, host, used)),
      { runs: 500 },
    );
  });

  it('the nodes tried here are both: such that are refused and such that are made', () => {
    const cases = drawn(fc.tuple(configuration, node, leased), 200).map((one) => made(...one));
    expect(cases.filter(Boolean).length).to.be.within(20, 180);
  });

  it('what somebody else has is there afterwards as it was', () => {
    const others = ({ interfaces, routes: all, proxies: entries }: FakeHost, known: HostRecord) => ({
      interfaces: interfaces.filter(({ name, kind }) => !/^(?:gate64|nat0)x?$/.test(name) || kind === 'bridge'),
      routes: all.filter(
        ({ protocol, devices: [first] }) => protocol !== '64' && !/^(?:gate64|nat0)/.test(first ?? ''),
      ),
      proxies: entries.filter((entry) => !known.proxies.some(({ v4 }) => v4 === entry.v4)),
    });
    holds(
      fc.property(configuration, node, (config, host) => {
        const known = host.record;
        const before = others(host, known);
        if (!made(config, host, [])) return;
        const after = others(host, known);
        expect(after.interfaces).to.deep.equal(before.interfaces);
        expect(after.routes).to.deep.equal(before.routes);
        expect(after.proxies).to.include.deep.members(before.proxies);
      }),
      { runs: 300 },
    );
  });

  it('the same facts give the same plan and the same changes', () => {
    holds(
      fc.property(configuration, node, leased, (config, host, used) => {
        const [first, again] = [facts(host), facts(host)].map((seen) => {
          const desired = planned(config, seen, used);
          return { desired, differences: desired && changes(seen, desired.node) };
        });
        expect(again).to.deep.equal(first);
      }),
    );
  });

  it('the order of interfaces decides nothing on a node with one uplink', () => {
    const sorted = <T>(list: readonly T[] = []) => list.map((one) => JSON.stringify(one)).toSorted();
    const shown = ({ datapath, ...rest }: Desired) => ({
      ...rest,
      datapath: {
        ...datapath,
        nodeAddresses: sorted(datapath?.nodeAddresses),
        destinations: sorted(datapath?.destinations),
      },
    });
    for (const count of [1, 2, 200]) {
      const interfaces = [uplink(), ...ownDevice(), ...pods(count)];
      const config = fc.constantFrom(settings(), settings({ egress: 'direct', pool: SHARED }));
      holds(
        fc.property(config, fc.shuffledSubarray(interfaces, { minLength: interfaces.length }), (one, shuffled) => {
          const [usual, other] = [interfaces, shuffled].map((all) => {
            const seen = facts({ interfaces: all, record: NO_RECORD });
            const desired = plan(one, seen, { leased: [parseIp4('192.0.2.9')], shared: [], places: [] });
            return { desired: shown(desired), differences: changes(seen, desired.node) };
          });
          expect(other).to.deep.equal(usual);
        }),
        { runs: 20 },
      );
    }
  });
});
