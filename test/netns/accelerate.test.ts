// SPDX-License-Identifier: Apache-2.0
// nat64.accelerate: established sessions of pods pass the node's IPv6 forwarding by; its firewall still judges what begins,
// is asked again each second, and takes no connection's end for invalid. Pods come and go; uninstall leaves nothing.

import { expect } from 'chai';
import { gate64Config, metricSum } from '../helpers/gate64.ts';
import { differences, nodeState, type NodeState } from '../helpers/node-state.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { POD, Topology } from '../helpers/topology.ts';

const SERVER6 = '2001:db8:64::c633:640a';
const POD2 = '2001:db8:7::2';
const LIBERAL = 'sysctl -n net.netfilter.nf_conntrack_tcp_be_liberal';
const FIREWALL = `nft -f - <<'E'
table ip6 judge {
  set refused { type ipv6_addr; }
  chain forward { type filter hook forward priority 0;
    ct state invalid counter drop
    ip6 saddr @refused drop
  }
}
E`;
/** Sends a datagram 20 times a second and prints how many came back, each second. */
const TALKER = `
  const socket = require('node:dgram').createSocket('udp6');
  let back = 0;
  socket.on('message', () => back++);
  setInterval(() => socket.send('x', 7007, '${SERVER6}'), 50);
  setInterval(() => { console.log('back ' + back); back = 0; }, 1000);
`;
/** A request and its answer, three seconds of rest, and an end by both. */
const RESTING = `
  const socket = require('node:net').connect(80, '${SERVER6}', () => socket.write('HEAD / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'));
  socket.once('data', () => setTimeout(() => socket.end(), 3000)).resume().on('close', () => console.log('closed'));
`;

