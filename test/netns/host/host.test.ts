// SPDX-License-Identifier: Apache-2.0
// The node's side on a real kernel, whatever the egress, and with egress direct: ip, nft and sysctls.

import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect } from 'chai';
import { parseIp4Net, parseIp6Net } from '../../../src/addr/ip.ts';
import { execCommand, type Exec } from '../../../src/host/exec.ts';
import { uninstallHost } from '../../../src/host/uninstall.ts';
import { HostWatch } from '../../../src/host/watch.ts';
import { errorOf, Node, nodeState, pool, SHARED_POOL, sh, sysctl } from './node.ts';

describe('host: a node with an uplink', () => {
  const node = new Node();
  const { host } = node;

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

  it('finds chains that drop what is forwarded, until the command that it names has opened them', async () => {
    const found = async (egress: 'masquerade' | 'direct') =>
      (await host(egress === 'direct' ? { egress, pool: SHARED_POOL } : {}).check()).filter(
        ({ name }) => name === 'forward-dropped',
      );
    const remedies = async () =>
      (await found('masquerade')).map(({ remedy }) => /nft '([^']+)'/.exec(remedy ?? '')?.[1]);
    expect(await found('masquerade')).to.deep.equal([]);
    const table = (name: string, chain: string, policy: string, ...rules: string[]) =>
      sh(`nft 'add table ${name}
        add chain ${name} ${chain} { type filter hook forward priority 0; policy ${policy}; }
        ${rules.map((rule) => `add rule ${name} ${chain} ${rule}`).join('\n')}'`);
    table('ip filter', 'FORWARD', 'drop');
    table('inet firewalld', 'filter_FORWARD', 'accept', 'ct state established accept', 'counter reject');
    table('ip6 fine', 'FORWARD', 'accept', 'oifname lo drop');
    table('ip6 open', 'FORWARD', 'drop', 'counter accept');
    try {
      expect(
        (await found('masquerade')).map(({ message }) => /table (\S+ \S+) drops/.exec(message)?.[1]),
      ).to.have.members(['ip filter', 'inet firewalld']);
      expect(await found('direct'), 'IPv4 is not forwarded').to.have.length(1);
      for (const command of await remedies()) sh(`nft '${command ?? ''}'`);
      expect(await found('masquerade')).to.deep.equal([]);
    } finally {
      for (const name of ['ip filter', 'inet firewalld', 'ip6 fine', 'ip6 open']) sh(`nft delete table ${name}`);
    }
  });

  it('the device has a MAC that was given (udev leaves it alone); the next look takes one that changed', async () => {
    const side = host();
    const { device } = await side.apply();
    expect(sh('cat /sys/class/net/gate64/addr_assign_type /sys/class/net/gate64x/addr_assign_type')).to.equal('3\n3\n');
    sh('ip link set gate64 address 02:00:5e:00:53:01');
    const { found } = await side.reconcile();
    expect(found.device.mac).not.to.deep.equal(device.mac);
    expect(found.device.mac).to.deep.equal(Uint8Array.of(2, 0, 0x5e, 0, 0x53, 1));
    await side.uninstall();
  });

  it('uninstall goes on when a step fails, says so, and can be tried again', async () => {
    const before = nodeState();
    await host().apply();
    const withoutNft: Exec = (command, args, input) =>
      command === 'nft'
        ? Promise.resolve({ exit: 1, stdout: '', stderr: 'Error: Operation not permitted' })
        : execCommand(command, args, input);
    const error = await errorOf(uninstallHost({ device: 'gate64', stateFile: node.stateFile, exec: withoutNft }));
    expect(error.message).to.match(/Operation not permitted/);
    expect(sysctl('ipv4/conf/up0/forwarding'), 'restored all the same').to.equal('0');
    await uninstallHost({ device: 'gate64', stateFile: node.stateFile });
    expect(nodeState()).to.deep.equal(before);
  });

  it('refuses a state file that it did not write, and changes nothing', async () => {
    writeFileSync(node.stateFile, '{"version": 7}');
    const before = nodeState();
    const error = await errorOf(host().apply());
    expect(error.code).to.equal('G64_HOST_STATE');
    expect(error.message).to.match(/host\.json has version 7/);
    expect(nodeState()).to.deep.equal(before);
  });

  for (const [what, command] of [
    ['a deleted route', 'ip route del 192.0.0.0/29'],
    ['a flushed ruleset', 'nft flush ruleset'],
    ['another MAC', 'ip link set gate64 address 02:00:5e:00:53:01'],
  ] as const) {
    it(`watch tells of ${what} soon after`, async () => {
      await host().apply();
      let stop = () => {};
      const told = new Promise<void>((resolve) => {
        const watch = new HostWatch(resolve);
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
    const watch = new HostWatch(() => calls++);
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

  it('finds SNAT rules that may take ports of a pool that the node shares, and none that cannot', async () => {
    const names = async () =>
      (await host({ egress: 'direct', pool: SHARED_POOL }).check()).filter(({ name }) => name === 'snat-any-port');
    sh(`nft 'add table ip nat; add chain ip nat KUBE-POSTROUTING; add chain ip nat POSTROUTING {
        type nat hook postrouting priority srcnat; }
      add rule ip nat POSTROUTING jump KUBE-POSTROUTING
      add rule ip nat POSTROUTING ip protocol tcp masquerade to :1024-60999 fully-random
      add table ip6 nat; add chain ip6 nat c { type nat hook postrouting priority srcnat; }
      add rule ip6 nat c masquerade fully-random'`);
    await host({ egress: 'direct', pool: SHARED_POOL }).apply();
    expect(await names()).to.deep.equal([]);
    sh("nft 'add rule ip nat KUBE-POSTROUTING masquerade fully-random'");
    const [finding, ...others] = await names();
    expect(finding?.message).to.match(/"KUBE-POSTROUTING" of the nftables table ip nat picks ports at random/);
    expect(others).to.deep.equal([]);
  });

  it('a prefix of the network’s own is routed like the well-known one', async () => {
    await host({}, ['2001:db8:64:ff00::/64']).apply();
    expect(sh('ip -6 route show dev gate64')).to.match(/2001:db8:64:ff00::\/64 proto 64/);
    expect(parseIp6Net('2001:db8:64:ff00::/64').length).to.equal(64);
  });
});
