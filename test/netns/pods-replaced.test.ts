// SPDX-License-Identifier: Apache-2.0
// A small pool, nearly all of which pods hold that are gone, serves those that come after them.

import { expect } from 'chai';
import { Scene } from '../helpers/scene.ts';
import {
  addPods,
  connectShort,
  deletePods,
  holdOpen,
  serveShortConnections,
  shortConnections,
} from '../helpers/short-connections.ts';

const RATE = 200;

describe("pods that replace others, egress direct on the node's own ports", function () {
  this.timeout(150_000);
  let scene: Scene;

  before(async () => {
    scene = await Scene.create({ egress: 'direct' });
    await serveShortConnections(scene.topology);
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  // The third find blocks that rest, and a few that are kept for pods that hold none.
  for (const [generation, seconds] of [
    [1, 30],
    [2, 20],
    [3, 25],
  ] as const) {
    it(`${RATE} short connections a second for ${seconds} s, by generation ${generation} of four pods`, async () => {
      const { topology } = scene;
      await addPods(topology, generation);
      const held = holdOpen(topology, generation);
      const { good, bad, log } = await shortConnections(connectShort(topology, generation, RATE, seconds));
      await deletePods(topology, generation);
      await held.stop();
      expect(bad, log).to.be.at.most(RATE);
      expect(good, log).to.be.at.least(0.9 * RATE * seconds);
    });
  }
});
