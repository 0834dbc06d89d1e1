// SPDX-License-Identifier: Apache-2.0
// gate64 doctor on a node: what it finds is mended by the command that it prints, and it changes nothing itself.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { GATE64, Gate64, gate64Config } from '../helpers/gate64.ts';
import { differences, nodeState } from '../helpers/node-state.ts';
import { eventually } from '../helpers/processes.ts';
import { startDnsServer } from '../helpers/server-parts.ts';
import { Topology } from '../helpers/topology.ts';

interface DoctorJson {
  readonly healthy: boolean;
  readonly findings: readonly { readonly name: string; readonly command: string | null }[];
  readonly service: { readonly running: boolean; readonly ready: boolean | null };
}

describe('gate64 doctor', function () {
  this.timeout(60_000);
  let topology: Topology;
  let gate64: Gate64;

  before(async () => {
    topology = await Topology.create();
    await startDnsServer(topology);
    gate64 = new Gate64(topology, gate64Config('masquerade'));
    await gate64.start();
  });
  after(async () => {
    await (topology as Topology | undefined)?.dispose();
  });

  const doctor = () => gate64.json<DoctorJson>('doctor', '-c', gate64.configFile);
  const table = async () => (await gate64.cli(['doctor', '-c', gate64.configFile, '-o', 'table'])).stdout;
  const HEALTHY = 'nothing is wrong with this node\nthe service at 127.0.0.1:9164 is ready\n';

  it('finds a healthy node healthy beside a service that runs, and changes nothing', async () => {
    const before = await nodeState(topology);
    expect(await table()).to.equal(HEALTHY);
    expect(await doctor()).to.deep.include({ healthy: true, findings: [] });
    expect(differences(before, await nodeState(topology))).to.deep.equal([]);
  });

  const BREAKAGES: readonly [name: string, what: string][] = [
    ['forwarding-off', 'sysctl -qw net.ipv6.conf.all.forwarding=0'],
    [
      'forward-dropped',
      `nft 'add table inet fw; add chain inet fw FORWARD { type filter hook forward priority 0; policy drop; }'`,
    ],
    [
      'prefix-ruled-elsewhere',
      'ip -6 route add default via 2001:db8:2::254 dev up0 table 100; ip -6 rule add from 2001:db8:1::/64 lookup 100 pref 100',
    ],
    ['prefix-routed-elsewhere', 'ip -6 route add 64:ff9b::/96 dev lo metric 5'],
  ];
  for (const [name, breakage] of BREAKAGES) {
    it(`${name}: is found, and gone once the command that is printed was run`, async () => {
      await topology.sh('node', breakage);
      const isError = name === 'prefix-routed-elsewhere';
      const { stdout } = await gate64.cli(['doctor', '-c', gate64.configFile, '-o', 'table'], {
        accept: [isError ? 1 : 0],
      });
      expect(stdout).to.match(new RegExp(`^${isError ? 'error' : 'warning'}: ${name}: `, 'm'));
      const commands = [...stdout.matchAll(/^ {2}run: (.*)$/gm)].map(([, command]) => command as string);
      expect(commands).to.have.length(1);
      await topology.run('node', ['sh', '-c', commands[0] as string]);
      expect(await table()).to.equal(HEALTHY);
    });
  }

  const UPSTREAMS: readonly [name: string, rule: string][] = [
    ['upstream-unreachable', 'meta l4proto { tcp, udp } th dport 53 drop'],
    ['upstream-without-tcp', 'tcp dport 53 reject with tcp reset'],
  ];
  for (const [name, rule] of UPSTREAMS) {
    it(`${name}: is found, and gone once the way is open`, async () => {
      await topology.sh(
        'server',
        `nft 'add table ip fw; add chain ip fw in { type filter hook input priority 0; }; add rule ip fw in ${rule}'`,
      );
      expect((await doctor()).findings.map((found) => found.name)).to.deep.equal([name]);
      await topology.sh('server', 'nft delete table ip fw');
      expect((await doctor()).findings).to.deep.equal([]);
    });
  }

  it('says when no service runs, which is no error', async () => {
    gate64.process?.signal('SIGKILL');
    await gate64.process?.ended;
    expect(await table()).to.equal(
      'nothing is wrong with this node\nno service runs: nothing answers at 127.0.0.1:9164\n',
    );
    expect((await doctor()).service).to.deep.include({ running: false, ready: null });
  });

  it('address-in-use: a port that another program has is found while no service runs', async () => {
    const listen = `require('dgram').createSocket('udp4').bind(5364, '127.0.0.1', () => console.log('bound'))`;
    const other = topology.start('node', [process.execPath, '-e', listen]);
    await eventually('the other program listens', () => (other.log().includes('bound') ? true : undefined));
    const { stdout } = await gate64.cli(['doctor', '-c', gate64.configFile, '-o', 'table'], { accept: [1] });
    expect(stdout).to.match(/^error: address-in-use: cannot listen on 127\.0\.0\.1:5364 \(UDP\): EADDRINUSE/m);
    await other.stop(1000);
    expect((await doctor()).findings).to.deep.equal([]);
  });

  it('bpffs-missing: is found, and the command that is printed mounts it', async () => {
    const words = [GATE64, 'doctor', '-c', gate64.configFile, '-o', 'json'].join(' ');
    const script = `umount /sys/fs/bpf; ${words} > "$0" || true
      eval "$(${process.execPath} -p 'JSON.parse(fs.readFileSync(process.argv[1])).findings[0].command' "$0")"; exec ${words}`;
    const file = join(topology.directory, 'doctor.json');
    const { stdout } = await topology.run('node', ['unshare', '--mount', 'sh', '-c', script, file], { accept: [0] });
    const names = (text: string) => (JSON.parse(text) as DoctorJson).findings.map((found) => found.name);
    expect(names(readFileSync(file, 'utf8'))[0]).to.equal('bpffs-missing');
    expect(names(stdout)).to.not.include('bpffs-missing');
  });

  it('names file, line and value of a configuration that is wrong', async () => {
    gate64.write('nat64:\n  egress: sideways\n');
    const { stderr } = await gate64.cli(['doctor', '-c', gate64.configFile], { accept: [1] });
    expect(stderr).to.match(/gate64\.yaml:2:11: nat64\.egress: "sideways"/);
  });
});