describe('accelerated pods', function () {
  this.timeout(90_000);
  let scene: Scene;
  let clean: NodeState;
  let liberal: string;
  const configured = { prefix: '2001:db8:64::/96', nat64: { accelerate: ['pod*'] } } as const;
  const sh = (where: 'pod' | 'node' | 'router' | 'server', script: string) => scene.topology.sh(where, script);
  const direction = async (name: string) =>
    metricSum(await scene.gate64.metrics(), 'gate64_nat64_accelerated_packets_total', { direction: name });
  const both = () => Promise.all([direction('6to4'), direction('4to6')]);
  const fetch = (options = '') =>
    sh('pod', `curl -sS --fail -o /dev/null --max-time 10 ${options} 'http://[${SERVER6}]/one'`);
  const interfaces = async () => {
    const { service } = await scene.gate64.json<{ service: { nat64: { accelerated?: number } } }>('status');
    return service.nat64.accelerated;
  };
  const hooks = () =>
    sh('node', 'ls /sys/fs/bpf/gate64; for d in pod0 pod9; do tc filter show dev $d ingress 2>/dev/null; done; true');
  const hangsAt = async (name: string) => {
    const { ifindex } = (JSON.parse(await sh('node', `ip -j link show ${name}`)) as { ifindex: number }[])[0] ?? {};
    return new RegExp(`link-accel${ifindex}\\b|n64_accel`).test(await hooks());
  };
  /** A second pod in the pod's namespace, with a route of its own. */
  const addPod = async () => {
    await sh('pod', `ip link add eth9 type veth peer name pod9 netns ${scene.topology.netns('node')}`);
    await sh('pod', `ip -6 addr add ${POD2}/64 dev eth9 nodad; ip link set eth9 up`);
    await sh('node', 'ip -6 addr add 2001:db8:7::1/64 dev pod9 nodad; ip link set pod9 up');
    await sh(
      'pod',
      `ip -6 rule add from ${POD2} table 9 || true; ip -6 route replace default via 2001:db8:7::1 dev eth9 table 9`,
    );
    await eventually('the new pod is accelerated', async () => ((await hangsAt('pod9')) ? true : undefined), 15_000);
  };

  before(async () => {
    const topology = await Topology.create();
    await topology.sh('node', FIREWALL);
    // Connection tracking is there, as with kube-proxy.
    liberal = await topology.sh('node', LIBERAL);
    clean = await nodeState(topology);
    scene = await Scene.create({ egress: 'direct', config: configured, topology });
    await scene.serve('large', 16);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('a download, UDP and ping pass by, both ways; status says how many interfaces', async () => {
    expect(await sh('node', LIBERAL)).to.equal('1');
    const [out, back] = await both();
    const sum = await scene.serve('large', 16);
    expect(await scene.download(`http://[${SERVER6}]/large`)).to.equal(sum);
    const [out1, back1] = await both();
    expect(out1 - out, 'acknowledgements').to.be.above(20);
    expect(back1 - back, 'segments').to.be.above(50);
    await scene.topology.run('pod', ['ping', '-c', '10', '-i', '0.1', '-W', '2', SERVER6]);
    const [out2, back2] = await both();
    expect(
      [out2 - out1, back2 - back1].every((count) => count >= 6),
      `${out2 - out1} ${back2 - back1}`,
    ).to.equal(true);
    expect(await interfaces()).to.equal(1);
  });

  it('connections end in peace under a firewall that drops what is invalid', async () => {
    const ends = async () =>
      Number(/counter packets (\d+)/.exec(await sh('node', 'nft list chain ip6 judge forward'))?.[1]);
    const was = await ends();
    for (let i = 0; i < 20; i++) await fetch();
    // One that rests for longer than tracking keeps a connection whose handshake it has not seen to its end.
    await sh('node', 'sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_syn_recv=1');
    await scene.topology.run('pod', [process.execPath, '-e', RESTING], { timeoutMs: 10_000 });
    expect((await ends()) - was, 'invalid').to.equal(0);
    const open = await sh('pod', 'ss -Htn state fin-wait-1 state last-ack state closing | wc -l');
    expect(open).to.equal('0');
  });

  it('what the firewall refuses does not begin, and what runs ends with the next second', async () => {
    const talker = scene.topology.start('pod', [process.execPath, '-e', TALKER]);
    const last = () => Number(/.*back (\d+)/s.exec(talker.log())?.[1] ?? -1);
    await eventually('datagrams come back', () => (last() > 10 ? true : undefined));
    const [out] = await both();
    await eventually('accelerated', async () => ((await direction('6to4')) > out + 5 ? true : undefined));
    await sh('node', `nft add element ip6 judge refused '{ ${POD} }'`);
    await eventually('none comes back', () => (last() === 0 ? true : undefined), 6000);
    const { code } = await scene.topology.run('pod', ['curl', '-s', '--max-time', '2', `http://[${SERVER6}]/one`], {
      accept: 'any',
    });
    expect(code).to.equal(28);
    await sh('node', `nft delete element ip6 judge refused '{ ${POD} }'`);
    await eventually('they come back again', () => (last() > 10 ? true : undefined), 6000);
    await talker.stop();
  });

  it('a pod that comes is attached, one made anew again, without the programs being loaded', async () => {
    await addPod();
    const loads = () => (scene.gate64.process?.log() ?? '').split('data plane in place').length;
    const was = loads();
    const [out] = await both();
    await fetch(`--interface ${POD2}`);
    await sh('pod', `ping -I ${POD2} -c 10 -i 0.1 -W 2 ${SERVER6}`);
    expect((await direction('6to4')) - out).to.be.above(5);
    await sh('node', 'ip link del pod9');
    await addPod();
    expect(loads()).to.equal(was);
    expect(await interfaces()).to.equal(2);
  });

  it('kill -9 leaves it at work, a start takes it over', async () => {
    scene.gate64.process?.signal('SIGKILL');
    await scene.gate64.process?.ended;
    await fetch();
    expect(await hangsAt('pod0')).to.equal(true);
    await scene.gate64.start();
    expect(await hangsAt('pod0')).to.equal(true);
    const [out] = await both();
    await scene.topology.run('pod', ['ping', '-c', '10', '-i', '0.1', '-W', '2', SERVER6]);
    expect((await direction('6to4')) - out).to.be.above(5);
  });

  it('without the setting it is taken down by a reload, and comes back with it', async () => {
    scene.gate64.write(gate64Config('direct', { prefix: configured.prefix }));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('taken down', async () => ((await hangsAt('pod0')) ? undefined : true));
    const counts = await both();
    await fetch();
    expect(await both()).to.deep.equal(counts);
    scene.gate64.write(gate64Config('direct', configured));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('attached', async () => ((await hangsAt('pod0')) ? true : undefined));
  });

  it('uninstall leaves nothing', async () => {
    await sh('node', 'ip link del pod9 || true');
    await scene.gate64.process?.stop();
    await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile]);
    expect(differences(clean, await nodeState(scene.topology))).to.deep.equal([]);
    expect(await sh('node', LIBERAL)).to.equal(liberal);
  });
});
