// SPDX-License-Identifier: Apache-2.0
// The sandbox and the CoreDNS of the other tests are what those tests take them for.

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { startCoreDns } from '../helpers/parts.ts';

const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: 'utf8' });

describe('sandbox', () => {
  it('has no device but loopback, no pin and no named namespace', () => {
    expect(process.env['GATE64_SANDBOX'], 'run this layer with `make test-netns`').to.equal('1');
    // Loaded tunnel modules put one idle device of theirs into every namespace.
    const fallback = /^(?:sit|tunl|gre|gretap|erspan|ip6tnl|ip6gre|ip_vti|ip6_vti)0$/;
    expect(readdirSync('/sys/class/net').filter((name) => !fallback.test(name))).to.deep.equal(['lo']);
    expect(run('ip', 'netns', 'list')).to.equal('');
    expect(readdirSync('/sys/fs/bpf').filter((name) => !name.endsWith('.debug'))).to.deep.equal([]);
  });
});

describe('sandbox of its own', () => {
  const sandbox = join(import.meta.dirname, '../helpers/sandbox.sh');

  it('passes arguments and exit code on', () => {
    const { status, stdout } = spawnSync(sandbox, ['sh', '-c', 'echo "$1"; exit 7', '-', 'two words'], {
      encoding: 'utf8',
    });
    expect([stdout.trim(), status]).to.deep.equal(['two words', 7]);
  });

  it('leaves no process and no namespace behind when it is killed', async () => {
    // A duration nobody else sleeps for tells the orphan apart.
    const script = 'ip netns add left-behind; echo ready; exec sleep 86399.25';
    const child = spawn(sandbox, ['sh', '-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    const sleepers = () =>
      readdirSync('/proc').filter((name) => {
        if (!/^\d+$/.test(name)) return false;
        try {
          return readFileSync(`/proc/${name}/cmdline`, 'utf8') === 'sleep\x0086399.25\0';
        } catch {
          return false; // it ended meanwhile
        }
      });
    const deadline = performance.now() + 5000;
    while (sleepers().length === 0 && performance.now() < deadline) await setTimeout(20);
    expect(sleepers()).to.have.length(1);
    child.kill('SIGKILL');
    while (sleepers().length > 0 && performance.now() < deadline) await setTimeout(20);
    expect(sleepers()).to.have.length(0);
    expect(run('ip', 'netns', 'list')).to.equal('');
  });
});

describe('CoreDNS', () => {
  it('serves what its Corefile says, in a namespace of its own', async () => {
    run('ip', 'netns', 'add', 'parts');
    try {
      run('ip', '-n', 'parts', 'link', 'set', 'lo', 'up');
      const corefile = 'example:5353 {\n  errors\n  hosts {\n    2001:db8::5 five.example\n  }\n}\n';
      const coredns = await startCoreDns(corefile, { netns: 'parts' });
      try {
        const dig = ['--net=/run/netns/parts', 'dig', '+short', '-p', '5353', '@127.0.0.1', 'five.example', 'AAAA'];
        expect(run('nsenter', ...dig).trim()).to.equal('2001:db8::5');
      } finally {
        await coredns.stop();
      }
      expect(coredns.exitCode()).to.not.equal(undefined);
    } finally {
      run('ip', 'netns', 'delete', 'parts');
    }
  });

  it('says why it does not start', async () => {
    let message = '';
    await startCoreDns('example:5353 {\n  nonsense\n}\n').catch((error: Error) => {
      message = error.message;
    });
    expect(message).to.include('nonsense');
  });
});
