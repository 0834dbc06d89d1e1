// SPDX-License-Identifier: Apache-2.0
// nat64.destinations: a part of IPv4 is translated here, the rest of the prefix goes the node's way to another NAT64.

import { expect } from 'chai';
import { formatIp6, parseIp4 } from '../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { NODE6, ROUTER6, SERVER4, SERVER4_OTHER } from '../helpers/topology.ts';

const PREFIX = '2001:db8:64::/96';
const embedded = (v4: string) => formatIp6(embedIp4(parsePrefix64(PREFIX), parseIp4(v4)));

for (const egress of EGRESSES) {
  describe(`only some destinations, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      scene = await Scene.create({ egress, config: { prefix: PREFIX, nat64: { destinations: [`${SERVER4}/32`] } } });
      // The other NAT64 is the router's affair; that it is asked shows in who answers.
      await scene.topology.sh('node', `ip -6 route add ${PREFIX} via ${ROUTER6} dev up0`);
      await scene.topology.sh(
        'router',
        `ip -6 route add unreachable ${PREFIX}; ip -6 route add ${NODE6}/64 via 2001:db8:2::1; sysctl -qw net.ipv6.conf.all.forwarding=1`,
      );
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    it('those are reached by name as ever, another is left to whoever has the rest of the prefix', async () => {
      const wanted = await scene.serve('one', 1);
      expect(await scene.download('http://v4only.example/one')).to.equal(wanted);
      const argv = ['ping', '-n', '-c', '1', '-W', '2', embedded(SERVER4_OTHER)];
      const { stdout } = await scene.topology.run('pod', argv, { accept: 'any' });
      expect(stdout).to.match(new RegExp(`From ${ROUTER6}.*unreachable`));
      const sessions = await scene.gate64.json<{ destination: string }[]>('sessions');
      expect(JSON.stringify(sessions)).not.to.include(SERVER4_OTHER);
    });

    it('a route of somebody else for the rest is no finding, one for the part is', async () => {
      const doctor = async () =>
        (await scene.gate64.cli(['doctor', '-c', scene.gate64.configFile, '-o', 'json'], { accept: 'any' })).stdout;
      expect(await doctor()).not.to.include('prefix-routed-elsewhere');
      await scene.topology.sh('node', `ip -6 route add ${embedded(SERVER4)}/128 via ${ROUTER6} dev up0 metric 10`);
      expect(await doctor()).to.include('prefix-routed-elsewhere');
    });
  });
}
