// SPDX-License-Identifier: Apache-2.0
// make(): the commands that changes become, in their order, and what is said of the one that failed.

import { expect } from 'chai';
import { parseIp4, parseIp4Net } from '../../../src/addr/ip.ts';
import { Gate64Error } from '../../../src/errors.ts';
import type { Change } from '../../../src/host/changes.ts';
import type { Exec, ExecResult } from '../../../src/host/exec.ts';
import { make } from '../../../src/host/make.ts';
import { NO_RECORD } from '../plan/support.ts';

const DONE: ExecResult = { exit: 0, stdout: '', stderr: '' };
const failed = (stderr: string, exit = 1): ExecResult => ({ exit, stdout: '', stderr });

const PREFIX = { family: 6, dst: '64:ff9b::/96' } as const;
const add = (route: { family: 4 | 6; dst: string }, guard = false): Change => ({
  kind: 'route',
  verb: 'add',
  route: { ...route, guard },
  device: 'gate64',
});
const host = (n: number) => add({ family: 4, dst: `192.0.2.${n}/32` });
const SYSCTL: Change = { kind: 'sysctl', name: 'ipv4/conf/up0/forwarding', value: '1' };
const RECORD: Change = { kind: 'record', record: { ...NO_RECORD, device: 'gate64' } };
const masquerade = (...nets: string[]): Change => ({
  kind: 'masquerade',
  closed: [],
  leaving: [],
  lost: [],
  opened: [],
  nets: nets.map(parseIp4Net),
  device: 'gate64',
  times: { udp: 300, tcpEstablished: 7440, tcpTransitory: 240 },
});

/** Everything that was done, in order; commands as `ip -batch - <the first line`, … */
class Recorder {
  readonly done: string[] = [];
  readonly inputs: (string | undefined)[] = [];
  readonly args: (readonly string[])[] = [];
  /** What commands answer, by how they begin. */
  answers: Record<string, ExecResult> = {};
  refuses: (args: readonly string[]) => boolean = () => false;

  readonly exec: Exec = (command, args, input) => {
    const line = [command, ...args].join(' ');
    this.done.push(line);
    this.inputs.push(input);
    this.args.push(args);
    if (this.refuses(args)) return Promise.resolve(failed('Error: Operation not supported\n'));
    const known = Object.entries(this.answers).find(([beginning]) => line.startsWith(beginning));
    return Promise.resolve(known?.[1] ?? DONE);
  };

  make(changes: readonly Change[]): Promise<void> {
    const { exec, done } = this;
    return make(
      {
        exec,
        sysctls: { read: () => undefined, write: (name, value) => void done.push(`sysctl ${name}=${value}`) },
        state: {
          read: () => NO_RECORD,
          write: ({ device }) => void done.push(`record ${device}`),
        },
      },
      changes,
    );
  }

  async refusal(changes: readonly Change[]): Promise<Gate64Error> {
    return this.make(changes).then(
      () => expect.fail('nothing failed'),
      (error: unknown) => (error instanceof Gate64Error ? error : Promise.reject(error as Error)),
    );
  }
}

