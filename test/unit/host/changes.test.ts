// SPDX-License-Identifier: Apache-2.0
// changes(): what differs between a node and what is to be, in the order to make it.

import { expect } from 'chai';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { changes, describe as wordsOf, type Change } from '../../../src/host/changes.ts';
import type { HostRecord, Interface, MasqueradeTable, NodeFacts, ProxyNeighbour } from '../../../src/model/facts.ts';
import type { DesiredNode, DesiredSysctl } from '../../../src/plan/desired.ts';
import { fakeInterface, fakeRoute } from '../../fakes/host.ts';
import {
  address4,
  address6,
  facts,
  guardRoute,
  NO_RECORD,
  ownDevice,
  pods,
  prefixRoutes,
  sysctls,
  uplink,
  WELL_KNOWN,
} from '../plan/support.ts';

const POOL = parseIp4Net('192.0.0.0/29');
const proxy = (text: string, device = 'up0'): ProxyNeighbour => ({ v4: parseIp4(text), device });
const FORWARDING: DesiredSysctl = { name: 'ipv4/conf/up0/forwarding', value: '1', owned: false };
const OWNED: DesiredSysctl = { name: 'ipv4/conf/gate64/rp_filter', value: '0', owned: true };

/** Nothing of anything but the device. */
const TIMES = { udp: 300, tcpEstablished: 7440, tcpTransitory: 240 };
const NOTHING: DesiredNode = {
  device: { name: 'gate64', mtu: 9000 },
  sysctls: [],
  routes: [],
  proxies: [],
  masquerade: [],
  leaving: [],
  lost: [],
  opened: [],
  closed: [],
  trackingTimes: TIMES,
  tcDevices: [],
};
/** Something of everything. */
const DESIRED: DesiredNode = {
  ...NOTHING,
  sysctls: [OWNED, FORWARDING],
  routes: [
    { family: 6, dst: WELL_KNOWN, guard: true },
    { family: 6, dst: WELL_KNOWN, guard: false },
    { family: 4, dst: '192.0.0.0/29', guard: false },
  ],
  proxies: [proxy('203.0.113.8'), proxy('203.0.113.9')],
  masquerade: [POOL],
  tcDevices: ['up0'],
  closed: ['up0'],
};
const RECORD: HostRecord = {
  device: 'gate64',
  sysctls: { 'ipv4/conf/up0/forwarding': { before: '0', written: '1' } },
  proxies: DESIRED.proxies,
  withoutQdisc: ['up0'],
  wasRouter: false,
};
const TABLE = {
  nets: [POOL],
  device: 'gate64',
  guardsNode: true,
  closed: ['up0'],
  leaving: [],
  lost: [],
  opened: [],
  times: TIMES,
  hasTimes: true,
};
const POOL_ROUTE = fakeRoute('192.0.0.0/29', 'gate64', { protocol: '64' });
const DEFAULT = fakeRoute('0.0.0.0/0', 'up0');

type State = Parameters<typeof facts>[0];
/** A node where all of DESIRED holds. */
const ready = (more: State = {}): NodeFacts =>
  facts({
    interfaces: [uplink(), ...ownDevice(), ...pods(2)],
    routes: [DEFAULT, ...prefixRoutes(), POOL_ROUTE],
    proxies: [...DESIRED.proxies],
    masquerade: TABLE,
    record: RECORD,
    sysctls: sysctls({ 'ipv4/conf/up0/forwarding': '1', 'ipv4/conf/gate64/rp_filter': '0' }),
    withQdisc: ['up0'],
    ...more,
  });
/** A node where only the device holds. */
const bare = (more: State = {}): NodeFacts =>
  facts({ interfaces: [uplink(), ...ownDevice()], record: { ...NO_RECORD, device: 'gate64' }, ...more });

const words = (all: readonly Change[]) => all.map((change) => wordsOf(change) ?? change.kind);
function recorded(all: readonly Change[]): HostRecord | undefined {
  const [first, ...others] = all.filter((change) => change.kind === 'record');
  expect(others).to.deep.equal([]);
  return first?.record;
}

