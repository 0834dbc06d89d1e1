// SPDX-License-Identifier: Apache-2.0
// The node's side with egress masquerade on a real kernel: ip, nft and sysctls.

import { existsSync } from 'node:fs';
import { expect } from 'chai';
import { formatIp4, formatIp6, parseIp4 } from '../../../src/addr/ip.ts';
import { execCommand, type Exec } from '../../../src/host/exec.ts';
import { uninstallHost } from '../../../src/host/uninstall.ts';
import { errorOf, Node, nodeState, pool, sh, sysctl } from './node.ts';

describe('host: a node with an uplink, masquerade', () => {
  const node = new Node();
  const { host } = node;

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
      /hook postrouting priority srcnat - 10;[^}]*ip saddr 192\.0\.0\.0\/29 oifname != "gate64" goto ours /,
    );
    expect(sysctl('ipv4/conf/gate64/forwarding')).to.equal('1');
    expect(sysctl('ipv4/conf/up0/forwarding')).to.equal('1');
    expect(sysctl('ipv6/conf/gate64/forwarding')).to.equal('1');
    expect(snapshot.uplinks).to.deep.equal(['up0']);
    expect(snapshot.nodeAddresses.map(formatIp4)).to.deep.equal(['203.0.113.2']);
    expect(formatIp6(snapshot.node6)).to.equal('64:ff9b::c000:8');
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
    const removed = await uninstallHost({ device: 'gate64', stateFile: node.stateFile });
    expect(removed).to.include.members([
      'removed: device gate64',
      'removed: nftables table ip gate64',
      'removed: guard route 64:ff9b::/96',
    ]);
    expect(nodeState()).to.deep.equal(before);
    expect(existsSync(node.stateFile)).to.equal(false);
    expect(await uninstallHost({ device: 'gate64', stateFile: node.stateFile }), 'a second time').to.deep.equal([]);
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
    const { repaired } = await running.reconcile();
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
    const listening: Exec = (command, args, input) => {
      asked.push([command, ...args].join(' '));
      return execCommand(command, args, input);
    };
    const running = host({}, ['64:ff9b::/96'], listening);
    await running.apply();
    expect(asked.join('\n'), 'conflicts may be in any').to.include('table all');
    asked.length = 0;
    sh('ip route del 192.0.0.0/29');
    expect((await running.reconcile()).repaired).to.deep.equal(['route 192.0.0.0/29']);
    expect(asked.join('\n')).to.include('-4 route show table main').and.not.include('table all');
  });

  it('makes a deleted device anew and finds its number', async () => {
    const running = host();
    const first = await running.apply();
    const before = nodeState();
    sh('ip link del gate64');
    const { found, repaired } = await running.reconcile();
    expect(repaired).to.include.members(['device gate64', 'route 64:ff9b::/96']);
    expect(found.device.ifindex).not.to.equal(first.device.ifindex);
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
    await uninstallHost({ device: 'gate64', stateFile: node.stateFile });
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
    const failing: Exec = (command, args, input) =>
      command === 'nft' && args.join(' ').includes('masquerade')
        ? Promise.resolve({ exit: 1, stdout: '', stderr: 'Error: Could not process rule: Operation not supported' })
        : execCommand(command, args, input);
    const error = await errorOf(host({}, ['64:ff9b::/96'], failing).apply());
    expect(error.code).to.equal('G64_HOST_COMMAND');
    expect(error.message).to.match(/^"nft add table ip gate64 delete .*exit code 1.*Operation not supported/);
    expect(nodeState()).to.deep.equal(before);
  });

  it('X7915-4.6-a: G6888-6-a: a more specific route of the node’s own is left alone and taken', async () => {
    const native = '64:ff9b::198.51.100.0/120';
    sh(`ip -6 route add ${native} via 2001:db8::1 dev up0`);
    await host().apply();
    expect(sh('ip -6 route get 64:ff9b::198.51.100.7')).to.match(/via 2001:db8::1 dev up0/);
    expect(sh('ip -6 route get 64:ff9b::198.51.101.7')).to.match(/dev gate64/);
    expect((await host().reconcile()).repaired).to.deep.equal([]);
    await host().uninstall();
    expect(sh(`ip -6 route show ${native}`)).to.match(/via 2001:db8::1 dev up0/);
  });

  it('H8200-5-a: is never below 1280 bytes, however small the others are, and is put right', async () => {
    sh('ip link set up0 mtu 1280; ip link set up1 mtu 1280');
    const running = host();
    expect((await running.apply()).device.mtu).to.equal(9000);
    sh('ip link set gate64 mtu 1279');
    expect(() => sh('ip -6 route get 64:ff9b::1 2>&1'), 'the kernel has no IPv6 there').to.throw();
    expect((await running.reconcile()).repaired).to.include('device gate64 mtu 9000');
    expect(sh('ip -6 route get 64:ff9b::1')).to.match(/dev gate64/);
    await running.reconcile();
    expect(sh('ip address show dev gate64')).not.to.match(/inet/);
    expect((await running.reconcile()).repaired).to.deep.equal([]);
  });

  it('is as large as the largest interface of the node', async () => {
    sh('ip link set up1 mtu 20000');
    expect((await host().apply()).device.mtu).to.equal(20000);
  });

  for (const [what, setup, expected] of [
    ['an interface of another kind', 'ip link add gate64 type bridge', /"gate64" is there already.*its kind is bridge/],
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
      ['198.51.100.0/28', 'ip route add 198.51.0.0/16 via 203.0.113.1', /routes elsewhere: 198\.51\.0\.0\/16 dev up0/],
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
    expect((await host({ uplink: 'up0' }).apply()).uplinks[0], 'named').to.equal('up0');
  });

  it('warns that the node forwards no IPv6 and does not change that', async () => {
    sh('echo 0 > /proc/sys/net/ipv6/conf/all/forwarding');
    const [finding, ...others] = await host().check();
    expect(finding).to.include({ severity: 'warning', name: 'forwarding-off' });
    expect(others).to.deep.equal([]);
    await host().apply();
    expect(sysctl('ipv6/conf/all/forwarding')).to.equal('0');
  });

  it('counts every interface with a default route as outside, the lowest IPv4 metric first', async () => {
    sh(`ip link add other0 type veth peer name other1; ip link set other0 up; ip link set other1 up
      ip address add 198.51.100.2/24 dev other0; ip route add default via 198.51.100.1 dev other0 metric 50
      ip route del default dev up0; ip route add default via 203.0.113.1 dev up0 metric 100`);
    expect((await host().apply()).uplinks).to.deep.equal(['other0', 'up0']);
  });
});
