// SPDX-License-Identifier: Apache-2.0
// The command gate64 finds its own files and its Node from anywhere, and says so when there is no Node.

import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';

const launcher = join(import.meta.dirname, '../../../src/launcher/gate64.sh');
const SYSTEM_PATH = '/usr/bin:/bin';

describe('launcher', () => {
  let root: string;
  let command: string;

  beforeEach(() => {
    // A blank in the path, since people have them.
    root = join(mkdtempSync(join(tmpdir(), 'gate64-launcher-')), 'a checkout');
    mkdirSync(join(root, 'dist/lib/cli'), { recursive: true });
    command = join(root, 'dist/gate64');
    copyFileSync(launcher, command);
    chmodSync(command, 0o755);
    writeFileSync(join(root, 'package.json'), '{ "type": "module" }');
    const program = 'console.log(JSON.stringify([process.argv.slice(2), process.ppid])); process.exitCode = 3;';
    writeFileSync(join(root, 'dist/lib/cli/main.js'), program);
  });

  afterEach(() => rmSync(join(root, '..'), { recursive: true, force: true }));

  const run = (path: string, args: string[], env: NodeJS.ProcessEnv = { PATH: SYSTEM_PATH }) =>
    spawnSync(path, args, { cwd: '/', env, encoding: 'utf8' });

  for (const place of ['.tools/bin', 'bin']) {
    it(`uses the Node in ${place}, through symbolic links, as one process`, () => {
      mkdirSync(join(root, place), { recursive: true });
      symlinkSync(process.execPath, join(root, place, 'node'));
      symlinkSync(command, join(root, 'second'));
      symlinkSync('second', join(root, 'first'));
      const { stdout, stderr, status } = run(join(root, 'first'), ['addr', 'two words', '']);
      expect(stderr).to.equal('');
      // A parent that is this process: the shell has become Node, so signals reach gate64 itself.
      expect(JSON.parse(stdout)).to.deep.equal([['addr', 'two words', ''], process.pid]);
      expect(status).to.equal(3);
    });
  }

  it('has V8 keep its heap small', () => {
    mkdirSync(join(root, 'bin'));
    symlinkSync(process.execPath, join(root, 'bin/node'));
    const program = 'console.log(...process.execArgv)';
    writeFileSync(join(root, 'dist/lib/cli/main.js'), program);
    writeFileSync(join(root, 'package.json'), '{}');
    const { stdout, stderr } = run(command, []);
    expect(stderr).to.equal('');
    expect(stdout.trim().split(' ')).to.deep.equal([
      '--no-parallel-scavenge',
      '--max-semi-space-size=8',
      '--heap-growing-percent=40',
    ]);
  });

  /** Runs the command with a Node on PATH that calls itself `version`, and is this one otherwise. */
  function runWith(version: string) {
    const folder = join(root, 'elsewhere');
    mkdirSync(folder);
    const preload = join(folder, 'version.cjs');
    writeFileSync(preload, `Object.defineProperty(process, 'versions', { value: { node: '${version}' } });`);
    const node = `#!/bin/sh\nexec '${process.execPath}' --require '${preload}' "$@"\n`;
    writeFileSync(join(folder, 'node'), node, { mode: 0o755 });
    for (const tool of ['readlink', 'dirname', 'sh']) symlinkSync(join('/usr/bin', tool), join(folder, tool));
    return run(command, ['version'], { PATH: folder });
  }

  it('takes a Node on PATH that is new enough by package.json', () => {
    const { engines } = JSON.parse(readFileSync(join(import.meta.dirname, '../../../package.json'), 'utf8'));
    const { stdout, stderr, status } = runWith(`${/^>=(\d+)$/.exec(engines.node)?.[1]}.0.0`);
    expect(stderr).to.equal('');
    expect(JSON.parse(stdout)[0]).to.deep.equal(['version']);
    expect(status).to.equal(3);
  });

  it('passes by a Node on PATH that is too old, and says what to do', () => {
    const { stdout, stderr, status } = runWith('23.11.0');
    expect(stdout).to.equal('');
    expect(stderr).to.match(/no Node\.js 24 or newer.*make deps/);
    expect(status).to.equal(1);
  });
});
