// SPDX-License-Identifier: Apache-2.0
// Prefixes come, change their order and go while a pod is busy: what runs by a prefix that stays goes on, and what comes in
// by a static binding is shown under one that is there.

import { expect } from 'chai';
import { gate64Config } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { Scene } from '../helpers/scene.ts';
import { POD } from '../helpers/topology.ts';

const FIRST = '64:ff9b::/96';
const OTHER = '2001:db8:64::/96';
const POOL = '192.0.2.10';
const NAT64 = {
  pool: [{ addresses: POOL, ports: '1-65535' }],
  static: [{ protocol: 'tcp', ipv6: `[${POD}]:8080`, ipv4: `${POOL}:80` }],
};

describe('prefixes that change under a busy pod', function () {
  this.timeout(60_000);
  let scene: Scene;
  let one: string;
  before(async () => {
    scene = await Scene.create({ egress: 'direct', config: { prefix: FIRST, nat64: NAT64 } });
    one = await scene.serve('one', 1);
    scene.topology.start('pod', [
      'socat',
      'TCP6-LISTEN:8080,fork,reuseaddr',
      'SYSTEM:cat >/dev/null & echo "from $SOCAT_PEERADDR"',
    ]);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  const reload = async (prefix: readonly string[]) => {
    const reloads = () => scene.gate64.process?.log().match(/configuration reloaded/g)?.length ?? 0;
    const before = reloads();
    scene.gate64.write(gate64Config('direct', { prefix, nat64: NAT64 }));
    scene.gate64.process?.signal('SIGHUP');
    await eventually('the reload is over', () => (reloads() > before ? true : undefined), 10_000);
    // The file is looked at as well, so that one change may be read twice: routes tell which configuration it is.
    await eventually('the routes are those of the prefixes', async () => {
      const routes = await scene.topology.sh('node', 'ip -6 route show dev gate64 proto 64');
      const found = routes.split('\n').map((line) => line.split(' ')[0]);
      return found.length === prefix.length && prefix.every((one) => found.includes(one)) ? true : undefined;
    });
  };

  it('another prefix in front: the download goes on, both prefixes work', async () => {
    const wanted = await scene.serve('long', 64);
    const download = scene.download('http://[64:ff9b::c633:640a]/long', ['--limit-rate', '12M']);
    download.catch(() => undefined);
    await eventually('the transfer is under way', async () => {
      const rows = await scene.gate64.json<unknown[]>('sessions', '--proto', 'tcp', '--state', 'established');
      return rows[0];
    });
    await reload([OTHER, FIRST]);
    expect(await scene.download('http://[2001:db8:64::c633:640a]/one')).to.equal(one);
    expect(await scene.download('http://[64:ff9b::c633:640a]/one')).to.equal(one);
    expect(await download).to.equal(wanted);
  });

  it('D6147-5.2-a: names are synthesized with the prefixes that packets are translated by, in their order', async () => {
    const name = 'v4only.example';
    const shown = await scene.topology.sh('node', `dig +short -p 5364 @127.0.0.1 AAAA ${name}`);
    const addresses = shown.split('\n');
    expect(addresses).to.deep.equal(['2001:db8:64::c633:640a', '64:ff9b::c633:640a']);
    for (const address of addresses) {
      expect(await scene.download(`http://${name}/one`, ['--resolve', `${name}:80:[${address}]`])).to.equal(one);
    }
  });

  it('D6147-5.2-a: the first goes: the other works, inward too', async () => {
    await reload([OTHER]);
    const shown = await scene.topology.sh('node', 'dig +short -p 5364 @127.0.0.1 AAAA v4only.example');
    expect(shown).to.equal('2001:db8:64::c633:640a');
    expect(await scene.download('http://[2001:db8:64::c633:640a]/one')).to.equal(one);
    const answer = await scene.topology.sh('server', `socat -T 2 - TCP4:${POOL}:80 </dev/null`);
    expect(answer).to.match(/^from \[?(?:2001:0?db8:0?0?64:.*|2001:db8:64::)c633:640a\]?$/i);
  });
});
