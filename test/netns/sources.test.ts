// SPDX-License-Identifier: Apache-2.0
// An uplink with two addresses: pods appear as the one that the node's route names (`src`), as the node itself does, also
// when that changes.

import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { eventually, type Background } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { NODE4, ROUTER4, SERVER4, Topology } from '../helpers/topology.ts';

const SECOND = '192.0.2.3';
const PORT = 7011;
const LISTENER = `
  const socket = require('node:dgram').createSocket('udp4');
  socket.on('message', (data, { address }) => console.log('heard ' + data + ' from ' + address + ';'));
  socket.bind(${PORT}, () => console.log('listening'));
`;
/** One flow that never rests. */
const BUSY = `
  const socket = require('node:dgram').createSocket('udp6');
  setInterval(() => socket.send('busy', ${PORT}, '64:ff9b::${SERVER4}'), 50);
`;

for (const egress of EGRESSES) {
  describe(`a default route that names the second address, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    const listeners: Partial<Record<'server' | 'router', Background>> = {};
    let words = 0;

    before(async () => {
      const topology = await Topology.create();
      await topology.sh(
        'node',
        `ip -4 addr add ${SECOND}/24 dev up0; ip -4 route replace default via ${ROUTER4} src ${SECOND}`,
      );
      scene = await Scene.create({ egress, topology });
      for (const name of ['server', 'router'] as const) {
        const listener = topology.start(name, [process.execPath, '-e', LISTENER]);
        listeners[name] = listener;
        await eventually(`${name} listens`, () => (listener.log().includes('listening') ? true : undefined));
      }
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    /** The address that a new flow of the pod's comes from. */
    const sourceAt = async (name: 'server' | 'router') => {
      const word = `word${words++}`;
      const to = name === 'server' ? SERVER4 : ROUTER4;
      await scene.topology.sh('pod', `echo -n ${word} | socat -u - 'UDP6-SENDTO:[64:ff9b::${to}]:${PORT}'`);
      return eventually(
        `${name} heard ${word}`,
        () => new RegExp(`heard ${word} from ([\\d.]+);`).exec(listeners[name]?.log() ?? '')?.[1],
      );
    };

    it('pods appear as that address', async () => {
      expect(await sourceAt('server')).to.equal(SECOND);
    });

    if (egress === 'masquerade') {
      it('but where a longer route names another', async () => {
        expect(await sourceAt('router')).to.equal(NODE4);
      });
    }

    it('and as the other once the node has lost it; nothing is sent from the lost one', async () => {
      await using busy = scene.topology.start('pod', [process.execPath, '-e', BUSY]);
      const isFrom = (address: string) => () =>
        listeners.server?.log().includes(`heard busy from ${address};`) === true ? true : undefined;
      await eventually('the flow is heard', isFrom(SECOND));
      // The route goes with it.
      await scene.topology.sh('node', `ip -4 addr del ${SECOND}/24 dev up0; ip -4 route add default via ${ROUTER4}`);
      await eventually(
        'new flows have the other',
        async () => ((await sourceAt('server')) === NODE4 ? true : undefined),
        15_000,
      );
      const heard = () => listeners.server?.log().split(`heard busy from ${SECOND};`).length;
      await sourceAt('server');
      const before = heard();
      await setTimeout(500);
      expect(heard(), 'nothing more comes from the lost one').to.equal(before);
      expect(busy.exitCode()).to.equal(undefined);
    });
  });
}
