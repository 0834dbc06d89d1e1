// SPDX-License-Identifier: Apache-2.0
// The lock of the one gate64 of a network namespace, among processes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { InstanceLock } from '../../../src/host/instance-lock.ts';

const MODULE = new URL('../../../src/host/instance-lock.ts', import.meta.url).href;

describe('instance lock', () => {
  let base: string;
  let folder: string;
  beforeEach(() => {
    base = mkdtempSync(join(tmpdir(), 'gate64-lock-'));
    folder = join(base, 'gate64');
  });
  afterEach(() => rmSync(base, { recursive: true, force: true }));

  it('is held by one at a time, and leaves nothing', () => {
    const first = InstanceLock.take('stop it', folder);
    expect(() => InstanceLock.take('stop it', folder))
      .to.throw('a gate64 service with a NAT64 runs on this node already')
      .with.property('code', 'G64_ALREADY_RUNNING');
    first[Symbol.dispose]();
    const second = InstanceLock.take('stop it', folder);
    expect(existsSync(folder)).to.equal(true);
    second[Symbol.dispose]();
    expect(readdirSync(base)).to.deep.equal([]);
  });

  it('keeps what else lies in its folder', () => {
    const lock = InstanceLock.take('', folder);
    writeFileSync(join(folder, 'host.json'), '{}');
    lock[Symbol.dispose]();
    expect(readdirSync(folder)).to.deep.equal(['host.json']);
  });

  it('is nobody else’s to open', () => {
    using _lock = InstanceLock.take('', folder);
    const [name] = readdirSync(folder);
    expect(statSync(join(folder, name as string)).mode & 0o777).to.equal(0o600);
  });

  it('is held against other processes, and free at once when one is killed', async () => {
    const script = `import { InstanceLock } from ${JSON.stringify(MODULE)};
      globalThis.lock = InstanceLock.take('', ${JSON.stringify(folder)});
      console.log('held'); setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    expect(() => InstanceLock.take('', folder)).to.throw('runs on this node already');
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    expect(readdirSync(folder), 'its file stays').to.have.length(1);
    InstanceLock.take('', folder)[Symbol.dispose]();
  });

  it('cannot be taken by who holds a socket of that name', async () => {
    const server = createServer().listen({ path: '\0gate64' });
    await once(server, 'listening');
    try {
      InstanceLock.take('', folder)[Symbol.dispose]();
    } finally {
      server.close();
    }
  });
});
