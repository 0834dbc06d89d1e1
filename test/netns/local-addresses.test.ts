// SPDX-License-Identifier: Apache-2.0
// What the node takes for its own without an interface having it, broadcast addresses and local routes, is no way into the
// node: from the moment that it is there behind masquerade, and refused like an own address with the next look.

import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';

const PORT = 7010;
/** Everything that comes to the node's port. */
const LISTENER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (data, { address }) => console.log('heard ' + data + ' from ' + address));
  socket.bind(${PORT}, () => console.log('listening'));
`;

interface DropJson {
  readonly reason: string;
  readonly count: number;
}

for (const egress of EGRESSES) {
  describe(`the node's own addresses that no interface has, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    let heard: () => string;

    before(async () => {
      scene = await Scene.create({ egress });
      const listener = scene.topology.start('node', [process.execPath, '-e', LISTENER]);
      heard = () => listener.log();
      await eventually('the node listens', () => (heard().includes('listening') ? true : undefined));
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const say = (word: string, v4: string) =>
      scene.topology.sh('pod', `echo -n ${word} | socat -u - 'UDP6-SENDTO:[64:ff9b::${v4}]:${PORT}'`);
    const refused = async () =>
      (await scene.gate64.json<DropJson[]>('drops')).find(({ reason }) => reason === 'dst_node')?.count ?? 0;

    it('a broadcast address of the node is refused', async () => {
      const before = await refused();
      await say('broadcast', '192.0.2.255');
      expect(await refused()).to.equal(before + 1);
      expect(heard()).not.to.include('broadcast');
    });

    it('a network that becomes local is closed at once, and refused soon', async () => {
      await scene.topology.sh('node', 'ip -4 route add local 203.0.113.0/24 dev lo');
      await say('moment', '203.0.113.9');
      // The node itself is heard, so the pod would have been.
      await scene.topology.sh('node', `echo -n itself | socat -u - UDP4-SENDTO:203.0.113.9:${PORT}`);
      await eventually('the node heard itself', () => (heard().includes('itself') ? true : undefined));
      expect(heard()).not.to.include('moment');
      const before = await refused();
      await eventually('it is refused', async () => {
        await say('later', '203.0.113.9');
        return (await refused()) > before ? true : undefined;
      });
      expect(heard()).not.to.include('later');
    });

    it('and can be reached again when it is local no more', async () => {
      await scene.topology.sh('node', 'ip -4 route del local 203.0.113.0/24 dev lo');
      await eventually('nothing is refused', async () => {
        const before = await refused();
        await say('gone', '203.0.113.9');
        return (await refused()) === before ? true : undefined;
      });
    });
  });
}
