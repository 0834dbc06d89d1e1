// SPDX-License-Identifier: Apache-2.0
// Programs stay within what docs/verifier.md records, so that a change that explodes on some kernel is seen early.

import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { kernelSeries, LIMIT, PAGE, verifierCounts } from './verifier-counts.ts';

describe('verifier', () => {
  it('walks no program much longer than recorded', () => {
    const text = readFileSync(PAGE, 'utf8');
    const recorded = new Map(
      [...text.matchAll(/^\| ([^|]+?) +\| (n64_\w+) +\| (\d+) +\|$/gm)].map(([, configuration, program, count]) => [
        `${configuration}: ${program}`,
        Number(count),
      ]),
    );
    const sameKernel = text.includes(`Kernel ${kernelSeries()}.`);
    const counts = verifierCounts();
    expect([...recorded.keys()].toSorted(), 'programs in docs/verifier.md').to.deep.equal(
      counts.map((one) => `${one.configuration}: ${one.program}`).toSorted(),
    );
    for (const { configuration, program, instructions } of counts) {
      const name = `${configuration}: ${program}`;
      expect(instructions, name).to.be.within(1, LIMIT / 2);
      if (!sameKernel) continue;
      const most = (recorded.get(name) as number) * 1.2;
      expect(instructions, `${name}: if it must be, make docs/verifier.md anew`).to.be.at.most(most);
    }
  });
});
