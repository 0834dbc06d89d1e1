// SPDX-License-Identifier: Apache-2.0
// Packets of one flow leave in the order they came in, out and back.

import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { EGRESSES, Scene } from '../helpers/scene.ts';

/** Numbers of seven digits and a line end; so many bytes are one datagram. */
const DATAGRAM = 10 * 8;
const FIRST = 1_000_001;
const COUNT = 50_000;

for (const egress of EGRESSES) {
  describe(`order, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    before(async () => {
      scene = await Scene.create({ egress });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    it('X7915-4-e: datagrams come back from an echo in the order they were sent, whatever is lost', async () => {
      const file = join(scene.topology.directory, 'numbers');
      writeFileSync(file, Array.from({ length: COUNT }, (_, i) => `${FIRST + i}\n`).join(''));
      // On one processor: a sender that moves to another overtakes itself before any packet is here.
      const processor = "$(awk '/^Cpus_allowed_list/ { split($2, a, /[,-]/); print a[1] }' /proc/self/status)";
      const echo = `taskset -c ${processor} socat -b ${DATAGRAM} -T 1 - UDP6:[64:ff9b::198.51.100.10]:7007 <${file}`;
      const numbers = (await scene.topology.sh('pod', echo)).trim().split('\n').map(Number);
      expect(numbers.length).to.be.above(COUNT / 50);
      expect(numbers.filter((number, i) => i > 0 && number <= (numbers[i - 1] ?? 0))).to.deep.equal([]);
    });
  });
}
