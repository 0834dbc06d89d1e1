// SPDX-License-Identifier: Apache-2.0
// Words of the commands that findings name.

import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { shellWord } from '../../../src/plan/shell.ts';

describe('plan/shell', () => {
  it('a word is one for sh, whatever somebody named a device', () => {
    for (const word of ['up0', 'eth0.5@if2', "it's", 'a;reboot', '$(id)', '`id`', '*', '', '"', '\\']) {
      expect(spawnSync('sh', ['-c', `printf %s ${shellWord(word)}`], { encoding: 'utf8' }).stdout).to.equal(word);
    }
    expect(shellWord('up0')).to.equal('up0');
  });
});
