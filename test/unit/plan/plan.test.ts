// SPDX-License-Identifier: Apache-2.0
// plan(): from configuration and facts to all that is to be true of the node and of its data plane.

import { expect } from 'chai';
import { formatIp4, formatIp4Net, formatIp6, parseIp4, parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { Destinations } from '../../../src/addr/destinations.ts';
import type { Nat64Config } from '../../../src/config/config.ts';
import type { HostRecord, Interface, NodeFacts } from '../../../src/model/facts.ts';
import { MAX_UPLINKS, type Prefix } from '../../../src/model/layout.gen.ts';
import type { Desired, DesiredDatapath } from '../../../src/plan/desired.ts';
import { plan } from '../../../src/plan/plan.ts';
import { fakeInterface, fakeRoute } from '../../fakes/host.ts';
import { address4, facts, NO_RECORD, ownDevice, pods, pool, settings, SHARED, sysctls, uplink } from './support.ts';

function planned(
  nat64: Partial<Nat64Config> = {},
  node: NodeFacts = facts(),
  {
    prefixes,
    leased = [],
    shared = [],
    places = [],
  }: { prefixes?: string[]; leased?: string[]; shared?: string[]; places?: readonly Prefix[] } = {},
): Desired {
  return plan(settings(nat64, prefixes), node, { leased: leased.map(parseIp4), shared: shared.map(parseIp4), places });
}
const DIRECT = { egress: 'direct', pool: SHARED } as const;
const dedicated = (...nets: string[]) => ({ egress: 'direct' as const, pool: pool(nets) });
const withPods = (count: number) => facts({ interfaces: [uplink(), ...pods(count)] });
const withDevice = (more: readonly Interface[] = [], mtu = 9000) =>
  facts({ interfaces: [uplink(), ...ownDevice('gate64', mtu), ...more] });

function datapathOf({ datapath }: Desired): DesiredDatapath {
  if (datapath === undefined) throw new Error('there is no data plane to be');
  return datapath;
}
const sysctlsOf = ({ node }: Desired) => node.sysctls.map(({ name, value }) => `${name}=${value}`);
const routesOf = ({ node }: Desired) => node.routes.map(({ dst, guard }) => `${guard ? 'guard ' : ''}${dst}`);
const proxiesOf = ({ node }: Desired) => node.proxies.map(({ v4, device }) => `${formatIp4(v4)} ${device}`);

const OWN_SYSCTLS = [
  'ipv6/conf/gate64/disable_ipv6=0',
  'ipv6/conf/gate64/forwarding=1',
  'ipv6/conf/gate64/accept_ra=0',
  'ipv4/conf/gate64/forwarding=1',
  'ipv4/conf/gate64/rp_filter=0',
];

describe('plan/plan: the device', () => {
  const mtuOf = (interfaces: readonly Interface[], nat64: Partial<Nat64Config> = {}) =>
    planned(nat64, facts({ interfaces: [uplink(), ...interfaces] })).node.device.mtu;

  it('takes packets of 9000 bytes, and of more where an interface of the node does', () => {
    for (const count of [1, 2, 200]) expect(mtuOf(pods(count)), `${count} pods`).to.equal(9000);
    expect(mtuOf([...pods(200), ...pods(1, 9001)])).to.equal(9001);
    expect(mtuOf(pods(2, 65535))).to.equal(65535);
    expect(mtuOf(pods(2, 65536)), 'no veth takes more').to.equal(65535);
  });

  it("does not follow loopback, or what it has itself: an old pod's MTU is not kept for ever", () => {
    expect(mtuOf([fakeInterface('lo', 1, { linkType: 'loopback', mtu: 65536 })])).to.equal(9000);
    expect(mtuOf([...ownDevice('gate64', 20_000), ...pods(1)])).to.equal(9000);
    expect(mtuOf([...ownDevice('out', 20_000), ...pods(1)], { device: 'out' })).to.equal(9000);
  });

  it('has the name of the configuration, with its sysctls', () => {
    const desired = planned({ device: 'nat0' });
    expect(desired.node.device.name).to.equal('nat0');
    expect(desired.node.sysctls.filter(({ owned }) => owned).map(({ name }) => name.split('/')[2])).to.deep.equal(
      OWN_SYSCTLS.map(() => 'nat0'),
    );
  });
});

describe('plan/plan: sysctls', () => {
  it('masquerade: the uplink forwards IPv4, no port is reserved; only what is not of the device is remembered', () => {
    const desired = planned();
    expect(sysctlsOf(desired)).to.deep.equal([...OWN_SYSCTLS, 'ipv4/conf/up0/forwarding=1']);
    expect(desired.node.sysctls.filter(({ owned }) => !owned).map(({ name }) => name)).to.deep.equal([
      'ipv4/conf/up0/forwarding',
    ]);
  });

  it('direct with a shared address: ports are reserved with what is reserved, the uplink need not forward', () => {
    const reserving = (reserved: string | undefined) =>
      planned(DIRECT, facts({ sysctls: sysctls({ 'ipv4/ip_local_reserved_ports': reserved }) }));
    expect(sysctlsOf(reserving(''))).to.deep.equal([...OWN_SYSCTLS, 'ipv4/ip_local_reserved_ports=61001-65535']);
    expect(sysctlsOf(reserving(undefined)).at(-1)).to.equal('ipv4/ip_local_reserved_ports=61001-65535');
    for (const [reserved, all] of [
      ['8080,9148-9150', '8080,9148-9150,61001-65535'],
      ['61000', '61000-65535'],
      ['60999-61500,7', '7,60999-65535'],
      ['61001-65535', '61001-65535'],
    ] as const) {
      const { sysctls: desired } = reserving(reserved).node;
      expect(desired.at(-1), reserved).to.deep.equal({
        name: 'ipv4/ip_local_reserved_ports',
        value: all,
        owned: false,
      });
    }
  });

  it('an interface that forwards for gate64’s sake alone is closed to others, for as long as nobody makes the node a router', () => {
    const record = (wasRouter: boolean): HostRecord => ({
      ...NO_RECORD,
      sysctls: { 'ipv4/conf/up0/forwarding': { before: '0', written: '1' } },
      wasRouter,
    });
    const closed = (router: string, forwarding: string, known: HostRecord = NO_RECORD, config = {}) =>
      planned(
        config,
        facts({
          record: known,
          sysctls: sysctls({ 'ipv4/ip_forward': router, 'ipv4/conf/up0/forwarding': forwarding }),
        }),
      ).node.closed;
    expect(closed('0', '0'), 'before').to.deep.equal(['up0']);
    expect(closed('0', '1', record(false)), 'after, a restart included').to.deep.equal(['up0']);
    expect(closed('1', '1', record(false)), 'somebody switched all on').to.deep.equal([]);
    expect(closed('1', '0'), 'the one that is off on a router').to.deep.equal(['up0']);
    expect(closed('1', '1', record(true))).to.deep.equal(['up0']);
    expect(closed('0', '1'), 'was on before').to.deep.equal([]);
    expect(closed('0', '0', NO_RECORD, DIRECT), 'nothing is switched on').to.deep.equal([]);
    expect(closed('0', '1', record(false), DIRECT), 'of an earlier configuration').to.deep.equal(['up0']);
    const onLink = { egress: 'direct', pool: pool(['203.0.113.9']) } as const;
    expect(closed('0', '0', NO_RECORD, onLink), 'switched on for ARP').to.deep.equal(['up0']);
  });

  it('direct with several ranges of a shared address reserves each', () => {
    const ranges = [...pool('uplink', 61001, 61100), ...pool(['203.0.113.2'], 62000, 62000)];
    expect(sysctlsOf(planned({ egress: 'direct', pool: ranges })).at(-1)).to.equal(
      'ipv4/ip_local_reserved_ports=61001-61100,62000',
    );
  });

  it('direct with dedicated addresses: the uplink forwards where it answers for them, and there alone', () => {
    expect(sysctlsOf(planned(dedicated('203.0.113.8/30')))).to.deep.equal([
      ...OWN_SYSCTLS,
      'ipv4/conf/up0/forwarding=1',
    ]);
    expect(sysctlsOf(planned(dedicated('192.0.2.8/30')))).to.deep.equal(OWN_SYSCTLS);
  });
});

describe('plan/plan: routes, proxies, nftables', () => {
  it('each prefix has a guard and a route, each network of the pool a route', () => {
    const nets = [...pool(['192.0.2.0/29', '192.0.2.9']), ...pool(['198.18.0.1'])];
    const desired = planned({ pool: nets }, facts(), { prefixes: ['64:ff9b::/96', '2001:db8:64::/48'] });
    expect(routesOf(desired)).to.deep.equal([
      'guard 64:ff9b::/96',
      '64:ff9b::/96',
      'guard 2001:db8:64::/48',
      '2001:db8:64::/48',
      '192.0.2.0/29',
      '192.0.2.9/32',
      '198.18.0.1/32',
    ]);
    expect(desired.node.routes.map(({ dst, family }) => (dst.includes(':') ? 6 : 4) === family)).not.to.include(false);
  });

  it('a network with several ranges of ports is routed once', () => {
    const ranges = [...pool(['192.0.2.0/29'], 1, 100), ...pool(['192.0.2.0/29'], 200, 300)];
    const desired = planned({ pool: ranges });
    expect(routesOf(desired).slice(2)).to.deep.equal(['192.0.2.0/29']);
    expect(desired.node.masquerade.map(formatIp4Net)).to.deep.equal(['192.0.2.0/29']);
  });

  it('addresses that left the pool are led here as long as pods hold ports of them, in order of addresses', () => {
    const leased = ['192.0.2.200', '192.0.2.17', '198.18.0.3', '10.0.0.9', '192.0.2.16'];
    const desired = planned({ pool: pool(['192.0.2.200', '198.18.0.0/29']) }, facts(), { leased });
    const all = ['192.0.2.200/32', '198.18.0.0/29', '10.0.0.9/32', '192.0.2.16/32', '192.0.2.17/32'];
    expect(routesOf(desired).slice(2)).to.deep.equal(all);
    expect(desired.node.masquerade.map(formatIp4Net)).to.deep.equal(all);
    expect(datapathOf(planned({}, withDevice(), { leased })).pool.map(({ net }) => formatIp4Net(net))).to.deep.equal(
      ['192.0.0.0/29'],
      'no pod is given new ports of them',
    );
  });

  it("the node's own addresses are never routed, whether they are in the pool or have left it", () => {
    for (const count of [1, 2, 200]) {
      const node = withPods(count);
      const own = ['203.0.113.2', ...pods(count).map(({ addresses4 }) => formatIp4(addresses4[0]?.v4 ?? 0))];
      const direct = planned(DIRECT, node, { leased: [...own, '192.0.2.1'] });
      expect(routesOf(direct).slice(2)).to.deep.equal(['192.0.2.1/32']);
      const masquerade = planned({}, node, { leased: own });
      expect(routesOf(masquerade).slice(2)).to.deep.equal(['192.0.0.0/29']);
      expect(masquerade.node.masquerade.map(formatIp4Net)).to.deep.equal(['192.0.0.0/29']);
    }
  });

  it('an address that the node has lost is neither led here nor answered for, whatever pods hold of it', () => {
    const leased = ['203.0.113.77', '203.0.113.88', '203.0.113.2'];
    const shared = ['203.0.113.77', '203.0.113.2'];
    for (const nat64 of [DIRECT, dedicated('203.0.113.8/30'), {}]) {
      const desired = planned(nat64, facts(), { leased, shared });
      expect(routesOf(desired)).to.include('203.0.113.88/32').and.not.include('203.0.113.77/32');
      expect(proxiesOf(desired)).not.to.include('203.0.113.77 up0');
      expect(desired.node.masquerade.map(formatIp4Net)).not.to.include('203.0.113.77/32');
    }
    const again = planned(dedicated('203.0.113.77'), facts(), { leased, shared });
    expect(proxiesOf(again), 'the pool has it').to.include('203.0.113.77 up0');
  });

  it("direct: the uplink answers for what is on its own network, whatever the pool's, and for what left the pool", () => {
    const nets = dedicated('203.0.113.8/30', '203.0.113.17', '192.0.2.8/30');
    expect(proxiesOf(planned(nets, facts(), { leased: ['203.0.113.99', '192.0.2.99'] }))).to.deep.equal([
      '203.0.113.8 up0',
      '203.0.113.9 up0',
      '203.0.113.10 up0',
      '203.0.113.11 up0',
      '203.0.113.17 up0',
      '203.0.113.99 up0',
    ]);
    expect(proxiesOf(planned(DIRECT))).to.deep.equal([]);
    expect(proxiesOf(planned({ pool: pool(['203.0.113.8/30']) })), 'masquerade: nobody asks').to.deep.equal([]);
  });

  it('direct: a host address of the uplink is no network, a second address has one', () => {
    const addresses4 = [address4('203.0.113.2/32'), { ...address4('198.51.100.2/25'), secondary: true }];
    const node = facts({ interfaces: [uplink({ addresses4 })] });
    const nets = dedicated('203.0.113.8/30', '198.51.100.126/31', '198.51.100.128/31');
    expect(proxiesOf(planned(nets, node))).to.deep.equal(['198.51.100.126 up0', '198.51.100.127 up0']);
  });

  it('masquerade: nftables for all that is routed and no program on the uplink; direct: the other way round', () => {
    const masquerade = planned();
    expect(masquerade.node.masquerade.map(formatIp4Net)).to.deep.equal(['192.0.0.0/29']);
    expect(masquerade.node.tcDevices).to.deep.equal([]);
    expect(masquerade.egress).to.equal('masquerade');
    for (const direct of [planned(DIRECT), planned(dedicated('192.0.2.0/29'))]) {
      expect(direct.node.masquerade).to.deep.equal([]);
      expect(direct.node.tcDevices).to.deep.equal(['up0']);
      expect(direct.egress).to.equal('direct');
    }
  });
});

describe('plan/plan: the ways outside', () => {
  const up1 = fakeInterface('up1', 3, { mtu: 1400, addresses4: [address4('198.51.100.2/24')] });
  const up6 = fakeInterface('up6', 4, { mtu: 1280 });
  const interfaces = [up6, up1, uplink()];
  const routes = [
    fakeRoute('0.0.0.0/0', 'up0', { metric: 200 }),
    fakeRoute('0.0.0.0/0', 'up1', { metric: 100 }),
    fakeRoute('::/0', 'up6'),
  ];
  const node = (more: Parameters<typeof facts>[0] = {}) => facts({ interfaces, routes, ...more });

  it('the default route of the best metric is the way out, the others lead outside', () => {
    expect(planned({}, node()).uplinks).to.deep.equal(['up1', 'up6', 'up0']);
    expect(sysctlsOf(planned({}, node())).at(-1)).to.equal('ipv4/conf/up1/forwarding=1');
  });

  it('a named interface is, whatever the routes', () => {
    expect(planned({ uplink: 'up0' }, node()).uplinks[0]).to.equal('up0');
    expect(planned({ uplink: 'up6' }, node()).uplinks).to.deep.equal(['up6', 'up1', 'up0']);
  });

  it('routes of other tables, of other kinds and by the own device lead nowhere', () => {
    const others = [
      fakeRoute('0.0.0.0/0', 'up1', { table: '100' }),
      fakeRoute('0.0.0.0/0', 'up1', { type: 'unreachable' }),
      fakeRoute('0.0.0.0/0', 'gate64'),
      fakeRoute('0.0.0.0/1', 'up1'),
      fakeRoute('0.0.0.0/0', 'up0', { metric: 9999 }),
    ];
    const all = [...interfaces, ...ownDevice()];
    expect(planned({}, node({ routes: others, interfaces: all })).uplinks[0]).to.equal('up0');
  });

  it('of several next hops the first leads out, each leads outside', () => {
    const both = [fakeRoute('0.0.0.0/0', 'up0', { devices: ['up0', 'up1'] })];
    expect(planned({}, node({ routes: both })).uplinks).to.deep.equal(['up0', 'up1']);
  });

  it('"uplink" in the pool is the source that the default route asks for, else the first address that is not secondary', () => {
    const addresses4 = [
      { ...address4('203.0.113.9/24'), secondary: true },
      address4('203.0.113.2/24'),
      address4('203.0.113.3/24'),
    ];
    const poolOf = (source: string | undefined) => {
      const route = fakeRoute('0.0.0.0/0', 'up0', { source });
      const seen = facts({ interfaces: [uplink({ addresses4 }), ...ownDevice()], routes: [route] });
      return datapathOf(planned(DIRECT, seen)).pool.map(({ net, shared }) => [formatIp4Net(net), shared]);
    };
    expect(poolOf('203.0.113.3')).to.deep.equal([['203.0.113.3/32', true]]);
    expect(poolOf(undefined)).to.deep.equal([['203.0.113.2/32', true]]);
  });

  it(`programs know ${MAX_UPLINKS} of them, the way out among these`, () => {
    const many = Array.from({ length: 12 }, (_, i) => fakeInterface(`out${i}`, 100 + i));
    const seen = facts({
      interfaces: [...many, uplink({ mtu: 1492 }), ...ownDevice()],
      routes: [fakeRoute('0.0.0.0/0', 'up0'), ...many.map(({ name }) => fakeRoute('::/0', name))],
    });
    const desired = planned({}, seen);
    const { uplinkIfindex, uplinkCount, uplinkMtu } = datapathOf(desired).programs;
    expect(desired.uplinks).to.have.length(13);
    expect(uplinkIfindex).to.deep.equal([2, 100, 101, 102, 103, 104, 105, 106]);
    expect([uplinkCount, uplinkMtu]).to.deep.equal([MAX_UPLINKS, 1492]);
  });
});

describe('plan/plan: the data plane', () => {
  it('is undefined while the device is not there, with nothing else different', () => {
    const without = planned();
    expect(without.datapath).to.equal(undefined);
    const { datapath, ...rest } = planned({}, withDevice());
    expect(datapath).not.to.equal(undefined);
    expect(rest).to.deep.equal({ node: without.node, egress: without.egress, uplinks: without.uplinks });
  });

  it('knows the device and the uplink as they are, not as they are to be', () => {
    for (const count of [1, 2, 200]) {
      const { programs } = datapathOf(planned({}, withDevice(pods(count, 9500), 9100)));
      expect(programs).to.deep.include({
        deviceIfindex: 10,
        deviceMtu: 9100,
        deviceMac: Uint8Array.of(2, 0, 0, 0, 0, 10),
        uplinkIfindex: [2, 0, 0, 0, 0, 0, 0, 0],
        uplinkCount: 1,
        uplinkMtu: 1500,
        direct: 0,
        prefixCount: 1,
      });
    }
  });

  it('has the settings of the configuration', () => {
    const { programs, sources, blockSize, statics } = datapathOf(
      planned(
        {
          ...DIRECT,
          filtering: 'endpointIndependent',
          allowSources: [parseIp6Net('2001:db8:1::/48')],
          maxBlocksPerPod: 3,
          maxSessionsPerPod: 99,
          lowestIpv6Mtu: 1400,
          endDeniedSessions: false,
          blockSize: 128,
        },
        withDevice(),
      ),
    );
    expect(programs).to.deep.include({
      direct: 1,
      endpointIndependentFiltering: 1,
      restrictSources: 1,
      maxBlocksPerPod: 3,
      maxSessionsPerPod: 99,
      lowestIpv6Mtu: 1400,
      endDeniedSessions: 0,
    });
    expect(datapathOf(planned(DIRECT, withDevice())).programs.endDeniedSessions).to.equal(1);
    expect(sources).to.deep.equal([parseIp6Net('2001:db8:1::/48')]);
    expect([blockSize, statics]).to.deep.equal([128, []]);
  });

  it('sends ICMPv6 errors from the node’s address under the prefix; the well-known one shows none that is not global', () => {
    const node6 = (prefix: string, v4: string) => {
      const interfaces = [uplink({ addresses4: [address4(`${v4}/24`)] }), ...ownDevice()];
      const { node, datapath } = planned({}, facts({ interfaces }), { prefixes: [prefix] });
      const source = (datapath as DesiredDatapath).programs.node6;
      expect(node.routes.map(({ dst }) => dst)).to.include(prefix);
      return formatIp6(source);
    };
    expect(node6('64:ff9b::/96', '9.9.9.9')).to.equal('64:ff9b::909:909');
    for (const v4 of ['192.168.1.2', '203.0.113.2', '100.64.0.9']) {
      expect(node6('64:ff9b::/96', v4), 'RFC 7600').to.equal('64:ff9b::c000:8');
    }
    expect(node6('2001:db8:64::/96', '192.168.1.2')).to.equal('2001:db8:64::c0a8:102');
  });

  it('routes the part of each prefix alone that nat64.destinations names, and where errors come from', () => {
    const destinations = ['10.0.0.0/8', '192.0.2.128/25', '198.51.100.7/32'].map(parseIp4Net);
    const dsts = (prefix: string) =>
      planned({ destinations }, withDevice(), { prefixes: [prefix] }).node.routes.flatMap(({ dst, guard, family }) =>
        family === 6 && !guard ? [dst] : [],
      );
    expect(dsts('64:ff9b::/96')).to.deep.equal([
      '64:ff9b::a00:0/104',
      '64:ff9b::c000:280/121',
      '64:ff9b::c633:6407/128',
      '64:ff9b::c000:8/128',
    ]);
    // RFC 6052 2.2: bits 64 to 71 stand between.
    expect(dsts('2001:db8::/32')).to.include.members([
      '2001:db8:a00::/40',
      '2001:db8:c000:280::/57',
      '2001:db8:c633:6407::/64',
    ]);
    expect(dsts('2001:db8:ff00::/40')).to.include.members(['2001:db8:ff0a::/48', '2001:db8:ffc0:2:80::/73']);
    expect(dsts('2001:db8:64::/64')).to.include.members(['2001:db8:64:0:a::/80', '2001:db8:64:0:c0:2:8000:0/97']);
    const all = planned({}, withDevice()).node.routes.flatMap(({ dst, family }) => (family === 6 ? [dst] : []));
    expect(new Set(all)).to.deep.equal(new Set(['64:ff9b::/96']));
  });

  it('routes what hidden routers are embedded in to the device, once', () => {
    const routes = (errorSources: string) =>
      planned({ errorSources: parsePrefix64(errorSources) }, withDevice()).node.routes.filter(
        ({ family }) => family === 6,
      );
    expect(routes('2001:db8:ee::/96').map(({ dst }) => dst)).to.include('2001:db8:ee::/96');
    expect(routes('64:ff9b::/96')).to.have.length(2);
    const errorSources = parsePrefix64('2001:db8:ee::/96');
    expect(datapathOf(planned({ errorSources }, withDevice())).programs.errorPrefix).to.deep.include({ length: 96 });
  });

  it('refuses all that the node’s routes call local, broadcast or anycast; marked packets’ own tables are no matter', () => {
    const own = (dst: string, type: string, more = {}) => fakeRoute(dst, 'lo', { type, table: 'local', ...more });
    const routes = [
      fakeRoute('0.0.0.0/0', 'up0'),
      own('127.0.0.0/8', 'local'),
      own('203.0.113.255/32', 'broadcast'),
      own('9.9.9.0/24', 'local'),
      own('8.8.4.4/32', 'anycast', { table: 'main' }),
      own('8.8.4.5/32', 'broadcast', { table: '100', protocol: 'kernel' }),
      own('0.0.0.0/0', 'local', { table: '101' }),
    ];
    const { destinations } = datapathOf(planned({}, facts({ interfaces: [uplink(), ...ownDevice()], routes })));
    const nets = destinations.flatMap(({ net, verdict }) => (verdict === 'node' ? formatIp4Net(net) : []));
    expect(nets).to.have.members(['203.0.113.255/32', '9.9.9.0/24', '8.8.4.5/32', '203.0.113.2/32', '192.0.0.0/29']);
  });

  it('keeps prefixes in their places', () => {
    const [a, b, c] = ['64:ff9b::/96', '2001:db8:64::/96', '2001:db8:65::/96'] as const;
    const places = (prefixes: string[], before: readonly Prefix[] = []) =>
      datapathOf(planned({}, withDevice(), { prefixes, places: before })).programs;
    const first = places([a, b]).prefixes;
    const shown = (texts: string[]) =>
      places(texts, first)
        .prefixes.map(({ address, length }) => (length === 0 ? '' : formatIp6(address)))
        .slice(0, 3);
    expect(shown([c, b, a])).to.deep.equal(['64:ff9b::', '2001:db8:64::', '2001:db8:65::']);
    expect(shown([c, b])).to.deep.equal(['2001:db8:65::', '2001:db8:64::', '']);
    expect(places([b], first).prefixCount).to.equal(2);
  });

  it('reaches no address of the node or the pool whatever the configuration says; what is denied and allowed is denied', () => {
    const both = ['10.1.0.0/16', '203.0.113.2', '192.0.0.0/29'].map((net) => parseIp4Net(net));
    for (const count of [1, 2, 200]) {
      const node = withDevice(pods(count));
      const { destinations } = datapathOf(planned({ allowNonGlobalIpv4: both, deny: both.slice(0, 1) }, node));
      const verdict = (text: string) => new Destinations(destinations).ruleOf(parseIp4(text))?.verdict;
      expect(verdict('10.1.2.3')).to.equal('configured');
      expect(verdict('203.0.113.2')).to.equal('node');
      expect(verdict('192.0.0.7')).to.equal('node');
      expect(verdict(`198.51.100.${count}`), 'the last pod’s end').to.equal('node');
      expect(verdict(`198.51.100.${count + 1}`)).to.equal('nonGlobal');
      expect(verdict('8.8.8.8')).to.equal(undefined);
    }
  });

  it('leaves packets for the node to it: all its addresses but loopback’s, each once', () => {
    const lo = fakeInterface('lo', 1, { linkType: 'loopback', addresses4: [address4('127.0.0.1/8')] });
    const twice = fakeInterface('br0', 5, { addresses4: [address4('203.0.113.2/32'), address4('198.51.100.1/24')] });
    const { nodeAddresses } = datapathOf(planned({}, withDevice([lo, twice, ...pods(2)])));
    expect(nodeAddresses.map(formatIp4)).to.deep.equal(['203.0.113.2', '198.51.100.1', '198.51.100.2']);
  });

  it('cuts the pool into as many blocks as there are pods on a node, and lets a pod have its part, unless told otherwise', () => {
    const of = (nat64: Partial<Nat64Config>) => {
      const { blockSize, programs } = datapathOf(planned(nat64, withDevice()));
      return [blockSize, programs.maxBlocksPerPod];
    };
    // What a direct node has of its own address: 284 blocks of 16 ports.
    expect(of({ pool: pool(['192.0.2.1'], 28_233, 32_767) })).to.deep.equal([16, 64]);
    expect(of({ pool: pool(['192.0.2.1']) })).to.deep.equal([128, 64]);
    // The default of masquerade: 2016 blocks.
    expect(of({ pool: pool(['192.0.0.0/29']) })).to.deep.equal([256, 126]);
    expect(of({ pool: pool(['192.0.2.0/24']) })).to.deep.equal([256, 256]);
    expect(of({ pool: pool(['10.0.0.0/22']) })).to.deep.equal([1024, 256]);
    expect(of({ pool: pool(['192.0.2.1']), blockSize: 512, maxBlocksPerPod: 7 })).to.deep.equal([512, 7]);
    expect(of({ pool: pool(['192.0.2.1']), blockSize: 64 })).to.deep.equal([64, 64]);
  });

  it('has room for twice the pool, and never for less than 16384 blocks', () => {
    const sizes = (nat64: Partial<Nat64Config>) => datapathOf(planned(nat64, withDevice())).sizes;
    expect(sizes({ maxSessions: 12_345 })).to.deep.equal({ maxSessions: 12_345, maxBlocks: 16_384 });
    // 256 addresses with 252 blocks of 256 ports: 64512, twice that, up to the next power of two.
    expect(sizes({ pool: pool(['192.0.2.0/24']), blockSize: 256 }).maxBlocks).to.equal(131_072);
    expect(sizes({ pool: pool(['192.0.2.0/25'], 1, 64), blockSize: 1 }).maxBlocks, 'a power of two').to.equal(16_384);
    expect(sizes({ pool: pool(['192.0.2.0/25'], 1, 65), blockSize: 1 }).maxBlocks).to.equal(32_768);
  });
});