describe('host/make', () => {
  let recorder: Recorder;
  beforeEach(() => (recorder = new Recorder()));

  it('runs nothing for nothing', async () => {
    await recorder.make([]);
    expect(recorder.done).to.deep.equal([]);
  });

  it('tells ip of consecutive changes at once, one line each, in their order', async () => {
    await recorder.make([
      { kind: 'removeDevice', name: 'old0' },
      { kind: 'addDevice', name: 'gate64', mtu: 9000 },
      { kind: 'setDevice', name: 'gate64x', set: ['arp', 'off'] },
      { kind: 'flushAddresses', name: 'gate64' },
      add(PREFIX, true),
      add(PREFIX),
      { kind: 'route', verb: 'del', route: { ...PREFIX, guard: true }, device: 'gate64' },
      { kind: 'proxy', verb: 'add', proxy: { v4: parseIp4('203.0.113.8'), device: 'up0' } },
      { kind: 'proxy', verb: 'del', proxy: { v4: parseIp4('203.0.113.9'), device: 'up0' } },
    ]);
    expect(recorder.done).to.deep.equal(['ip -batch -']);
    expect(recorder.inputs[0]).to.equal(`link del old0
link add gate64 address 02:64:00:00:00:01 type veth peer name gate64x address 02:64:00:00:00:02
link set gate64 addrgenmode none arp off mtu 9000
link set gate64x addrgenmode none arp off mtu 9000
link set gate64x up
link set gate64 up
link set gate64x arp off
address flush dev gate64
route add unreachable 64:ff9b::/96 metric 4294967295 proto 64
route add 64:ff9b::/96 dev gate64 proto 64
route del unreachable 64:ff9b::/96 metric 4294967295 proto 64
neighbour add proxy 203.0.113.8 dev up0
neighbour del proxy 203.0.113.9 dev up0
`);
  });

  it('200 routes are one command', async () => {
    await recorder.make(Array.from({ length: 200 }, (_, i) => host(i + 1)));
    expect(recorder.done).to.deep.equal(['ip -batch -']);
    const lines = recorder.inputs[0]?.trimEnd().split('\n') ?? [];
    expect(lines).to.have.length(200);
    expect(lines.at(-1)).to.equal('route add 192.0.2.200/32 dev gate64 proto 64');
  });

  it('keeps the order where others than ip have their turn between', async () => {
    await recorder.make([
      RECORD,
      host(1),
      SYSCTL,
      host(2),
      host(3),
      masquerade('192.0.0.0/29'),
      RECORD,
      SYSCTL,
      host(4),
    ]);
    expect(recorder.done.map((line) => line.split(' ').slice(0, 2).join(' '))).to.deep.equal([
      'record gate64',
      'ip -batch',
      'sysctl ipv4/conf/up0/forwarding=1',
      'ip -batch',
      'nft add',
      'record gate64',
      'sysctl ipv4/conf/up0/forwarding=1',
      'ip -batch',
    ]);
    expect(recorder.inputs.filter((input) => input?.startsWith('route'))).to.deep.equal([
      'route add 192.0.2.1/32 dev gate64 proto 64\n',
      'route add 192.0.2.2/32 dev gate64 proto 64\nroute add 192.0.2.3/32 dev gate64 proto 64\n',
      'route add 192.0.2.4/32 dev gate64 proto 64\n',
    ]);
  });

  describe('a failure', () => {
    const batch = (stderr: string, exit = 1) => (recorder.answers = { 'ip -batch': failed(stderr, exit) });

    it('of ip names the very line, and what ip said of it', async () => {
      batch('RTNETLINK answers: File exists\nCommand failed -:3\n');
      const error = await recorder.refusal([host(1), host(2), host(3), host(4), SYSCTL]);
      expect(error.code).to.equal('G64_HOST_COMMAND');
      expect(error.message).to.equal(
        '"ip route add 192.0.2.3/32 dev gate64 proto 64" failed with exit code 1: RTNETLINK answers: File exists',
      );
      expect(recorder.done, 'nothing comes after it').to.deep.equal(['ip -batch -']);
    });

    it('of ip counts lines, of which a device has several', async () => {
      batch('Error: mtu greater than device maximum.\nCommand failed -:3\n', 2);
      const error = await recorder.refusal([{ kind: 'addDevice', name: 'gate64', mtu: 9000 }, host(1)]);
      expect(error.message).to.equal(
        '"ip link set gate64x addrgenmode none arp off mtu 9000" failed with exit code 2: Error: mtu greater than device maximum.',
      );
    });

    it('of ip that says little still names a line', async () => {
      batch('', 255);
      expect((await recorder.refusal([host(1), host(2)])).message).to.equal(
        '"ip route add 192.0.2.1/32 dev gate64 proto 64" failed with exit code 255: it said nothing',
      );
      batch('Command failed -:9\n');
      expect((await recorder.refusal([host(1), host(2)])).message).to.match(/192\.0\.2\.1.*it said nothing/);
    });

    it('of a later batch counts from its own first line', async () => {
      const { exec } = recorder;
      let batches = 0;
      const tools = {
        exec: ((command, args, input) => {
          void exec(command, args, input);
          return Promise.resolve(++batches === 2 ? failed('No such device\nCommand failed -:1') : DONE);
        }) satisfies Exec,
        sysctls: { read: () => undefined, write: () => undefined },
        state: { read: () => NO_RECORD, write: () => undefined, remove: () => false },
      };
      const error = await make(tools, [host(1), host(2), SYSCTL, host(3)]).catch((reason: unknown) => reason);
      expect(error)
        .to.be.instanceOf(Gate64Error)
        .with.property('message')
        .that.match(/192\.0\.2\.3.*No such device$/);
    });

    it('of nft says what nft said', async () => {
      recorder.answers = { nft: failed('Error: Operation not permitted\n') };
      const error = await recorder.refusal([masquerade('192.0.0.0/29'), host(1)]);
      expect(error.message).to.match(/^"nft add table [^]*failed with exit code 1: Error: Operation not permitted$/);
      expect(recorder.done, 'with times and without').to.have.length(2);
    });
  });

  describe('the nftables table', () => {
    const script = () => recorder.args.at(-1)?.join(' ') ?? '';

    it('is one transaction, which replaces the one before and has the times of the configuration', async () => {
      await recorder.make([masquerade('192.0.0.0/29', '192.0.2.7')]);
      expect(recorder.done).to.have.length(1);
      expect(script()).to.match(/^add table ip gate64\n delete table ip gate64\n table ip gate64 \{\n/);
      expect(script())
        .to.include('ip saddr 192.0.2.7/32 oifname != "gate64" goto ours')
        .and.include('meta l4proto udp ct timeout set "gate64-udp"')
        .and.include('policy = { unreplied: 300, replied: 300 }')
        .and.match(/established: 7440, .*time_wait: 10/);
    });

    it('goes without times where the kernel takes none', async () => {
      recorder.refuses = (args) => args.join(' ').includes('ct timeout');
      await recorder.make([masquerade('192.0.0.0/29')]);
      expect(recorder.done).to.have.length(2);
      expect(script()).to.include('masquerade').and.not.include('ct timeout');
    });

    it('of as many networks as there can be has no argument that is too long for the kernel', async () => {
      const nets = Array.from({ length: 1024 }, (_, i) => `10.0.${i >> 7}.${(i & 127) * 2}`);
      await recorder.make([masquerade(...nets)]);
      // MAX_ARG_STRLEN of linux/binfmts.h.
      expect(Math.max(...recorder.args.flat().map(({ length }) => length))).to.be.below(131_072);
      expect(script().match(/goto ours/g)).to.have.length(1024);
    });

    it('goes where there is one', async () => {
      const list = 'nft -j list table ip gate64';
      recorder.answers = { [list]: { ...DONE, stdout: '{"nftables":[]}' } };
      await recorder.make([masquerade()]);
      expect(recorder.done).to.deep.equal([list, 'nft delete table ip gate64']);

      recorder = new Recorder();
      recorder.answers = { [list]: failed('Error: No such file or directory\n') };
      await recorder.make([masquerade()]);
      expect(recorder.done).to.deep.equal([list]);
    });
  });
});
