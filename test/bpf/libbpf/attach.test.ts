// SPDX-License-Identifier: Apache-2.0
// Attaching and pinning, each scenario in a process with network and mount namespaces of its own. Needs root.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { compile } from './compile.ts';

describe('libbpf: attaching and pinning', function () {
  let directory: string;

  before(function () {
    if (process.getuid?.() !== 0) this.skip();
    directory = mkdtempSync(join(tmpdir(), 'libbpf-test-'));
    mkdirSync(join(directory, 'bpffs'));
    compile('fixture', directory);
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });

  const scenarios: [name: string, title: string][] = [
    ['order', 'a TCX link with `before` runs first, and a link swaps its program in place'],
    ['closing', 'closing an unpinned TCX link detaches it; detach works through a pin'],
    ['killed', 'a pinned TCX link and its maps work on after SIGKILL and can be re-opened'],
    ['pins', 'a pinned map is used again with its entries, another size is refused with the reason'],
    ['clsact', 'the clsact way attaches, replaces, queries and detaches, and leaves the qdisc'],
    ['ring', 'no record is lost while another process writes and the reader falls asleep and wakes'],
    ['unprivileged', 'without the right to load, the error says so and nothing crashes'],
    ['missing', 'interfaces and pins that do not exist or are of another kind are refused'],
  ];
  for (const [name, title] of scenarios) {
    it(`libbpf: ${title}`, () => {
      const child = join(import.meta.dirname, 'attach.child.ts');
      const run = spawnSync('unshare', ['--net', '--mount', process.execPath, child, directory, name], {
        encoding: 'utf8',
        timeout: 15_000,
      });
      expect(run.stderr).to.equal('');
      expect(run.status).to.equal(0);
      expect(run.stdout).to.equal(`${name} done\n`);
    });
  }
});
