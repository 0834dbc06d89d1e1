// SPDX-License-Identifier: Apache-2.0
// What is read from the host's commands and files, as they print it.
import { expect } from 'chai';
import fc from 'fast-check';
import { parseIp4 } from '../../../src/addr/ip.ts';
import { parseSockets } from '../../../src/host/sockets.ts';
import { execCommand, execLine, run } from '../../../src/host/exec.ts';
import { kernelIsSupported, missingCapabilities } from '../../../src/host/preflight.ts';
import { throwErrors, type Finding } from '../../../src/plan/findings.ts';
import { formatPortList, parsePortList } from '../../../src/plan/ports.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { holds } from '../../helpers/property.ts';

describe('host: what is read', () => {
  it('names the capabilities that are missing; CAP_SYS_ADMIN stands for CAP_BPF', () => {
    const status = (hex: string) => `Name:\tnode\nCapEff:\t${hex}\nCapBnd:\t000001ffffffffff\n`;
    expect(missingCapabilities(status('000001ffffffffff'))).to.deep.equal([]);
    expect(missingCapabilities(status('0000000000000000'))).to.deep.equal(['CAP_NET_ADMIN', 'CAP_BPF']);
    expect(missingCapabilities(status('0000008000001000'))).to.deep.equal([]);
    expect(missingCapabilities(status('0000000000201000'))).to.deep.equal([]);
    expect(missingCapabilities(status('0000008000000000'))).to.deep.equal(['CAP_NET_ADMIN']);
  });

  it('knows kernels of 6.1 and newer', () => {
    for (const version of ['6.1.0-13-amd64', '6.8.0-31-generic', '10.0'])
      expect(kernelIsSupported(version), version).to.equal(true);
    for (const version of ['5.15.0-105-generic', '6.0.9', 'something'])
      expect(kernelIsSupported(version), version).to.equal(false);
  });

  it('reads the sockets that ss lists: wildcards, mapped and scoped addresses, programs; IPv6-only ones aside', () => {
    const rows = parseSockets(`
udp   UNCONN 0      0          127.0.0.53%lo:53        0.0.0.0:*    users:(("resolved",pid=1,fd=13))
tcp   LISTEN 0      128              0.0.0.0:22        0.0.0.0:*
tcp   LISTEN 0      511                    *:61080           *:*    users:(("nginx",pid=7,fd=6),("nginx",pid=8,fd=6))
tcp   LISTEN 0      128                 [::]:23           [::]:*
tcp   ESTAB  0      0            203.0.113.2:62001 198.51.100.1:443
tcp   ESTAB  0      0   [::ffff:203.0.113.2]:62002 [::ffff:198.51.100.1]:443
tcp   TIME-WAIT 0   0            203.0.113.2:62003 198.51.100.1:443
`);
    const at = parseIp4('203.0.113.2');
    expect(rows).to.deep.equal([
      { protocol: 'udp', v4: parseIp4('127.0.0.53'), port: 53, listens: true, program: 'resolved' },
      { protocol: 'tcp', v4: undefined, port: 22, listens: true, program: undefined },
      { protocol: 'tcp', v4: undefined, port: 61080, listens: true, program: 'nginx' },
      { protocol: 'tcp', v4: at, port: 62001, listens: false, program: undefined },
      { protocol: 'tcp', v4: at, port: 62002, listens: false, program: undefined },
    ]);
  });

  it('lists of ports keep their ports, in the kernel’s way of writing', () => {
    expect(formatPortList(parsePortList('9148-9150,8080,9151'))).to.equal('8080,9148-9151');
    expect(formatPortList(parsePortList(''))).to.equal('');
    holds(
      fc.property(fc.uniqueArray(fc.integer({ min: 1, max: 65535 }), { maxLength: 50 }), (ports) => {
        expect([...parsePortList(formatPortList(new Set(ports)))]).to.deep.equal(ports.toSorted((a, b) => a - b));
      }),
    );
  });

  it('says which package brings a missing command, and what a failing one said', async () => {
    const error = async (promise: Promise<unknown>): Promise<Gate64Error> =>
      promise.then(
        () => Promise.reject(new Error('no error')),
        (e: unknown) => (e instanceof Gate64Error ? e : Promise.reject(new Error(String(e)))),
      );
    const path = process.env['PATH'];
    process.env['PATH'] = '/nonexistent';
    const missing = await error(execCommand('nft', ['-v'])).finally(() => (process.env['PATH'] = path));
    expect(missing.hint).to.equal('Install the package nftables. On Debian and Ubuntu: apt-get install -y nftables');
    const failed = await error(run(execCommand, 'ip', ['link', 'show', 'nonesuch0']));
    expect(failed.code).to.equal('G64_HOST_COMMAND');
    expect(failed.message).to.match(/exit code 1: Device "nonesuch0" does not exist/);
  });

  it('a line of a finding is run by a shell, to its end', async () => {
    expect(await execLine(`echo "a b" && echo no >&2 && exit 3`)).to.deep.equal({
      exit: 3,
      stdout: 'a b\n',
      stderr: 'no\n',
    });
  });

  it('turns findings into one error that names them all; warnings are none', () => {
    const first: Finding = { name: 'uplink-missing', severity: 'error', message: 'no way out', remedy: 'make one' };
    const second: Finding = { name: 'pool-overlaps', severity: 'error', message: 'taken' };
    const warning: Finding = { name: 'pool-ports-in-use', severity: 'warning', message: 'may be taken' };
    expect(() => throwErrors([warning])).not.to.throw();
    expect(() => throwErrors([warning, first, second]))
      .to.throw(Gate64Error, 'no way out (and also: taken)')
      .with.property('hint', 'make one');
  });
});
