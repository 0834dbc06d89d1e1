// SPDX-License-Identifier: Apache-2.0
// gate64 doctor: what it shows, and its exit codes.

import { expect } from 'chai';
import type { CliContext } from '../../../src/cli/context.ts';
import { Gate64Error } from '../../../src/errors.ts';
import type { ExecResult } from '../../../src/host/exec.ts';
import type { Finding } from '../../../src/plan/findings.ts';
import { cli, withFile } from './helper.ts';

const WARNING: Finding = {
  name: 'forwarding-off',
  severity: 'warning',
  message: 'the node does not forward IPv6',
  remedy: 'sysctl -w a=1 (and more).',
  command: 'sysctl -w a=1',
};
const ERROR: Finding = { name: 'pool-holds-gateway', severity: 'error', message: 'the pool holds the gateway' };

function setup(findings: readonly Finding[], more: Partial<CliContext> = {}) {
  return { context: { examine: () => Promise.resolve({ findings, unseen: undefined }), ...more } };
}
const READY: Partial<CliContext> = {
  fetchReadiness: () => Promise.resolve({ ready: true, says: ['dns: ready', 'nat64: ready'] }),
};

describe('gate64 doctor', () => {
  it('says in one line each that the node is healthy and that the service is ready, and exits 0', async () => {
    expect(await cli(['doctor', '-o', 'table'], setup([], READY))).to.deep.equal({
      code: 0,
      stdout: 'nothing is wrong with this node\nthe service at 127.0.0.1:9164 is ready\n',
      stderr: '',
    });
  });

  it('exits 0 with warnings, each with what to do and the command, and without a service', async () => {
    const result = await cli(['doctor', '-o', 'table'], setup([WARNING]));
    expect(result.code).to.equal(0);
    expect(result.stdout).to.equal(
      [
        'warning: forwarding-off: the node does not forward IPv6',
        '  to do: sysctl -w a=1 (and more).',
        '  run: sysctl -w a=1',
        'no service runs: nothing answers at 127.0.0.1:9164',
        '',
      ].join('\n'),
    );
  });

  it('exits 1 with an error among the findings; the JSON has all of them, in one shape', async () => {
    const { code, stdout } = await cli(['doctor'], setup([WARNING, ERROR], READY));
    expect(code).to.equal(1);
    expect(JSON.parse(stdout)).to.deep.equal({
      healthy: false,
      unseen: null,
      findings: [
        { ...WARNING, code: 'G64_FORWARDING_OFF' },
        { ...ERROR, code: 'G64_POOL_COLLISION', remedy: null, command: null },
      ],
      service: { at: '127.0.0.1:9164', running: true, ready: true, says: ['dns: ready', 'nat64: ready'] },
      ran: [],
    });
  });

  it('says why the service is not ready, which is no finding', async () => {
    const says = ['dns: ready', 'nat64: not ready: the uplink eth0 is down'];
    const answers = setup([], { fetchReadiness: () => Promise.resolve({ ready: false, says }) });
    const { code, stdout } = await cli(['doctor', '-o', 'table'], answers);
    expect(code).to.equal(0);
    expect(stdout).to.include(`the service at 127.0.0.1:9164 is not ready:\n  ${says.join('\n  ')}\n`);
    expect(JSON.parse((await cli(['doctor'], answers)).stdout)).to.include({ healthy: false });
  });

  it('says that the service does not answer, or that somebody else does', async () => {
    const error = new Gate64Error('G64_SERVICE_DOWN', 'no answer within 2 s');
    const answers = setup([], { fetchReadiness: () => Promise.reject(error) });
    const { code, stdout } = await cli(['doctor'], answers);
    expect(code).to.equal(0);
    const { healthy, service } = JSON.parse(stdout);
    expect(healthy).to.equal(false);
    expect(service).to.deep.equal({ at: '127.0.0.1:9164', running: true, ready: null, says: [error.message] });
  });

  it('says why the node was not looked at', async () => {
    const lacking = { examine: () => Promise.resolve({ findings: [ERROR], unseen: '"nft" failed' }) };
    const { code, stdout } = await cli(['doctor', '-o', 'table'], { context: lacking });
    expect(code).to.equal(1);
    expect(stdout).to.match(/^the node was not looked at: "nft" failed$/m);
  });

  it('looks at the node of the configuration, and at none for DNS alone', async () => {
    const seen: string[] = [];
    const context: Partial<CliContext> = {
      examine: ({ nat64 }) => Promise.resolve((seen.push(nat64.device), { findings: [], unseen: undefined })),
      fetchReadiness: ({ port }) => Promise.resolve((seen.push(`${port}`), undefined)),
    };
    await withFile('nat64: { device: nat6 }\nhttp: { listen: "127.0.0.1:9999" }\n', async (file) => {
      await cli(['doctor', '-c', file], { context });
    });
    expect(seen.splice(0)).to.deep.equal(['nat6', '9999']);
    await withFile('nat64: { enabled: false }\n', async (file) => {
      const { stdout, code } = await cli(['doctor', '-c', file, '-o', 'table'], { context });
      expect(code).to.equal(0);
      expect(stdout).to.match(/^the node was not looked at: nat64\.enabled is false/);
    });
    expect(seen).to.deep.equal(['9164']);
  });

  describe('--fix', () => {
    const SAFE: Finding = { ...WARNING, isSafe: true };
    const UNSAFE: Finding = { ...ERROR, command: 'ip -6 route del 64:ff9b::/96 dev other0' };
    const MTU: Finding = {
      ...SAFE,
      name: 'device-mtu-small',
      severity: 'error',
      command: 'ip link set dev gate64 mtu 9000',
    };

    /** A node where `commands` mends what it has a finding for; `results` are what commands come to. */
    function node(findings: readonly Finding[], results: Readonly<Record<string, ExecResult | Gate64Error>> = {}) {
      const ran: string[] = [];
      let looks = 0;
      const isMended = ({ command = '' }: Finding) => ran.includes(command) && results[command] === undefined;
      const context: Partial<CliContext> = {
        examine: () => (
          looks++,
          Promise.resolve({ findings: findings.filter((one) => !isMended(one)), unseen: undefined })
        ),
        runLine: async (text) => {
          ran.push(text);
          const result = results[text] ?? { exit: 0, stdout: `did ${text}\n`, stderr: '' };
          if (result instanceof Gate64Error) throw result;
          return result;
        },
      };
      return { context, ran, looks: () => looks };
    }

    it('runs what is safe alone, each once, says what it ran and what that said, and looks a second time', async () => {
      const { context, ran, looks } = node([SAFE, MTU, { ...SAFE }, UNSAFE]);
      const { code, stdout } = await cli(['doctor', '--fix', '-o', 'table'], { context });
      expect(ran).to.deep.equal(['sysctl -w a=1', 'ip link set dev gate64 mtu 9000']);
      expect(looks()).to.equal(2);
      expect(code, 'what is not safe is left').to.equal(1);
      expect(stdout).to.equal(
        [
          'ran for forwarding-off: sysctl -w a=1: done',
          '  did sysctl -w a=1',
          'ran for device-mtu-small: ip link set dev gate64 mtu 9000: done',
          '  did ip link set dev gate64 mtu 9000',
          'error: pool-holds-gateway: the pool holds the gateway',
          '  run: ip -6 route del 64:ff9b::/96 dev other0',
          'no service runs: nothing answers at 127.0.0.1:9164',
          '',
        ].join('\n'),
      );
    });

    it('exits as after the second look', async () => {
      expect((await cli(['doctor'], node([MTU]))).code).to.equal(1);
      const { code, stdout } = await cli(['doctor', '--fix'], node([MTU]));
      expect(code).to.equal(0);
      expect(JSON.parse(stdout)).to.deep.include({
        healthy: true,
        findings: [],
        ran: [{ name: MTU.name, command: MTU.command, exit: 0, says: [`did ${MTU.command}`] }],
      });
    });

    it('goes on after a command that fails or cannot be run, and still has its finding', async () => {
      const other: Finding = { ...SAFE, name: 'route-missing', command: 'ip -6 route add 64:ff9b::/96 dev gate64' };
      const { context, ran } = node([MTU, SAFE, other], {
        [MTU.command as string]: { exit: 2, stdout: '', stderr: 'RTNETLINK answers: Operation not permitted\n' },
        [SAFE.command as string]: new Gate64Error('G64_HOST_COMMAND', 'it did not end within 15 s'),
      });
      const { code, stdout } = await cli(['doctor', '--fix', '-o', 'table'], { context });
      expect(ran).to.have.length(3);
      expect(code).to.equal(1);
      expect(stdout).to.include(
        `${MTU.command}: failed with exit code 2\n  RTNETLINK answers: Operation not permitted\n`,
      );
      expect(stdout).to.include('sysctl -w a=1: failed\n  it did not end within 15 s\n');
      expect(stdout).to.match(/^error: device-mtu-small: /m);
      expect(stdout).to.not.match(/^warning: route-missing: /m);
    });

    it('runs nothing on a healthy node, and looks once', async () => {
      const { context, ran, looks } = node([UNSAFE]);
      await cli(['doctor', '--fix'], { context });
      expect([ran, looks()]).to.deep.equal([[], 1]);
    });

    it('runs nothing that it was not asked to', async () => {
      const { context, ran } = node([SAFE]);
      await cli(['doctor'], { context });
      expect(ran).to.deep.equal([]);
    });
  });

  it('exits 2 when called wrongly', async () => {
    for (const args of [['--nope'], ['-o', 'xml'], ['more']]) {
      expect((await cli(['doctor', ...args])).code, args.join(' ')).to.equal(2);
    }
  });
});
