// SPDX-License-Identifier: Apache-2.0
// The Corefile of the README is one that CoreDNS takes.

import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startCoreDns } from '../helpers/parts.ts';
import { run } from '../helpers/processes.ts';

const readme = readFileSync(join(import.meta.dirname, '../../README.md'), 'utf8');

describe('README', () => {
  it('has a Corefile that CoreDNS takes and answers with', async () => {
    const block = /^```corefile\n(.*?)^```$/ms.exec(readme)?.[1];
    if (block === undefined) throw new Error('README.md has no corefile block');
    // The binary for the tests is built without these; the port is one that needs nobody's leave.
    const corefile = block
      .replace(/^ {4}kubernetes [^{]*\{\n.*?^ {4}\}\n/ms, '')
      .replace(/^ {4}(reload|prometheus .*)\n/gm, '')
      .replace(/^\. \{/m, '.:5300 {');
    expect(corefile).to.include('forward . 127.0.0.1:5364').and.to.include('lameduck 5s');
    const coreDns = await startCoreDns(corefile);
    try {
      // Nobody listens at the upstream here: a failure is an answer all the same.
      const dig = await run(['dig', '@127.0.0.1', '-p', '5300', '+tries=1', '+time=8', 'AAAA', 'name.example']);
      expect(dig.stdout).to.match(/status: (SERVFAIL|REFUSED)/);
    } finally {
      await coreDns.stop();
    }
  });
});
