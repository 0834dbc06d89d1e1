// SPDX-License-Identifier: Apache-2.0
// The node's side on a real kernel: ip, nft and sysctls in the network namespace that the tests' wrapper made.

import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { formatIp4, formatIp6, parseIp4, parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { execCommand, type Exec } from '../../../src/host/exec.ts';
import { createHost, type Host, type HostConfig } from '../../../src/host/host.ts';
import { uninstallHost } from '../../../src/host/uninstall.ts';
import { watchHost } from '../../../src/host/watch.ts';

type PoolConfig = HostConfig['nat64']['pool'];

const MASQUERADE_POOL: PoolConfig = [
  { addresses: [parseIp4Net('192.0.0.0/29')], firstPort: 1024, lastPort: 65535, portsGiven: false },
];
const SHARED_POOL: PoolConfig = [{ addresses: 'uplink', firstPort: 61001, lastPort: 65535, portsGiven: true }];
const pool = (address: string, firstPort = 61001, lastPort = 65535): PoolConfig => [
  { addresses: [parseIp4Net(address)], firstPort, lastPort, portsGiven: true },
];

function sh(command: string): string {
  return execFileSync('sh', ['-ec', command], { encoding: 'utf8' });
}

const sysctl = (name: string) => readFileSync(`/proc/sys/net/${name}`, 'utf8').trim();

/** All of the node that gate64 may touch; order, interface numbers, counters and nftables' handles left out. */
function nodeState(): unknown {
  const json = (command: string) =>
    JSON.parse(sh(command).trim() || '[]', (key, value: unknown) => {
      if (key === 'handle') return undefined;
      return Array.isArray(value) ? value.sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1)) : value;
    }) as unknown;
  return {
    links: (json('ip -j link show') as { ifname: string; mtu: number; flags: string[] }[]).map(
      ({ ifname, mtu, flags }) => ({ ifname, mtu, flags }),
    ),
    // Multicast routes come with interfaces, link-local addresses a moment after them.
    routes6: (json('ip -j -6 route show table all') as { type?: string; dst: string }[]).filter(
      ({ type, dst }) => type !== 'multicast' && !dst.startsWith('fe80:'),
    ),
    routes4: json('ip -j -4 route show table all'),
    proxies: json('ip -j neighbour show proxy'),
    nft: json('nft -j list ruleset'),
    sysctls: [
      'ipv4/conf/up0/forwarding',
      'ipv4/ip_local_reserved_ports',
      'ipv6/conf/all/forwarding',
      'ipv4/ip_forward',
      'ipv4/conf/all/rp_filter',
    ].map((name) => [name, sysctl(name)]),
  };
}