describe('host/changes', () => {
  it('there are none on a node as it is to be, however many pods it has', () => {
    for (const count of [1, 2, 200]) {
      const interfaces = [uplink(), ...ownDevice(), ...pods(count)];
      expect(changes(ready({ interfaces }), DESIRED)).to.deep.equal([]);
    }
    expect(changes(bare(), NOTHING)).to.deep.equal([]);
  });

  it('all of it, in order: what is remembered, nftables before the sysctls, routes, proxies', () => {
    expect(words(changes(facts(), DESIRED))).to.deep.equal([
      'record',
      'device gate64',
      'nftables table ip gate64',
      'sysctl net/ipv4/conf/gate64/rp_filter = 0',
      'sysctl net/ipv4/conf/up0/forwarding = 1',
      'guard route 64:ff9b::/96',
      'route 64:ff9b::/96',
      'route 192.0.0.0/29',
      'proxy neighbour 203.0.113.8 on up0',
      'proxy neighbour 203.0.113.9 on up0',
    ]);
  });

  it('away with all of it but the device: what goes is in words, too', () => {
    expect(words(changes(ready(), NOTHING))).to.deep.equal([
      'old nftables table ip gate64',
      'old route 192.0.0.0/29',
      'old guard route 64:ff9b::/96',
      'old route 64:ff9b::/96',
      'old proxy neighbour 203.0.113.8 on up0',
      'old proxy neighbour 203.0.113.9 on up0',
    ]);
  });

  describe('the device', () => {
    const set = (device: Partial<Interface>, peer: Partial<Interface> = {}) => {
      const [own, other] = ownDevice();
      const interfaces = [uplink(), { ...own, ...device }, { ...other, ...peer }];
      return words(changes(bare({ interfaces }), NOTHING));
    };

    it('is made where there is none, with its MTU', () => {
      const [change, ...others] = changes(facts({ record: { ...NO_RECORD, device: 'gate64' } }), {
        ...NOTHING,
        device: { name: 'gate64', mtu: 9500 },
      });
      expect(change).to.deep.equal({ kind: 'addDevice', name: 'gate64', mtu: 9500 });
      expect(others).to.deep.equal([]);
    });

    it('is put right: MTU before all else, the peer before the device', () => {
      const wrong = { mtu: 1200, addrGenMode: 'eui64', arpOff: false, isUp: false };
      const steps = (name: string) => [
        `device ${name} mtu 9000`,
        `device ${name} addrgenmode none`,
        `device ${name} arp off`,
        `device ${name} up`,
      ];
      expect(set(wrong, wrong)).to.deep.equal([...steps('gate64x'), ...steps('gate64')]);
    });

    for (const [wrong, expected] of [
      [{ mtu: 8999 }, 'mtu 9000'],
      [{ addrGenMode: undefined }, 'addrgenmode none'],
      [{ arpOff: false }, 'arp off'],
      [{ isUp: false }, 'up'],
      [{ addresses6: [address6('fe80::1', 'link')] }, 'without addresses'],
    ] as const) {
      it(`"${expected}" is the one change where that alone is wrong`, () => {
        expect(set(wrong)).to.deep.equal([`device gate64 ${expected}`]);
        expect(set({}, wrong)).to.deep.equal([`device gate64x ${expected}`]);
      });
    }

    it('keeps an MTU that is larger', () => {
      expect(set({ mtu: 65535 }, { mtu: 9001 })).to.deep.equal([]);
    });

    it('of another name goes before the new one is made; its guard stays, its routes go with it', () => {
      const desired = { ...DESIRED, device: { name: 'nat0', mtu: 9000 } };
      expect(words(changes(ready(), desired))).to.deep.equal([
        'record',
        'old device gate64',
        'device nat0',
        'nftables table ip gate64',
        'route 64:ff9b::/96',
        'route 192.0.0.0/29',
      ]);
      expect(recorded(changes(ready(), desired))).to.deep.equal({ ...RECORD, device: 'nat0' });
    });

    it('of another name that is gone already is only forgotten', () => {
      const all = changes(bare({ record: { ...NO_RECORD, device: 'old0' } }), NOTHING);
      expect(all).to.deep.equal([{ kind: 'record', record: { ...NO_RECORD, device: 'gate64' } }]);
    });

    it('is not removed when somebody else’s has the old name by now', () => {
      const record = { ...NO_RECORD, device: 'old0' };
      for (const foreign of [
        [fakeInterface('old0', 30, { kind: 'bridge' })],
        [fakeInterface('old0', 30, { kind: 'veth', peer: 'eth1' })],
        [fakeInterface('old0', 30, { kind: 'veth', peer: 'old0x', addresses4: [address4('10.0.0.1/24')] })],
      ]) {
        const interfaces = [uplink(), ...ownDevice(), ...foreign];
        expect(words(changes(bare({ record, interfaces }), NOTHING))).to.deep.equal(['record']);
      }
    });
  });

  describe('sysctls', () => {
    const first = (now: string | undefined, record: HostRecord, sysctl = FORWARDING) => {
      const node = bare({ record, sysctls: sysctls({ [sysctl.name]: now }) });
      return changes(node, { ...NOTHING, sysctls: [sysctl] });
    };
    const remembered = (before: string, written: string): HostRecord => ({
      ...NO_RECORD,
      device: 'gate64',
      sysctls: { [FORWARDING.name]: { before, written } },
    });
    const none = { ...NO_RECORD, device: 'gate64' };

    it('are set and remembered, in this order; one that is right is neither', () => {
      expect(first('0', none)).to.deep.equal([
        { kind: 'record', record: remembered('0', '1') },
        { kind: 'sysctl', name: FORWARDING.name, value: '1' },
      ]);
      expect(first('1', none)).to.deep.equal([]);
    });

    it('are remembered as they were before gate64’s first change, whatever came later', () => {
      expect(first('2', remembered('0', '1'))).to.deep.equal([{ kind: 'sysctl', name: FORWARDING.name, value: '1' }]);
      expect(recorded(first('2', remembered('0', '9')))).to.deep.equal(remembered('0', '1'));
      expect(first('1', remembered('0', '1')), 'what is right is not forgotten').to.deep.equal([]);
    });

    it('that are lists of ports: what others reserved since then is theirs', () => {
      const name = 'ipv4/ip_local_reserved_ports';
      const reserved = (before: string, written: string): HostRecord => ({
        ...none,
        sysctls: { [name]: { before, written } },
      });
      const wanted = (value: string): DesiredSysctl => ({ name, value, owned: false });
      const known = reserved('8080', '8080,61001-65535');
      const value = '7000,8080,50000,61001-65535';
      expect(recorded(first('7000,8080,61001-65535', known, wanted(value)))).to.deep.equal(
        reserved('7000,8080', value),
      );
      const usual = '8080,50000,61001-65535';
      expect(recorded(first('8080,61001-65535', known, wanted(usual)))).to.deep.equal(reserved('8080', usual));
    });

    it('of forwarding are remembered with whether the node was a router, as of the first time', () => {
      const recordOf = (router: string, record: HostRecord = { ...NO_RECORD, device: 'gate64' }) =>
        recorded(
          changes(bare({ sysctls: sysctls({ 'ipv4/ip_forward': router }), record }), {
            ...NOTHING,
            sysctls: [FORWARDING],
          }),
        );
      const [was, wasNot] = [recordOf('1'), recordOf('0')];
      expect(was?.wasRouter).to.equal(true);
      expect(wasNot?.wasRouter).to.equal(false);
      expect(recordOf('1', wasNot), 'nothing new').to.equal(undefined);
    });

    it('are remembered still when they are not wanted any more', () => {
      expect(changes(bare({ record: remembered('0', '1') }), NOTHING)).to.deep.equal([]);
    });

    it('of the device, and such as are not there, are set without being remembered', () => {
      expect(first('1', none, OWNED)).to.deep.equal([{ kind: 'sysctl', name: OWNED.name, value: '0' }]);
      expect(first(undefined, none)).to.deep.equal([{ kind: 'sysctl', name: FORWARDING.name, value: '1' }]);
    });
  });

  describe('routes', () => {
    const routesOf = (routes: State = {}, desired: Partial<DesiredNode> = {}) =>
      words(changes(ready(routes), { ...DESIRED, ...desired }));

    it('that are missing are added, each kind by itself', () => {
      expect(routesOf({ routes: [...prefixRoutes()] })).to.deep.equal(['route 192.0.0.0/29']);
      expect(routesOf({ routes: [guardRoute(), POOL_ROUTE] })).to.deep.equal(['route 64:ff9b::/96']);
      expect(routesOf({ routes: [...prefixRoutes().slice(1), POOL_ROUTE] })).to.deep.equal([
        'guard route 64:ff9b::/96',
      ]);
      const elsewhere = prefixRoutes().map((route) => ({ ...route, table: '100' }));
      expect(routesOf({ routes: [...elsewhere, POOL_ROUTE] })).to.deep.equal([
        'guard route 64:ff9b::/96',
        'route 64:ff9b::/96',
      ]);
    });

    it('that are not wanted any more go after those that come', () => {
      const routes = [
        { family: 6, dst: '2001:db8:64::/96', guard: true },
        { family: 6, dst: '2001:db8:64::/96', guard: false },
        { family: 4, dst: '192.0.0.8/29', guard: false },
      ] as const;
      expect(routesOf({}, { routes })).to.deep.equal([
        'guard route 2001:db8:64::/96',
        'route 2001:db8:64::/96',
        'route 192.0.0.8/29',
        'old route 192.0.0.0/29',
        'old guard route 64:ff9b::/96',
        'old route 64:ff9b::/96',
      ]);
    });

    it('of pool addresses that differ in the last octet go one by one', () => {
      const route = (n: number) => fakeRoute(`192.0.2.${n}/32`, 'gate64', { protocol: '64' });
      const some = Array.from({ length: 200 }, (_, i) => route(i + 1));
      const wanted = some.filter((_, i) => i !== 99).map(({ dst }) => ({ family: 4 as const, dst, guard: false }));
      const node = ready({ routes: [DEFAULT, ...some.filter((_, i) => i !== 150)] });
      expect(words(changes(node, { ...DESIRED, routes: wanted }))).to.deep.equal([
        'route 192.0.2.151/32',
        'old route 192.0.2.100/32',
      ]);
    });

    it('of somebody else are never touched, whatever they are like', () => {
      const foreign = [
        fakeRoute(WELL_KNOWN, 'gate64', { protocol: 'static', table: '100' }),
        fakeRoute('198.51.100.0/24', 'gate64', { protocol: 'static' }),
        fakeRoute('fe80::/64', 'gate64', { protocol: 'kernel' }),
        fakeRoute('198.18.0.0/15', 'up0', { protocol: '64' }),
        fakeRoute('198.19.0.0/16', 'gate64', { protocol: '64', table: '100' }),
        fakeRoute('2001:db8:65::/96', 'lo', { type: 'unreachable', metric: 4294967295 }),
        fakeRoute('2001:db8:66::/96', 'lo', { type: 'unreachable', protocol: '64', metric: 1024 }),
        fakeRoute('2001:db8:67::/96', 'lo', { type: 'blackhole', protocol: '64', metric: 4294967295 }),
      ];
      const before = ready().routes4.concat(ready().routes6);
      expect(routesOf({ routes: [...before, ...foreign] })).to.deep.equal([]);
    });

    it('that somebody else made to the device do as well as gate64’s', () => {
      const own = fakeRoute(WELL_KNOWN, 'gate64', { protocol: 'static' });
      expect(routesOf({ routes: [guardRoute(), own, POOL_ROUTE] })).to.deep.equal([]);
    });
  });

  describe('nftables', () => {
    const table = (masquerade: Partial<MasqueradeTable> | undefined, nets = [POOL], closed = ['up0']) => {
      const made = { ...TABLE, nets: undefined, device: undefined };
      const desired = { ...DESIRED, masquerade: nets, closed };
      return changes(ready({ masquerade: masquerade && { ...made, ...masquerade } }), desired);
    };
    const other = parseIp4Net('192.0.2.0/24');
    const write = (nets: readonly (typeof POOL)[], closed = ['up0']) => [
      { kind: 'masquerade', nets, device: 'gate64', times: TIMES, leaving: [], lost: [], opened: [], closed },
    ];

    it('are written whole when anything about the table differs', () => {
      expect(table(undefined)).to.deep.equal(write([POOL]));
      expect(table({ nets: undefined, device: undefined })).to.deep.equal(write([POOL]));
      expect(table({ nets: [POOL], device: 'old0' })).to.deep.equal(write([POOL]));
      expect(table({ nets: [other], device: 'gate64' })).to.deep.equal(write([POOL]));
      expect(table({ nets: [POOL, other], device: 'gate64' })).to.deep.equal(write([POOL]));
      expect(table({ nets: [{ ...POOL, length: 30 }], device: 'gate64' })).to.deep.equal(write([POOL]));
      expect(table({ nets: [POOL], device: 'gate64' }, [POOL, other])).to.deep.equal(write([POOL, other]));
      const times = { ...TIMES, udp: 30 };
      expect(table({ nets: [POOL], device: 'gate64', times })).to.deep.equal(write([POOL]));
      expect(table({ ...TABLE, closed: [] })).to.deep.equal(write([POOL]));
      expect(table({ ...TABLE, guardsNode: false })).to.deep.equal(write([POOL]));
      expect(table({ ...TABLE, lost: [1] })).to.deep.equal(write([POOL]));
      const leaving = [{ device: 'up0', dst: { v4: 0, length: 0 }, source: 1 }];
      expect(table({ ...TABLE, leaving })).to.deep.equal(write([POOL]));
      expect(table(TABLE, [POOL], [])).to.deep.equal(write([POOL], []));
    });

    it('are left where the kernel does not take times for connection tracking', () => {
      expect(table({ nets: [POOL], device: 'gate64', hasTimes: false })).to.deep.equal([]);
    });

    it('go where none are wanted, also when they are not as gate64 made them', () => {
      expect(table({ nets: [POOL], device: 'gate64' }, [], [])).to.deep.equal(write([], []));
      expect(table({ nets: undefined, device: undefined }, [], [])).to.deep.equal(write([], []));
      expect(table(undefined, [], [])).to.deep.equal([]);
    });

    it('close an interface with nothing to masquerade, as a direct way out has it', () => {
      expect(table(undefined, [])).to.deep.equal(write([]));
      expect(table({ ...TABLE, nets: [], guardsNode: false }, [])).to.deep.equal([]);
    });
  });

  describe('proxies', () => {
    const all = Array.from({ length: 200 }, (_, i) => proxy(`203.0.113.${i + 10}`));
    const record = (proxies: readonly ProxyNeighbour[]): HostRecord => ({ ...NO_RECORD, device: 'gate64', proxies });

    it('that are missing are remembered first, then made', () => {
      const wanted = all.slice(0, 2);
      const node = bare({ proxies: all.slice(1, 2), record: record(all.slice(1, 2)) });
      expect(changes(node, { ...NOTHING, proxies: wanted })).to.deep.equal([
        { kind: 'record', record: record(wanted) },
        { kind: 'proxy', verb: 'add', proxy: all[0] },
      ]);
    });

    it('that go are remembered until they have gone', () => {
      const wanted = all.slice(0, 198);
      const desired = { ...NOTHING, proxies: wanted };
      expect(changes(bare({ proxies: all, record: record(all) }), desired)).to.deep.equal(
        all.slice(198).map((gone) => ({ kind: 'proxy', verb: 'del', proxy: gone })),
      );
      expect(changes(bare({ proxies: wanted, record: record(all) }), desired)).to.deep.equal([
        { kind: 'record', record: record(wanted) },
      ]);
    });

    it('of another device are others', () => {
      const moved = [proxy('203.0.113.8', 'up1')];
      const before = [proxy('203.0.113.8')];
      expect(changes(bare({ proxies: before, record: record(before) }), { ...NOTHING, proxies: moved })).to.deep.equal([
        { kind: 'record', record: record([...moved, ...before]) },
        { kind: 'proxy', verb: 'add', proxy: moved[0] },
        { kind: 'proxy', verb: 'del', proxy: before[0] },
      ]);
    });

    it('of somebody else stay', () => {
      expect(changes(bare({ proxies: all }), NOTHING)).to.deep.equal([]);
    });
  });

  describe('the qdisc of the uplink', () => {
    const qdisc = (withQdisc: readonly string[] | undefined, withoutQdisc: readonly string[] = []) =>
      recorded(
        changes(bare({ withQdisc, record: { ...NO_RECORD, device: 'gate64', withoutQdisc } }), {
          ...NOTHING,
          tcDevices: ['up0'],
        }),
      )?.withoutQdisc;

    it('is remembered as missing where it was looked for and is not there, once', () => {
      expect(qdisc([])).to.deep.equal(['up0']);
      expect(qdisc(['gate64'], ['gate64'])).to.deep.equal(['gate64', 'up0']);
      expect(qdisc([], ['pod7']), 'that of an interface that went is forgotten').to.deep.equal(['up0']);
      expect(qdisc([], ['up0']), 'no change').to.equal(undefined);
      expect(qdisc(['up0'])).to.equal(undefined);
      expect(qdisc(undefined)).to.equal(undefined);
      expect(qdisc(['up0'], ['up0']), 'it came with gate64').to.equal(undefined);
    });
  });

  it('what only gate64 cares about has no words', () => {
    expect(wordsOf({ kind: 'record', record: NO_RECORD })).to.equal(undefined);
  });
});
