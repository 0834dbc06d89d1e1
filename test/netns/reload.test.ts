// SPDX-License-Identifier: Apache-2.0
// A reload remakes what changed and nothing else; one that fails leaves everything as it was, in the kernel too.

import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { expect } from 'chai';
import { Gate64, gate64Config, metricSum, type Egress } from '../helpers/gate64.ts';
import { differences, nodeState, type NodeState } from '../helpers/node-state.ts';
import { eventually, type Background } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const COMMANDS = ['ip', 'nft', 'ss', 'tc'];

/** A folder for PATH whose commands note that they were run, in a file that this returns the lines of. */
function countingCommands(directory: string): { path: string; run: () => string[] } {
  const folder = join(directory, 'counted');
  const log = join(directory, 'counted.log');
  mkdirSync(folder);
  writeFileSync(log, '');
  for (const command of COMMANDS) {
    const file = join(folder, command);
    writeFileSync(file, `#!/bin/sh\necho "${command} $*" >>${log}\nPATH=\${PATH#*:}\nexec ${command} "$@"\n`);
    chmodSync(file, 0o755);
  }
  return {
    path: `${folder}:${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`,
    run: () => readFileSync(log, 'utf8').split('\n').slice(0, -1),
  };
}

/** A copy of gate64 as it was built, whose object can be broken. */
function copyOfGate64(directory: string): { program: string; object: string } {
  const copy = join(directory, 'copy');
  cpSync(join(ROOT, 'dist'), join(copy, 'dist'), { recursive: true });
  copyFileSync(join(ROOT, 'package.json'), join(copy, 'package.json'));
  for (const name of ['node_modules', '.tools']) symlinkSync(join(ROOT, name), join(copy, name));
  return { program: join(copy, 'dist/gate64'), object: join(copy, 'dist/bpf/nat64.bpf.o') };
}

/** A queue of blocks that was made stays, hidden from the programs, for when its address comes. */
const differ = (before: NodeState, now: NodeState) =>
  differences(before, now).filter((line) => !/^pins, new: "maps-\d+\/free-\d+"$/.test(line));

/** Tells the service to read its file; gives the log's lines from then until it has. */
async function reload(service: Background): Promise<string> {
  const reads = () => service.log().match(/configuration (reloaded|refused)/g)?.length ?? 0;
  const [before, from] = [reads(), service.log().length];
  service.signal('SIGHUP');
  await eventually('the file was read', () => (reads() > before ? true : undefined));
  return service.log().slice(from);
}

