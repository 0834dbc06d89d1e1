// SPDX-License-Identifier: Apache-2.0
// The sandbox and the CoreDNS of the other tests are what those tests take them for.

import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { expect } from 'chai';
import { startCoreDns } from '../helpers/parts.ts';

const run = (command: string, ...args: string[]) => execFileSync(command, args, { encoding: 'utf8' });

describe('sandbox', () => {
  it('has no device but loopback, no pin and no named namespace', () => {
    expect(process.env['GATE64_SANDBOXED'], 'run this layer with `make test-netns`').to.equal('1');
    // Loaded tunnel modules put one idle device of theirs into every namespace.
    const fallback = /^(?:sit|tunl|gre|gretap|erspan|ip6tnl|ip6gre|ip_vti|ip6_vti)0$/;
    expect(readdirSync('/sys/class/net').filter((name) => !fallback.test(name))).to.deep.equal(['lo']);
    expect(run('ip', 'netns', 'list')).to.equal('');
    expect(readdirSync('/sys/fs/bpf').filter((name) => !name.endsWith('.debug'))).to.deep.equal([]);
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
