// SPDX-License-Identifier: Apache-2.0
// Direct mode on nodes with several ways out: the node's own IPv4 routes decide on interface, next hop and MTU, answers
// are taken wherever they come by, and where there is no way the pod hears so.

import { join } from 'node:path';
import { expect } from 'chai';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { formatIp6, parseIp4 } from '../../src/addr/ip.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { NODE4, ROUTER4, SERVER4 } from '../helpers/topology.ts';

const PREFIX = '2001:db8:64::/96';
const embedded = (v4: string) => formatIp6(embedIp4(parsePrefix64(PREFIX), parseIp4(v4)));
const SERVERS = Array.from({ length: 12 }, (_, i) => `198.51.100.${20 + i}`);

describe('ways out, egress direct', function () {
  this.timeout(60_000);
  let scene: Scene;
  const sh = (where: 'pod' | 'node' | 'router' | 'server', script: string) => scene.topology.sh(where, script);
  const drops = async (): Promise<Record<string, number>> => {
    const rows = await scene.gate64.json<{ reason: string; count: number }[]>('drops');
    return Object.fromEntries(rows.map(({ reason, count }) => [reason, count]));
  };
  const status = (v4: string, options = '') =>
    sh('pod', `curl -s -o /dev/null -w '%{http_code}' --max-time 5 ${options} 'http://[${embedded(v4)}]/one' || true`);
  const ping = async (v4: string, options: string) =>
    (await scene.topology.run('pod', ['ping', '-n', ...options.split(' '), embedded(v4)], { accept: 'any' })).stdout;

  before(async () => {
    scene = await Scene.create({ egress: 'direct', config: { prefix: PREFIX } });
    const { topology } = scene;
    // A second link between node and router; whoever hears of it reconciles.
    await sh('router', `ip link add lan1 type veth peer name up1 netns ${topology.netns('node')}`);
    await sh('router', 'ip addr add 203.0.113.254/24 dev lan1; ip link set lan1 up');
    await sh('node', 'ip addr add 203.0.113.1/24 dev up1; ip link set up1 up');
    await sh('server', SERVERS.map((v4) => `ip addr add ${v4}/24 dev eth0`).join('\n'));
    const { ifindex } = (JSON.parse(await sh('node', 'ip -j link show up1')) as { ifindex: number }[])[0] ?? {};
    await eventually('programs hang on the second interface', async () => {
      const hooks = await sh('node', 'ls /sys/fs/bpf/gate64; tc filter show dev up1 ingress');
      return new RegExp(`link-return${ifindex}\\b|n64_uplink`).test(hooks) || undefined;
    });
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('a network behind a second interface is reached, and its answers come by it', async () => {
    await sh('node', `ip route add ${SERVERS[0]} via 203.0.113.254 dev up1`);
    await sh('router', `ip route add ${NODE4} via 203.0.113.1 dev lan1`);
    const packets = async (name: string) => {
      const rows = JSON.parse(await sh('router', `ip -s -j link show ${name}`)) as {
        stats64: { rx: { packets: number } };
      }[];
      return rows[0]?.stats64.rx.packets ?? 0;
    };
    const before = await packets('lan1');
    expect(await status(SERVERS[0] as string)).to.equal('200');
    expect((await packets('lan1')) - before, 'it left by up1').to.be.above(4);
  });

  it('with two equal routes each of 12 connections is answered, whichever link it leaves or comes back by', async () => {
    await sh('node', `ip route del ${SERVERS[0]}`);
    const hops = `nexthop via ${ROUTER4} dev up0 nexthop via 203.0.113.254 dev up1`;
    await sh('node', `ip route replace default ${hops}`);
    try {
      for (const back of [`${NODE4} via 203.0.113.1 dev lan1`, undefined]) {
        if (back === undefined) await sh('router', `ip route del ${NODE4}`);
        else await sh('router', `ip route replace ${back}`);
        const codes = await Promise.all(SERVERS.map((v4) => status(v4)));
        expect(codes).to.deep.equal(SERVERS.map(() => '200'));
      }
    } finally {
      await sh('node', `ip route replace default via ${ROUTER4} dev up0`);
    }
  });

  it('a route’s own MTU makes Packet Too Big', async () => {
    const v4 = SERVERS[1] as string;
    await sh('node', `ip route add ${v4} via ${ROUTER4} mtu lock 1300`);
    expect(await ping(v4, '-M do -c 2 -i 0.2 -W 2 -s 1400')).to.match(/mtu[=:] ?1320/);
    expect(await status(v4)).to.equal('200');
  });

  it('no route: Destination Unreachable, no route; it is counted', async () => {
    const v4 = SERVERS[2] as string;
    await sh('node', `ip route add unreachable ${v4}`);
    expect(await ping(v4, '-c 1 -W 2')).to.match(/Destination unreachable: No route/);
    expect(await drops()).to.include({ no_route: 1 });
    await sh('node', `ip route del unreachable ${v4}`);
    expect(await status(v4), 'as soon as there is one').to.equal('200');
  });

  it('a next hop that does not answer: Address unreachable after the kernel’s three tries, and it is asked again', async () => {
    const v4 = SERVERS[3] as string;
    await sh('node', `ip route add ${v4} via 192.0.2.77`);
    expect(await ping(v4, '-c 30 -i 0.2 -W 1')).to.match(/Destination unreachable: Address unreachable/);
    expect((await drops())['no_neighbour']).to.be.above(5);
    await sh('router', 'ip addr add 192.0.2.77/24 dev lan0');
    await eventually('it answers', async () => (await status(v4)) === '200' || undefined, 5000);
  });

  it('frames of a VLAN on the uplink are another network’s', async () => {
    const sessions = async () => (await scene.gate64.json<unknown[]>('sessions', '--proto', 'udp')).length;
    const [link] = JSON.parse(await sh('node', 'ip -j link show up0')) as { address: string }[];
    await sh(
      'pod',
      `timeout 1 bash -c 'exec 3<>/dev/udp/${embedded(SERVER4)}/7007; echo x >&3; head -c1 <&3 || true' || true`,
    );
    const [session] = await scene.gate64.json<{ pool: { port: number } }[]>(
      'sessions',
      '--proto',
      'udp',
      '--dst',
      SERVER4,
    );
    const port = session?.pool.port;
    expect(port).to.be.a('number');
    const before = await sessions();
    // From the server's address, which the filter lets in, and another port: a session more where it is taken.
    const sender = join(import.meta.dirname, '../helpers/vlan-sender.ts');
    const send = (kind: string) => {
      const to = [SERVER4, NODE4, '4444', `${port}`, 'lan0', link?.address ?? '', kind];
      return scene.topology.run('router', [process.execPath, sender, ...to]);
    };
    await send('tagged');
    expect(await sessions()).to.equal(before);
    await send('untagged');
    expect(await sessions(), 'as its own network’s are').to.equal(before + 1);
  });

  it('a gateway that changes its MAC is followed within a second', async () => {
    await sh('router', 'sysctl -qw net.ipv4.conf.lan0.arp_notify=1; ip link set lan0 address 02:00:00:00:07:07');
    await new Promise((done) => setTimeout(done, 1000));
    expect(await status(SERVER4)).to.equal('200');
  });
});
