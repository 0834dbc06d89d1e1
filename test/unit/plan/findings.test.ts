// SPDX-License-Identifier: Apache-2.0
// findings(): what is wrong with a node for a configuration. What plan() refuses as well is in refusals.test.ts.

import { expect } from 'chai';
import { parseIp4 } from '../../../src/addr/ip.ts';
import type { Nat64Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import type { ForwardChain, NodeFacts, Socket } from '../../../src/model/facts.ts';
import { findings } from '../../../src/plan/plan.ts';
import { fakeInterface, fakeRoute } from '../../fakes/host.ts';
import {
  facts,
  guardRoute,
  NO_RECORD,
  ownDevice,
  pods,
  pool,
  prefixRoutes,
  settings,
  SHARED,
  sysctls,
  uplink,
  WELL_KNOWN,
} from './support.ts';

const DIRECT = { egress: 'direct', pool: SHARED } as const;
const shared = (firstPort: number, lastPort: number) => ({
  egress: 'direct' as const,
  pool: pool('uplink', firstPort, lastPort),
});
const found = (nat64: Partial<Nat64Config>, node: NodeFacts, prefixes?: string[]) =>
  findings(settings(nat64, prefixes), node);
const namesOf = (...args: Parameters<typeof found>) => found(...args).map(({ name }) => name);

const DEFAULT = fakeRoute('0.0.0.0/0', 'up0', { gateways: ['203.0.113.1'] });
const LOCAL = fakeRoute('203.0.113.2/32', 'up0', { type: 'local', table: 'local' });
const socket = (port: number, more: Partial<Socket> = {}): Socket => ({
  protocol: 'tcp',
  v4: undefined,
  port,
  listens: true,
  program: undefined,
  ...more,
});
/** The only finding. */
function only(nat64: Partial<Nat64Config>, node: NodeFacts, prefixes?: string[]) {
  const all = found(nat64, node, prefixes);
  expect(all).to.have.length(1);
  return all[0];
}

describe('plan/findings', () => {
  it('a healthy node has none, before gate64 is on it and after, whatever the way out', () => {
    for (const count of [1, 2, 200]) {
      const routes = [DEFAULT, LOCAL, fakeRoute('203.0.113.0/24', 'up0'), fakeRoute('2001:db8::/64', 'up0')];
      const before = facts({ interfaces: [uplink(), ...pods(count)], routes });
      const after = facts({
        interfaces: [uplink(), ...ownDevice(), ...pods(count)],
        routes: [...routes, ...prefixRoutes(), fakeRoute('192.0.0.0/29', 'gate64', { protocol: '64' })],
        sockets: [socket(22), socket(443, { v4: parseIp4('203.0.113.2') })],
        record: { ...NO_RECORD, device: 'gate64' },
      });
      for (const node of [before, after]) {
        expect(found({}, node)).to.deep.equal([]);
        expect(found(DIRECT, node)).to.deep.equal([]);
        expect(found({ egress: 'direct', pool: pool(['192.0.2.0/24']) }, node)).to.deep.equal([]);
      }
    }
  });

  it('one whose device is being renamed is healthy: the old one’s routes go with it', () => {
    const node = facts({
      interfaces: [uplink(), ...ownDevice('old0')],
      routes: [DEFAULT, ...prefixRoutes(WELL_KNOWN, 'old0'), fakeRoute('192.0.0.0/29', 'old0', { protocol: '64' })],
      record: { ...NO_RECORD, device: 'old0' },
    });
    expect(found({}, node)).to.deep.equal([]);
    expect(
      found({}, { ...node, record: NO_RECORD }).map(({ name }) => name),
      'nobody knows whose device it is',
    ).to.deep.equal(['prefix-routed-elsewhere', 'pool-routed-elsewhere']);
  });

  describe('prefix-routed-elsewhere', () => {
    it('names the route and how to remove it', () => {
      expect(only({}, facts({ routes: [DEFAULT, fakeRoute(WELL_KNOWN, 'other0')] }))).to.deep.equal({
        name: 'prefix-routed-elsewhere',
        severity: 'error',
        message:
          'there is a route "64:ff9b::/96 dev other0" for the translation prefix 64:ff9b::/96, which is not gate64\'s',
        remedy:
          'Another translator may be at work. If nothing needs the route: ip -6 route del 64:ff9b::/96 dev other0',
        command: 'ip -6 route del 64:ff9b::/96 dev other0',
      });
    });

    it('is about each prefix, whatever the route’s kind; of the tables main and local', () => {
      const routes = [
        DEFAULT,
        fakeRoute('2001:db8:64::/96', 'lo', { type: 'unreachable', protocol: '64' }),
        fakeRoute(WELL_KNOWN, 'lo', { type: 'local', table: 'local' }),
        fakeRoute(WELL_KNOWN, 'other0', { table: '100' }),
        fakeRoute('64:ff9b::/95', 'other0'),
        guardRoute(),
      ];
      expect(
        found({}, facts({ routes }), ['2001:db8:64::/96', WELL_KNOWN]).map(({ message }) => message),
      ).to.deep.equal([
        'there is a route "unreachable 2001:db8:64::/96 dev lo" for the translation prefix 2001:db8:64::/96, which is not gate64\'s',
        'there is a route "local 64:ff9b::/96 dev lo table local" for the translation prefix 64:ff9b::/96, which is not gate64\'s',
      ]);
    });
  });

  describe('pool-routed-elsewhere (masquerade)', () => {
    it('names the network, the route and another choice', () => {
      const finding = only({}, facts({ routes: [DEFAULT, fakeRoute('192.0.0.4/31', 'br0')] }));
      expect(finding).to.deep.include({
        name: 'pool-routed-elsewhere',
        severity: 'error',
        message: 'nat64.pool has 192.0.0.0/29, which this node routes elsewhere: 192.0.0.4/31 dev br0',
      });
      const other = /default, (\S+) another/.exec(finding?.remedy ?? '')?.[1] ?? '';
      expect(() => parseConfig(`nat64: { pool: [{ addresses: ${other} }] }`, 'remedy')).to.not.throw();
      expect(other).to.equal('198.18.64.0/29');
    });

    it('is said once a network, of what contains it as well, in any table; a way out is no claim', () => {
      const routes = [
        DEFAULT,
        fakeRoute('0.0.0.0/1', 'vpn0'),
        fakeRoute('128.0.0.0/1', 'vpn0'),
        fakeRoute('192.0.0.0/24', 'lo', { type: 'blackhole' }),
        fakeRoute('192.0.0.0/16', 'br0', { table: '100', devices: ['br0', 'br1'] }),
        fakeRoute('192.0.0.0/24', 'br0'),
        fakeRoute('198.18.0.7/32', 'up0', { type: 'local', table: 'local' }),
      ];
      const nets = pool(['192.0.0.0/29', '198.18.0.0/24', '198.19.0.0/24']);
      expect(found({ pool: nets }, facts({ routes })).map(({ message }) => message)).to.deep.equal([
        'nat64.pool has 192.0.0.0/29, which this node routes elsewhere: 192.0.0.0/16 dev br0, br1',
        'nat64.pool has 198.18.0.0/24, which this node routes elsewhere: local 198.18.0.7/32 dev up0',
      ]);
    });
  });

  describe('pool-holds-gateway (direct)', () => {
    it('names the gateway', () => {
      const routes = [DEFAULT, fakeRoute('198.18.0.0/15', 'up0', { gateways: ['fe80::1'] })];
      const node = facts({ routes });
      expect(only({ egress: 'direct', pool: pool(['203.0.113.0/31']) }, node)).to.deep.equal({
        name: 'pool-holds-gateway',
        severity: 'error',
        message: "nat64.pool has 203.0.113.0/31, which holds this node's gateway 203.0.113.1",
        remedy: 'Take the gateway out of the pool.',
      });
      expect(found({ egress: 'direct', pool: pool(['203.0.113.4/30']) }, node)).to.deep.equal([]);
    });
  });

  describe('pool-ports-ephemeral (direct, shared)', () => {
    it('names the ports that the node hands out, and how to reserve them', () => {
      expect(only(shared(60_990, 62_000), facts())).to.deep.equal({
        name: 'pool-ports-ephemeral',
        severity: 'error',
        message:
          'nat64.pool has 203.0.113.2 ports 60990-62000, of which the node itself hands out 60990-60999 (net.ipv4.ip_local_port_range is 32768-60999)',
        remedy: 'Use ports above 60999, or reserve them: sysctl -w net.ipv4.ip_local_reserved_ports=60990-60999',
        command: 'sysctl -w net.ipv4.ip_local_reserved_ports=60990-60999',
      });
    });

    it('leaves out what is reserved, and follows the range', () => {
      const node = (reserved: string, range?: string) =>
        facts({
          sysctls: sysctls({ 'ipv4/ip_local_reserved_ports': reserved, 'ipv4/ip_local_port_range': range }),
        });
      const some = only(shared(60_990, 62_000), node('60000-60997'));
      expect(some?.message).to.match(/hands out 60998-60999 \(/);
      expect(some?.command, 'what was reserved stays so').to.match(/=60000-60999$/);
      expect(found(shared(60_990, 62_000), node('60990-60999'))).to.deep.equal([]);
      expect(found(shared(60_990, 62_000), node('', '32768\t60989'))).to.deep.equal([]);
      expect(only(shared(61_001, 65_535), node('', '1024 65535'))?.message).to.match(/hands out 61001-65535 \(/);
      expect(namesOf(shared(60_999, 60_999), node('', undefined)), 'the kernel’s own range').to.deep.equal([
        'pool-ports-ephemeral',
      ]);
    });

    it('is no matter of a dedicated address, nor of masquerade', () => {
      expect(found({ egress: 'direct', pool: pool(['203.0.113.9']) }, facts())).to.deep.equal([]);
      expect(found({}, facts())).to.deep.equal([]);
    });
  });

  describe('pool-ports-in-use (direct, shared)', () => {
    const own = parseIp4('203.0.113.2');
    it('a listener is an error, a connection a warning; each is named', () => {
      const sockets = [
        socket(61_001, { program: 'nginx' }),
        socket(65_535, { protocol: 'udp', v4: own }),
        socket(62_000, { v4: own, listens: false, program: 'curl' }),
        socket(61_000),
        socket(62_001, { v4: parseIp4('203.0.113.3') }),
        socket(62_002, { v4: parseIp4('127.0.0.1') }),
      ];
      const remedy = 'Leave that port out of nat64.pool, or stop the program.';
      const name = 'pool-ports-in-use';
      const what = 'nat64.pool has 203.0.113.2 ports 61001-65535, but';
      expect(found(DIRECT, facts({ sockets }))).to.deep.equal([
        { severity: 'error', name, message: `${what} "nginx" on this node listens on tcp port 61001`, remedy },
        { severity: 'error', name, message: `${what} a program on this node listens on udp port 65535`, remedy },
        {
          severity: 'warning',
          name,
          message: `${what} "curl" on this node has a connection from tcp port 62000`,
          remedy,
        },
      ]);
      expect(found({ egress: 'direct', pool: pool(['203.0.113.9']) }, facts({ sockets }))).to.deep.equal([]);
    });
  });

  describe('pool-ports-nodeports (direct, shared)', () => {
    it('warns of any port of Kubernetes’', () => {
      const of = (first: number, last: number) => found(shared(first, last), facts());
      expect(of(32_767, 32_767)).to.deep.equal([
        {
          name: 'pool-ports-nodeports',
          severity: 'warning',
          message: "nat64.pool has 203.0.113.2 ports 32767-32767, which overlaps Kubernetes' NodePorts 30000-32767",
          remedy: 'If this is a Kubernetes node, leave these ports out of nat64.pool.',
        },
      ]);
      expect(of(29_000, 30_000).map(({ name }) => name)).to.deep.equal(['pool-ports-nodeports']);
      expect(of(29_000, 29_999)).to.deep.equal([]);
    });
  });

  it('uplinks-beyond: names those whose packets are not refused', () => {
    const many = Array.from({ length: 9 }, (_, i) => fakeInterface(`out${i}`, 100 + i));
    const routes = [DEFAULT, ...many.map(({ name }) => fakeRoute('::/0', name))];
    const node = (count: number) => facts({ interfaces: [uplink(), ...many.slice(0, count)], routes });
    expect(found({}, node(7))).to.deep.equal([]);
    expect(only({}, node(9))).to.deep.equal({
      name: 'uplinks-beyond',
      severity: 'warning',
      message: 'too many interfaces lead outside; whoever is behind these may use the prefix: out7, out8',
      remedy: 'Name in nat64.allowSources who may use the gateway.',
    });
  });

  it('uplink-packets-long: warns of each that joins packets to more than a header can say', () => {
    const other = (name: string, index: number, more = {}) => fakeInterface(name, index, { groIp4: 200_000, ...more });
    const node = (...more: NodeFacts['interfaces']) =>
      facts({ interfaces: [uplink({ kind: 'bond', groIp4: 65_536 }), ...more] });
    expect(found({}, node(other('pod7', 20)))).to.deep.equal([]);
    const finding = only({}, node(other('eth0', 21, { master: 'up0' })));
    expect(finding).to.include({ name: 'uplink-packets-long', severity: 'warning' });
    expect(finding?.message).to.match(/"eth0" are joined to up to 200000 octets/);
    expect(finding?.command).to.equal('ip link set dev eth0 gro_ipv4_max_size 65536');
    const vlan = facts({ interfaces: [uplink({ kind: 'vlan', peer: 'eth0', groIp4: 70_000 }), other('eth0', 21)] });
    expect(namesOf({}, vlan)).to.deep.equal(['uplink-packets-long', 'uplink-packets-long']);
  });

  it('forwarding-off: warns, with the command', () => {
    const node = (value: string | undefined) => facts({ sysctls: sysctls({ 'ipv6/conf/all/forwarding': value }) });
    const finding = only({}, node('0'));
    expect(finding).to.include({ name: 'forwarding-off', severity: 'warning' });
    expect(finding?.message).to.match(/net\.ipv6\.conf\.all\.forwarding is 0/);
    expect(finding?.remedy).to.match(/^sysctl -w net\.ipv6\.conf\.all\.forwarding=1/);
    expect(finding?.command).to.equal('sysctl -w net.ipv6.conf.all.forwarding=1');
    expect(found({}, node('1'))).to.deep.equal([]);
    expect(found({}, node(undefined))).to.deep.equal([]);
  });

  it('several at once are all told, in both modes', () => {
    const node = facts({
      interfaces: [uplink(), fakeInterface('gate64', 5, { kind: 'bridge' })],
      routes: [DEFAULT, fakeRoute(WELL_KNOWN, 'other0'), fakeRoute('192.0.0.0/24', 'br0')],
      sockets: [socket(31_000)],
      sysctls: sysctls({ 'ipv6/conf/all/forwarding': '0' }),
    });
    const always = ['device-name-taken', 'prefix-routed-elsewhere'];
    expect(namesOf({}, node)).to.deep.equal([...always, 'pool-routed-elsewhere', 'forwarding-off']);
    const entries = [...pool('uplink', 30_000, 40_000), ...pool(['203.0.113.1'])];
    expect(namesOf({ egress: 'direct', pool: entries }, node)).to.deep.equal([
      ...always,
      'pool-ports-ephemeral',
      'pool-ports-in-use',
      'pool-ports-nodeports',
      'pool-holds-gateway',
      'forwarding-off',
    ]);
    expect(namesOf({ uplink: 'eth7' }, node), 'without a way out the pool is not known').to.deep.equal([
      ...always,
      'uplink-missing',
      'forwarding-off',
    ]);
  });
});

describe('findings: the connection tracking that masquerade leans on', () => {
  const found = (egress: 'masquerade' | 'direct', node: Parameters<typeof facts>[0]) =>
    namesOf(egress === 'direct' ? DIRECT : {}, facts(node)).filter((name) => name.startsWith('tracking'));
  const times = { udp: 300, tcpEstablished: 7200, tcpTransitory: 240 };
  const table = (hasTimes: boolean) => ({
    masquerade: {
      nets: [],
      device: 'gate64',
      guardsNode: true,
      closed: [],
      leaving: [],
      lost: [],
      opened: [],
      times,
      hasTimes,
    },
  });
  const room = (now: string | undefined, max: string | undefined) => ({
    sysctls: sysctls({ 'netfilter/nf_conntrack_count': now, 'netfilter/nf_conntrack_max': max }),
  });

  it('keeps its own times where the kernel takes none', () => {
    expect(found('masquerade', table(false))).to.deep.equal(['tracking-times']);
    expect(found('masquerade', table(true))).to.deep.equal([]);
    expect(found('masquerade', {})).to.deep.equal([]);
    expect(found('direct', table(false))).to.deep.equal([]);
  });

  it('has hardly any room left from nine tenths on', () => {
    expect(found('masquerade', room('90000', '100000'))).to.deep.equal(['tracking-full']);
    expect(found('masquerade', room('89999', '100000'))).to.deep.equal([]);
    expect(found('masquerade', room(undefined, undefined)), 'nothing is tracked yet').to.deep.equal([]);
    expect(found('direct', room('100000', '100000'))).to.deep.equal([]);
  });
});

describe('findings: a firewall that drops what is forwarded', () => {
  const chain = (family: 'ip' | 'ip6' | 'inet', ...accepted: ForwardChain['accepted'][number][]): ForwardChain[] => [
    { family, table: 'filter', name: 'FORWARD', accepted },
  ];
  const [into, out] = [
    { direction: 'in', device: 'gate64' },
    { direction: 'out', device: 'gate64' },
  ] as const;
  const drops = (egress: 'masquerade' | 'direct', droppingForwards: ForwardChain[]) =>
    namesOf(egress === 'direct' ? DIRECT : {}, facts({ droppingForwards })).includes('forward-dropped');

  it('matters for the families that are forwarded to the device or from it', () => {
    for (const family of ['ip', 'ip6', 'inet'] as const)
      expect(drops('masquerade', chain(family)), family).to.equal(true);
    expect(drops('direct', chain('ip'))).to.equal(false);
    for (const family of ['ip6', 'inet'] as const) expect(drops('direct', chain(family)), family).to.equal(true);
  });

  it('is opened by a rule for the device, by name or wildcard, in the direction of first packets', () => {
    expect(drops('masquerade', chain('ip', into))).to.equal(false);
    expect(drops('masquerade', chain('ip', out))).to.equal(true);
    expect(drops('masquerade', chain('ip6', out))).to.equal(false);
    expect(drops('masquerade', chain('inet', out))).to.equal(true);
    expect(drops('masquerade', chain('inet', out, into))).to.equal(false);
    expect(drops('direct', chain('inet', out))).to.equal(false);
    expect(drops('direct', chain('ip6', { direction: 'out', device: 'gate*' }))).to.equal(false);
    expect(drops('direct', chain('ip6', { direction: 'out', device: 'docker0' }))).to.equal(true);
  });

  it('is said with the command that opens it', () => {
    const [finding] = found({}, facts({ droppingForwards: chain('ip6') })).filter(
      (one) => one.name === 'forward-dropped',
    );
    expect(finding?.severity).to.equal('warning');
    const command = `nft 'insert rule ip6 filter FORWARD iifname "gate64" accept; insert rule ip6 filter FORWARD oifname "gate64" accept'`;
    expect(finding?.command).to.equal(command);
    expect(finding?.remedy).to.include(command);
  });
});
