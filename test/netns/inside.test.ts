// SPDX-License-Identifier: Apache-2.0
// Who may use the gateway with `allowSources` empty: everybody but who comes by an interface with a default route. A network
// behind any other interface is inside, and is outside as soon as a default route leads there.

import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { SERVER4, Topology } from '../helpers/topology.ts';

const CLIENT = '2001:db8:3::2';

for (const egress of EGRESSES) {
  describe(`an interface without a default route, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      const topology = await Topology.create();
      // A second link between node and router, by which nothing leaves.
      await topology.sh('node', `ip link add lan7 type veth peer name side0 netns ${topology.netns('router')}`);
      await topology.sh('node', 'ip link set lan7 up; ip -6 addr add 2001:db8:3::1/64 dev lan7 nodad');
      await topology.sh(
        'router',
        `ip link set side0 up; ip -6 addr add ${CLIENT}/64 dev side0 nodad
        ip -6 route add 64:ff9b::/96 via 2001:db8:3::1 dev side0`,
      );
      scene = await Scene.create({ egress, topology });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const isServed = async () => {
      const ping = ['ping', '-6', '-n', '-c', '1', '-W', '1', '-I', CLIENT, `64:ff9b::${SERVER4}`];
      return (await scene.topology.run('router', ping, { accept: 'any' })).code === 0;
    };

    it('who comes by it is let in', async () => {
      await eventually('it is served', async () => ((await isServed()) ? true : undefined));
    });

    it('and no more once it leads outside', async () => {
      await scene.topology.sh('node', `ip -6 route add default via ${CLIENT} dev lan7`);
      await eventually('it is refused', async () => ((await isServed()) ? undefined : true), 15_000);
      await scene.topology.sh('node', 'ip -6 route del default dev lan7');
      await eventually('it is served again', async () => ((await isServed()) ? true : undefined), 15_000);
    });
  });
}
