// SPDX-License-Identifier: Apache-2.0
// The command line as a process: exit codes, streams, pipes that close.

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect } from 'chai';
import { withFile } from './helper.ts';

const MAIN = join(import.meta.dirname, '../../../src/cli/main.ts');

function gate64(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  return { status, stdout, stderr };
}

describe('the gate64 process', () => {
  it('prints JSON into a pipe and exits 0', () => {
    const { status, stdout, stderr } = gate64('addr', '198.51.100.7', '--prefix', '2001:db8:64::/96');
    expect([status, stderr]).to.deep.equal([0, '']);
    expect(JSON.parse(stdout)).to.include({ ipv6: '2001:db8:64::c633:6407', refused: null });
  });

  it('exits 1 for a wrong configuration, with a line a problem and no stack', async () => {
    await withFile('prefix: 2001:db8::/72\ndns: { listen: [127.0.0.1] }\n', (file) => {
      for (const command of ['check', 'run', 'addr']) {
        const { status, stdout, stderr } = gate64(command, ...(command === 'addr' ? ['192.0.2.1'] : []), '-c', file);
        expect([status, stdout]).to.deep.equal([1, '']);
        expect(stderr.trimEnd().split('\n')).to.have.length(2);
        expect(stderr).to.include(`${file}:1:9: `).and.include(`${file}:2:17: `);
      }
      return Promise.resolve();
    });
  });

  it('exits 2 when called wrongly', () => {
    expect(gate64('sessions', '--proto', 'x')).to.deep.include({ status: 2, stdout: '' });
  });

  it('takes a reader that goes away, as `| head` does, for no error', async () => {
    const child = spawn(process.execPath, [MAIN, '--help'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    const errors: string[] = [];
    child.stderr.on('data', (data) => errors.push(String(data)));
    const [code] = await once(child, 'close');
    expect([code, errors.join('')]).to.deep.equal([0, '']);
  });
});