async function errorOf(promise: Promise<unknown>): Promise<Gate64Error> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Gate64Error) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('host: a node with an uplink', () => {
  let directory: string;
  let stateFile: string;

  const host = (nat64: Partial<HostConfig['nat64']> = {}, prefixes = ['64:ff9b::/96'], exec?: Exec): Host =>
    createHost({
      config: {
        prefixes: prefixes.map(parsePrefix64),
        nat64: { device: 'gate64', egress: 'masquerade', uplink: 'auto', pool: MASQUERADE_POOL, ...nat64 },
      },
      stateFile,
      ...(exec === undefined ? {} : { exec }),
    });

  before(() => {
    if (process.env['GATE64_SANDBOX'] !== '1') {
      throw new Error('these tests change the network namespace they run in; run them through test/helpers/sandbox.sh');
    }
  });

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'gate64-host-'));
    stateFile = join(directory, 'host.json');
    sh(`ip link set lo up
      ip link add up0 type veth peer name up1
      ip link set up0 addrgenmode none up; ip link set up1 addrgenmode none up
      ip address add 203.0.113.2/24 dev up0
      ip address add 2001:db8::2/64 dev up0 nodad
      ip route add default via 203.0.113.1 dev up0
      echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
      echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding
      echo 32768 60999 > /proc/sys/net/ipv4/ip_local_port_range
      echo 8080,9148-9150 > /proc/sys/net/ipv4/ip_local_reserved_ports
      for try in $(seq 50); do # the address's local route comes with the carrier, a moment later
        ip -6 route show table local dev up0 | grep -q '^local 2001:db8::2' && break; sleep 0.1
      done`);
  });

  afterEach(() => {
    for (const device of ['up0', 'gate64', 'gate65', 'other0', 'tun64'])
      sh(`ip link del ${device} 2>/dev/null || true`);
    sh(`ip -6 route flush table main proto 64 2>/dev/null || true
      ip -6 route del unreachable 64:ff9b::/96 metric 4294967295 2>/dev/null || true
      nft flush ruleset
      printf '\\n' > /proc/sys/net/ipv4/ip_local_reserved_ports`);
    rmSync(directory, { recursive: true, force: true });
  });

  describe('masquerade', () => {
    it('makes device, routes, guard, masquerade rule and sysctls', async () => {
      const snapshot = await host().apply();
      const [link] = JSON.parse(sh('ip -j -d link show gate64')) as {
        ifindex: number;
        mtu: number;
        flags: string[];
        address: string;
        inet6_addr_gen_mode: string;
      }[];
      expect(link).to.include({ ifindex: snapshot.device.ifindex, mtu: 9000, inet6_addr_gen_mode: 'none' });
      expect(link?.flags).to.include.members(['NOARP', 'UP']);
      expect(Buffer.from(snapshot.device.mac).toString('hex')).to.equal(link?.address.replaceAll(':', ''));
      expect(sh('ip address show dev gate64')).not.to.match(/inet/);
      expect(sh('ip -6 route get 64:ff9b::c000:201')).to.match(/dev gate64/);
      expect(sh('ip route get 192.0.0.5')).to.match(/dev gate64/);
      expect(sh('ip -6 route show')).to.match(/unreachable 64:ff9b::\/96 dev lo proto 64 metric 4294967295/);
      expect(sh('nft list table ip gate64')).to.match(
        /hook postrouting priority srcnat - 10;[^}]*ip saddr 192\.0\.0\.0\/29 oifname != "gate64" masquerade/,
      );
      expect(sysctl('ipv4/conf/gate64/forwarding')).to.equal('1');
      expect(sysctl('ipv4/conf/up0/forwarding')).to.equal('1');
      expect(sysctl('ipv6/conf/gate64/forwarding')).to.equal('1');
      expect(snapshot.uplinks.map(({ name }) => name)).to.deep.equal(['up0']);
      expect(snapshot.nodeAddresses.map(formatIp4)).to.deep.equal(['203.0.113.2']);
      expect(formatIp6(snapshot.node6)).to.equal('2001:db8::2');
    });

    it('fails fast instead of leaking to the default route when the device is gone', async () => {
      sh('ip -6 route add default via 2001:db8::1 dev up0');
      await host().apply();
      sh('ip link del gate64');
      expect(() => sh('ip -6 route get 64:ff9b::1 2>&1')).to.throw();
      await host().uninstall();
      expect(sh('ip -6 route get 64:ff9b::1')).to.match(/dev up0/);
    });

    it('uninstall leaves nothing: links, routes, ruleset and sysctls as before', async () => {
      const before = nodeState();
      await host().apply();
      expect(nodeState()).not.to.deep.equal(before);
      const removed = await uninstallHost({ device: 'gate64', stateFile });
      expect(removed).to.include.members([
        'removed: device gate64',
        'removed: nftables table ip gate64',
        'removed: guard route 64:ff9b::/96',
      ]);
      expect(nodeState()).to.deep.equal(before);
      expect(existsSync(stateFile)).to.equal(false);
      expect(await uninstallHost({ device: 'gate64', stateFile }), 'a second time').to.deep.equal([]);
    });

    it('applies twice without touching anything the second time, as after a restart', async () => {
      await host().apply();
      const before = [nodeState(), sh('ip -j link show gate64')];
      const again = host();
      expect((await again.reconcile()).repaired).to.deep.equal([]);
      await again.apply();
      expect([nodeState(), sh('ip -j link show gate64')]).to.deep.equal(before);
    });

    it('puts back a flushed ruleset, a deleted route and changed settings, and says so', async () => {
      const running = host();
      await running.apply();
      const before = nodeState();
      sh(`nft flush ruleset; ip -6 route del 64:ff9b::/96 dev gate64; ip route del 192.0.0.0/29
        ip link set gate64 mtu 1500 arp on; echo 0 > /proc/sys/net/ipv4/conf/up0/forwarding`);
      const { repaired, deviceRecreated } = await running.reconcile();
      expect(deviceRecreated).to.equal(false);
      expect(repaired).to.have.members([
        'device gate64 arp off',
        'device gate64 mtu 9000',
        'sysctl net/ipv4/conf/up0/forwarding = 1',
        'route 64:ff9b::/96',
        'route 192.0.0.0/29',
        'nftables table ip gate64',
      ]);
      expect(nodeState()).to.deep.equal(before);
    });

    it('a look at the node leaves alone the tables that pods fill', async () => {
      const asked: string[] = [];
      const listening: Exec = (command, args) => {
        asked.push([command, ...args].join(' '));
        return execCommand(command, args);
      };
      const running = host({}, ['64:ff9b::/96'], listening);
      await running.apply();
      expect(asked.join('\n'), 'conflicts may be in any').to.include('table all');
      asked.length = 0;
      sh('ip route del 192.0.0.0/29');
      expect((await running.reconcile()).repaired).to.deep.equal(['route 192.0.0.0/29']);
      expect(asked.join('\n')).to.include('-4 route show table main').and.not.include('table all');
    });

    it('makes a deleted device anew and tells that programs have to be attached again', async () => {
      const running = host();
      const first = await running.apply();
      const before = nodeState();
      sh('ip link del gate64');
      const { deviceRecreated, snapshot, repaired } = await running.reconcile();
      expect(deviceRecreated).to.equal(true);
      expect(repaired).to.include.members(['device gate64', 'route 64:ff9b::/96']);
      expect(snapshot.device.ifindex).not.to.equal(first.device.ifindex);
      expect(nodeState()).to.deep.equal(before);
    });

    it('follows a changed prefix, pool and device name', async () => {
      await host().apply();
      await host({ pool: pool('192.0.2.64/28') }, ['2001:db8:64::/96', '64:ff9b::/96']).apply();
      expect(sh('ip -6 route get 2001:db8:64::1')).to.match(/dev gate64/);
      expect(sh('ip route show dev gate64')).to.match(/^192\.0\.2\.64\/28 proto 64 scope link\s*$/);
      expect(sh('nft list table ip gate64'))
        .to.match(/192\.0\.2\.64\/28/)
        .and.not.match(/192\.0\.0\.0/);
      await host({ device: 'gate65' }, ['2001:db8:64::/96']).apply();
      expect(sh('ip -j link show')).not.to.match(/"gate64"/);
      expect(sh('ip -6 route show')).not.to.match(/64:ff9b::/);
      expect(sh('ip -6 route get 2001:db8:64::1')).to.match(/dev gate65/);
      await uninstallHost({ device: 'gate64', stateFile });
      expect(sh('ip -j link show')).not.to.match(/"gate65"/);
    });

    it('leads addresses that left the pool here as long as pods use them', async () => {
      const [old, other] = ['192.0.2.9', '192.0.2.10'].map(parseIp4) as [number, number];
      await host({ pool: pool('192.0.2.0/28') }).apply();
      const next = host({ pool: pool('192.0.2.64/28') });
      // The last is of the new pool anyway.
      await next.apply([old, other, parseIp4('192.0.2.65')]);
      const routes = () => sh('ip route show dev gate64 proto 64').match(/^\S+/gm);
      expect(routes()).to.have.members(['192.0.2.9', '192.0.2.10', '192.0.2.64/28']);
      expect(sh('nft list table ip gate64').match(/saddr \S+/g)).to.deep.equal([
        'saddr 192.0.2.64/28',
        'saddr 192.0.2.9',
        'saddr 192.0.2.10',
      ]);
      expect((await next.reconcile([other, old])).repaired, 'in whatever order').to.deep.equal([]);
      expect((await next.reconcile([old])).repaired).to.include('old route 192.0.2.10/32');
      await next.reconcile([]);
      expect(routes()).to.deep.equal(['192.0.2.64/28']);
      expect(sh('nft list table ip gate64')).not.to.match(/192\.0\.2\.9/);
    });

    it('takes back its own changes when one of them fails', async () => {
      const before = nodeState();
      const failing: Exec = (command, args) =>
        command === 'nft' && args.join(' ').includes('masquerade')
          ? Promise.resolve({ exit: 1, stdout: '', stderr: 'Error: Could not process rule: Operation not supported' })
          : execCommand(command, args);
      const error = await errorOf(host({}, ['64:ff9b::/96'], failing).apply());
      expect(error.code).to.equal('G64_HOST_COMMAND');
      expect(error.message).to.match(/^"nft -j .*exit code 1.*Operation not supported/);
      expect(nodeState()).to.deep.equal(before);
    });

    it('is as large as the largest interface of the node', async () => {
      sh('ip link set up1 mtu 20000');
      expect((await host().apply()).device.mtu).to.equal(20000);
    });

    for (const [what, setup, expected] of [
      [
        'an interface of another kind',
        'ip link add gate64 type bridge',
        /"gate64" is there already.*its kind is bridge/,
      ],
      ['a veth to elsewhere', 'ip link add gate64 type veth peer name other0', /its peer is other0, not "gate64x"/],
      [
        'a pair with an address',
        'ip link add gate64 type veth peer name gate64x; ip address add 198.51.100.1/24 dev gate64',
        /it has an address/,
      ],
    ] as const) {
      it(`refuses a device name that belongs to ${what}`, async () => {
        sh(setup);
        const before = nodeState();
        const error = await errorOf(host().apply());
        expect(error.code).to.equal('G64_DEVICE_CONFLICT');
        expect(error.message).to.match(expected);
        expect(nodeState()).to.deep.equal(before);
        await host().uninstall();
        expect(sh('ip -j link show'), 'uninstall leaves it alone').to.match(/"gate64"/);
      });
    }

    it('adopts a pair that is there and sets it right', async () => {
      sh('ip link add gate64 type veth peer name gate64x; ip link set gate64 up; ip link set gate64x up');
      const [before] = JSON.parse(sh('ip -j link show gate64')) as { ifindex: number }[];
      expect((await host().apply()).device.ifindex).to.equal(before?.ifindex);
      const shown = sh('ip address show dev gate64');
      expect(shown).not.to.match(/inet/);
      expect(shown).to.match(/NOARP/);
    });

    it('U4787-7-a: refuses a pool that the node uses: an address, a route, a wider route', async () => {
      for (const [net, setup, expected] of [
        ['203.0.113.0/29', 'true', /203\.0\.113\.0\/29, which holds an address of this node/],
        ['203.0.113.128/25', 'true', /routes elsewhere: 203\.0\.113\.0\/24 dev up0/],
        [
          '198.51.100.0/28',
          'ip route add 198.51.0.0/16 via 203.0.113.1',
          /routes elsewhere: 198\.51\.0\.0\/16 dev up0/,
        ],
      ] as const) {
        sh(setup);
        const before = nodeState();
        const error = await errorOf(host({ pool: pool(net) }).apply());
        expect(error.code, net).to.equal('G64_POOL_COLLISION');
        expect(error.message).to.match(expected);
        expect(nodeState()).to.deep.equal(before);
      }
    });

    it('refuses a prefix that a route of somebody else takes', async () => {
      sh('ip -6 route add local 64:ff9b::/96 dev lo');
      const error = await errorOf(host().apply());
      expect(error.code).to.equal('G64_ROUTE_CONFLICT');
      expect(error.message).to.match(/local 64:ff9b::\/96 dev lo/);
      sh('ip -6 route del local 64:ff9b::/96 dev lo');
    });

    it('says what is missing without an IPv4 default route, or with a wrong uplink', async () => {
      const missing = await errorOf(host({ uplink: 'eth9' }).apply());
      expect(missing.code).to.equal('G64_NO_UPLINK');
      expect(missing.message).to.match(/"eth9"/);
      expect(missing.hint).to.match(/up0/);
      sh('ip route del default');
      const before = nodeState();
      const error = await errorOf(host().apply());
      expect(error.code).to.equal('G64_NO_UPLINK');
      expect(error.hint).to.match(/default route.*nat64\.uplink/);
      expect(nodeState()).to.deep.equal(before);
      expect((await host({ uplink: 'up0' }).apply()).uplinks[0]?.name, 'named').to.equal('up0');
    });

    it('warns that the node forwards no IPv6 and does not change that', async () => {
      sh('echo 0 > /proc/sys/net/ipv6/conf/all/forwarding');
      const [problem, ...others] = await host().check();
      expect(problem).to.include({ severity: 'warning', code: 'G64_FORWARDING_OFF' });
      expect(others).to.deep.equal([]);
      await host().apply();
      expect(sysctl('ipv6/conf/all/forwarding')).to.equal('0');
    });

    it('counts every interface with a default route as outside, the lowest IPv4 metric first', async () => {
      sh(`ip link add other0 type veth peer name other1; ip link set other0 up; ip link set other1 up
        ip address add 198.51.100.2/24 dev other0; ip route add default via 198.51.100.1 dev other0 metric 50
        ip route del default dev up0; ip route add default via 203.0.113.1 dev up0 metric 100`);
      expect((await host().apply()).uplinks.map(({ name }) => name)).to.deep.equal(['other0', 'up0']);
    });
  });

  describe('direct', () => {
    it('takes the clsact qdisc away that came with the data plane, and no other', async () => {
      const direct = () => host({ egress: 'direct', pool: SHARED_POOL });
      const qdiscs = () => sh('tc qdisc show dev up0');
      await direct().apply();
      // Before Linux 6.6 attaching the filter makes it.
      sh('tc qdisc add dev up0 clsact');
      await direct().apply();
      expect(await direct().uninstall()).to.include('removed: clsact qdisc of up0');
      expect(qdiscs()).not.to.include('clsact');

      await direct().apply();
      sh('tc qdisc add dev up0 clsact; tc filter add dev up0 ingress prio 9 u32 match u32 0 0 classid 1:1');
      await direct().uninstall();
      expect(qdiscs(), 'somebody has a filter there').to.include('clsact');

      await direct().apply();
      sh('tc filter del dev up0 ingress');
      await direct().uninstall();
      expect(qdiscs(), 'it was there before').to.include('clsact');
    });

    it("takes the node's own address with reserved ports, and no nftables table", async () => {
      const before = nodeState();
      const snapshot = await host({ egress: 'direct', pool: SHARED_POOL }).apply();
      expect(snapshot.pool).to.deep.equal([
        { net: parseIp4Net('203.0.113.2'), firstPort: 61001, lastPort: 65535, shared: true },
      ]);
      expect(sysctl('ipv4/ip_local_reserved_ports')).to.equal('8080,9148-9150,61001-65535');
      expect(sh('nft list ruleset')).to.equal('');
      expect(sh('ip route show dev gate64')).to.equal('');
      sh('echo 7000,8080,9148-9150,61001-65535 > /proc/sys/net/ipv4/ip_local_reserved_ports');
      await host({ egress: 'direct', pool: SHARED_POOL }).uninstall();
      expect(sysctl('ipv4/ip_local_reserved_ports'), 'what others added meanwhile stays').to.equal(
        '7000,8080,9148-9150',
      );
      sh('echo 8080,9148-9150 > /proc/sys/net/ipv4/ip_local_reserved_ports');
      expect(nodeState()).to.deep.equal(before);
    });

    it('answers by ARP for dedicated addresses on the uplink’s network', async () => {
      const before = nodeState();
      const dedicated = host({ egress: 'direct', pool: pool('203.0.113.8/30', 1, 65535) });
      await dedicated.apply();
      expect(sh('ip route get 203.0.113.9')).to.match(/dev gate64/);
      expect(
        sh('ip neighbour show proxy')
          .match(/203\.0\.113\.\d+/g)
          ?.sort(),
      ).to.deep.equal(['203.0.113.10', '203.0.113.11', '203.0.113.8', '203.0.113.9']);
      sh('ip neighbour del proxy 203.0.113.9 dev up0');
      expect((await dedicated.reconcile()).repaired).to.deep.equal(['proxy neighbour 203.0.113.9 on up0']);
      await host({ egress: 'direct', pool: pool('203.0.113.8/31', 1, 65535) }).apply();
      expect(
        sh('ip neighbour show proxy')
          .match(/203\.0\.113\.\d+/g)
          ?.sort(),
      ).to.deep.equal(['203.0.113.8', '203.0.113.9']);
      await dedicated.uninstall();
      expect(nodeState()).to.deep.equal(before);
    });

    it('U4787-7-a: refuses ports that the node hands out or listens on, honours others below 1024 as written', async () => {
      const refused = async (first: number, last: number) =>
        errorOf(host({ egress: 'direct', pool: pool('203.0.113.2', first, last) }).apply());
      const ephemeral = await refused(60000, 62000);
      expect(ephemeral.code).to.equal('G64_POOL_COLLISION');
      expect(ephemeral.message).to.match(/hands out 60000-60999/);
      const server = createServer().listen(62222, '0.0.0.0');
      await new Promise((resolve) => server.once('listening', resolve));
      try {
        const socket = await refused(61001, 65535);
        expect(socket.code).to.equal('G64_POOL_COLLISION');
        expect(socket.message).to.match(/listens on tcp port 62222/);
      } finally {
        await new Promise((resolve) => server.close(resolve));
      }
      const low = await host({ egress: 'direct', pool: pool('203.0.113.2', 600, 700) }).apply();
      expect(low.pool[0]).to.include({ firstPort: 600, lastPort: 700, shared: true });
    });

    it('takes ports of the ephemeral range that were reserved before', async () => {
      sh('echo 50000-50999 > /proc/sys/net/ipv4/ip_local_reserved_ports');
      await host({ egress: 'direct', pool: pool('203.0.113.2', 50000, 50999) }).apply();
      await host({ egress: 'direct', pool: pool('203.0.113.2', 50000, 50999) }).apply();
    });

    it('warns of NodePorts', async () => {
      const problems = await host({ egress: 'direct', pool: pool('203.0.113.2', 30500, 31000) }).check();
      expect(problems.map(({ severity, message }) => [severity, /NodePorts/.test(message)])).to.deep.equal([
        ['warning', true],
      ]);
    });

    it('refuses an uplink without Ethernet and a pool with the gateway', async () => {
      sh('ip tuntap add tun64 mode tun; ip link set tun64 up; ip address add 198.51.100.2/24 dev tun64');
      const tunnel = await errorOf(host({ egress: 'direct', uplink: 'tun64', pool: SHARED_POOL }).apply());
      expect(tunnel.code).to.equal('G64_NO_UPLINK');
      expect(tunnel.message).to.match(/"tun64" is of type none/);
      const gateway = await errorOf(host({ egress: 'direct', pool: pool('203.0.113.0/31') }).apply());
      expect(gateway.code).to.equal('G64_POOL_COLLISION');
      expect(gateway.message).to.match(/gateway 203\.0\.113\.1/);
    });
  });

  it('uninstall goes on when a step fails, says so, and can be tried again', async () => {
    const before = nodeState();
    await host().apply();
    const withoutNft: Exec = (command, args) =>
      command === 'nft'
        ? Promise.resolve({ exit: 1, stdout: '', stderr: 'Error: Operation not permitted' })
        : execCommand(command, args);
    const error = await errorOf(uninstallHost({ device: 'gate64', stateFile, exec: withoutNft }));
    expect(error.message).to.match(/Operation not permitted/);
    expect(sysctl('ipv4/conf/up0/forwarding'), 'restored all the same').to.equal('0');
    await uninstallHost({ device: 'gate64', stateFile });
    expect(nodeState()).to.deep.equal(before);
  });

  it('refuses a state file that it did not write, and changes nothing', async () => {
    writeFileSync(stateFile, '{"version": 7}');
    const before = nodeState();
    const error = await errorOf(host().apply());
    expect(error.code).to.equal('G64_HOST_STATE');
    expect(error.message).to.match(/host\.json has version 7/);
    expect(nodeState()).to.deep.equal(before);
  });

  for (const [what, command] of [
    ['a deleted route', 'ip route del 192.0.0.0/29'],
    ['a flushed ruleset', 'nft flush ruleset'],
  ] as const) {
    it(`watch tells of ${what} soon after`, async () => {
      await host().apply();
      let stop = () => {};
      const told = new Promise<void>((resolve) => {
        const watch = watchHost(resolve);
        stop = () => watch.stop();
      });
      try {
        await new Promise((resolve) => setTimeout(resolve, 300));
        sh(command);
        await told;
      } finally {
        stop();
      }
    }).timeout(5000);
  }

  it('watch tells of changes that never end once in a while', async () => {
    let calls = 0;
    const watch = watchHost(() => calls++);
    try {
      await new Promise((resolve) => setTimeout(resolve, 300));
      for (let i = 0; i < 28; i++) {
        sh('ip address add 198.51.100.7/32 dev lo; ip address del 198.51.100.7/32 dev lo');
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      // One second after the first, five after that.
      expect(calls).to.equal(2);
    } finally {
      watch.stop();
    }
  }).timeout(15_000);

  it('a prefix of the network’s own is routed like the well-known one', async () => {
    await host({}, ['2001:db8:64:ff00::/64']).apply();
    expect(sh('ip -6 route show dev gate64')).to.match(/2001:db8:64:ff00::\/64 proto 64/);
    expect(parseIp6Net('2001:db8:64:ff00::/64').length).to.equal(64);
  });
});
