// SPDX-License-Identifier: Apache-2.0
// A pool of an address of its own, as written in the configuration: reached by ARP, low ports too, static bindings inward.

import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { POD } from '../helpers/topology.ts';

/** On the uplink's own network, but no address of the node. */
const POOL = '192.0.2.10';

interface SessionJson {
  protocol: string;
  source: { address: string; port: number };
  pool: { address: string; port: number };
}

describe('a pool address of its own, egress direct', function () {
  this.timeout(60_000);
  let scene: Scene;
  before(async () => {
    scene = await Scene.create({
      egress: 'direct',
      config: {
        nat64: {
          pool: [{ addresses: POOL, ports: '1-65535' }],
          static: [
            { protocol: 'tcp', ipv6: `[${POD}]:8080`, ipv4: `${POOL}:80` },
            { protocol: 'udp', ipv6: `[${POD}]:5353`, ipv4: `${POOL}:53` },
          ],
        },
      },
    });
    const tcp = ['socat', 'TCP6-LISTEN:8080,fork,reuseaddr', 'SYSTEM:cat >/dev/null & echo "from $SOCAT_PEERADDR"'];
    scene.topology.start('pod', tcp);
    scene.topology.start('pod', ['socat', 'UDP6-RECVFROM:5353,fork', 'EXEC:cat']);
    await eventually('the pod listens', async () => {
      const sockets = (await scene.topology.sh('pod', "ss -Hlntu '( sport = :8080 or sport = :5353 )'")).split('\n');
      return sockets.length === 2 ? true : undefined;
    });
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('downloads leave from it', async () => {
    expect(await scene.download('http://v4only.example/one')).to.equal(await scene.serve('one', 1));
    const sessions = await scene.gate64.json<SessionJson[]>('sessions', '--proto', 'tcp');
    expect(sessions.map(({ pool }) => pool.address)).to.deep.equal([POOL]);
    expect(await scene.topology.sh('router', `ip neighbour show ${POOL}`)).to.match(/REACHABLE|DELAY|STALE|PROBE/);
  });

  it('N6146-3.1-d: a static TCP binding on a port below 1024 leads to the pod', async () => {
    const answer = await scene.topology.sh('server', `socat -T 2 - TCP4:${POOL}:80 </dev/null`);
    // The pod sees the IPv4 client under the prefix.
    expect(answer).to.match(/^from \[?(?:0*64:ff9b:.*|64:ff9b::)c633:640a\]?$/i);
  });

  it('N6146-3.1-d: B7857-8-a: a static UDP binding leads to the pod and back', async () => {
    const answer = await scene.topology.sh('server', `echo hello | socat -T 1 - UDP4:${POOL}:53,sourceport=4053`);
    expect(answer).to.equal('hello');
  });

  it('what has no binding is refused, with the reason', async () => {
    await scene.topology.run('server', ['socat', '-T', '1', '-', `TCP4:${POOL}:81,connect-timeout=1`], {
      accept: 'any',
    });
    const drops = await scene.gate64.json<{ reason: string; direction: string }[]>('drops');
    expect(drops.filter(({ direction }) => direction === '4to6').map(({ reason }) => reason)).to.deep.equal([
      'no_binding',
    ]);
  });

  it('the bindings are listed as static, from a pod that never sent anything first', async () => {
    interface BindingJson {
      static: boolean;
      protocol: string;
      pool: { address: string; port: number };
    }
    const bindings = await scene.gate64.json<BindingJson[]>('bindings');
    const fixed = bindings.filter((binding) => binding.static).map(({ protocol, pool }) => `${protocol} ${pool.port}`);
    expect(fixed.toSorted()).to.deep.equal(['tcp 80', 'udp 53']);
  });

  it('uninstall takes its ARP answer away', async () => {
    scene.gate64.process?.signal('SIGKILL');
    await scene.gate64.process?.ended;
    expect(await scene.topology.sh('node', 'ip neighbour show proxy')).to.include(POOL);
    await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile]);
    expect(await scene.topology.sh('node', 'ip neighbour show proxy')).to.equal('');
  });
});