for (const egress of EGRESSES) {
  describe(`a reload, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    let commands: ReturnType<typeof countingCommands>;
    let service: Background;
    let copy: ReturnType<typeof copyOfGate64>;
    let one: string;

    before(async () => {
      scene = await Scene.create({ egress });
      one = await scene.serve('one', 1);
      await scene.gate64.process?.stop(10_000);
      commands = countingCommands(scene.topology.directory);
      copy = copyOfGate64(scene.topology.directory);
      service = scene.gate64.launch({ PATH: commands.path }, copy.program);
      await scene.gate64.ready(service);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const write = (nat64: Parameters<typeof gate64Config>[1] = {}) => scene.gate64.write(gate64Config(egress, nat64));
    const upstreamRequests = async () => metricSum(await scene.gate64.metrics(), 'gate64_dns_upstream_requests_total');
    const answer = (name: string) => scene.topology.sh('node', `dig +short -p 5364 @127.0.0.1 AAAA ${name}`);
    /** Local ports of connected sockets to the upstream resolver. */
    const upstreamSockets = async () =>
      (await scene.topology.sh('node', `ss -Hun dst 198.51.100.10:53`)).split('\n').map((line) => line.split(/\s+/)[3]);
    /** Programs that are attached, by their numbers. */
    const programs = () =>
      scene.topology.sh(
        'node',
        `for link in /sys/fs/bpf/gate64/link-*; do bpftool -j link show pinned $link | grep -o '"prog_id":[0-9]*'; done`,
      );
    const denied = (address: string) =>
      scene.topology.run('pod', ['ping', '-n', '-c', '1', '-W', '2', `64:ff9b::${address}`], { accept: [1] });

    it('that denies one more network starts 10 processes at most and keeps cache, connections, programs', async () => {
      expect(await answer('v4only.example')).to.equal('64:ff9b::c633:640a');
      expect(await answer('other.example')).to.equal('64:ff9b::c633:640b');
      const [asked, sockets, attached] = [await upstreamRequests(), await upstreamSockets(), await programs()];
      expect(sockets).not.to.deep.equal([]);
      const ran = commands.run().length;
      write({ nat64: { deny: ['203.0.113.77/32'] } });
      expect(await reload(service)).to.include('configuration reloaded');
      const processes = commands.run().slice(ran);
      expect(processes.length, processes.join('\n')).to.be.within(1, 10);
      expect((await denied('203.0.113.77')).stdout).to.match(/Administratively prohibited/);

      expect(await answer('v4only.example')).to.equal('64:ff9b::c633:640a');
      expect(await answer('other.example')).to.equal('64:ff9b::c633:640b');
      expect(await upstreamRequests(), 'all from the cache').to.equal(asked);
      expect(await upstreamSockets()).to.include.members(sockets);
      expect(await programs()).to.equal(attached);
    });

    it('with a program that cannot be loaded is refused whole: kernel, node and names are as before', async () => {
      write();
      await reload(service);
      const kernel = async () => ({
        node: await nodeState(scene.topology),
        maps: await scene.topology.sh(
          'node',
          `for map in n64_dst4 n64_src6 n64_pool n64_current; do
             bpftool -j map dump pinned "$(echo /sys/fs/bpf/gate64/maps-*/$map)" | tr '{' '\\n' | sort; done`,
        ),
        attached: await programs(),
      });
      const before = await kernel();
      truncateSync(copy.object, 1000);
      write({
        prefix: ['2001:db8:64::/96', '64:ff9b::/96'],
        nat64: {
          deny: ['198.51.100.99/32'],
          allowSources: ['2001:db8:9::/64'],
          filtering: 'endpointIndependent',
          pool: [{ addresses: egress === 'direct' ? '192.0.2.64/30' : '192.0.0.64/30' }],
        },
      });
      const said = await reload(service);
      expect(said).to.include('configuration refused').and.to.include('G64_DATAPATH_LOAD');
      const now = await kernel();
      expect(differ(before.node, now.node)).to.deep.equal([]);
      expect(now.maps).to.equal(before.maps);
      expect(now.attached).to.equal(before.attached);
      expect(await scene.download('http://[64:ff9b::c633:640a]/one')).to.equal(one);
      expect(await answer('v4only.example')).to.equal('64:ff9b::c633:640a');
      const { code, stdout } = await scene.gate64.http('/readyz');
      expect(code, stdout).to.equal(0);

      // It stays so, and what was refused is taken once it can be.
      copyFileSync(join(ROOT, 'dist/bpf/nat64.bpf.o'), copy.object);
      await scene.topology.sh('node', 'nft flush ruleset; ip -6 route del 64:ff9b::/96 dev gate64');
      await eventually('the node is put right', async () => {
        const { node } = await kernel();
        return differ(before.node, node).length === 0 ? true : undefined;
      });
      expect((await kernel()).maps).to.equal(before.maps);
      expect(await reload(service)).to.include('configuration reloaded');
      expect(await answer('v4only.example')).to.match(/^2001:db8:64::c633:640a/);
    });
  });
}

describe('several instances in one namespace', function () {
  this.timeout(60_000);
  let scene: Scene;
  before(async () => {
    scene = await Scene.create({ egress: 'masquerade' satisfies Egress });
  });
  after(async () => {
    await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
  });

  it('three that do DNS alone and one with NAT64 run side by side; a second NAT64 does not', async () => {
    const ports = [5400, 5401, 5402];
    const started = await Promise.all(
      ports.map(async (port) => {
        const config = gate64Config('masquerade', {
          dns: { listen: [`127.0.0.1:${port}`] },
          nat64: { enabled: false },
        });
        const file = join(scene.topology.directory, `dns-${port}.yaml`);
        writeFileSync(file, JSON.stringify({ ...config, http: { listen: `127.0.0.1:${port + 100}` } }));
        const process = scene.topology.start('node', [join(ROOT, 'dist/gate64'), 'run', '-c', file]);
        await eventually(`the one at ${port} is ready`, async () => {
          if (process.exitCode() !== undefined) throw new Error(process.log());
          const url = `http://127.0.0.1:${port + 100}/readyz`;
          const { code } = await scene.topology.run('node', ['curl', '-sS', '--fail', url], { accept: 'any' });
          return code === 0 ? true : undefined;
        });
        return process;
      }),
    );
    for (const port of [5364, ...ports]) {
      const answer = await scene.topology.sh('node', `dig +short -p ${port} @127.0.0.1 AAAA v4only.example`);
      expect(answer, `port ${port}`).to.equal('64:ff9b::c633:640a');
    }
    const { code } = await scene.gate64.http('/readyz');
    expect(code, 'the one with NAT64').to.equal(0);

    const other = new Gate64(scene.topology, gate64Config('masquerade', { dns: { listen: ['127.0.0.1:5403'] } }));
    const second = other.launch();
    await second.ended;
    expect([second.exitCode(), second.log()].join('\n')).to.match(/^1\n[^]*runs on this node already/);
    for (const process of started) {
      expect(process.exitCode(), process.log()).to.equal(undefined);
      await process.stop(10_000);
    }
    expect((await scene.gate64.http('/readyz')).code).to.equal(0);
  });
});
