// SPDX-License-Identifier: Apache-2.0
// What has to work on every kernel that gate64 says it runs on. Runs inside the virtual machine (guest.sh), ten times
// slower than outside: little traffic and long patience.

import { globSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { BpfLoadError, BpfObject, kernelAtLeast } from '../../src/libbpf/mod.ts';
import { LIMIT, verifierCounts } from '../bpf/verifier-counts.ts';
import { Gate64, gate64Config, metricSum } from '../helpers/gate64.ts';
import { differences, nodeState, type NodeState } from '../helpers/node-state.ts';
import { makeFile, sha256 } from '../helpers/payload.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES } from '../helpers/scene.ts';
import { startDnsServer, startNginx, startUdpEcho } from '../helpers/server-parts.ts';
import { NODE6, POD, SERVER4, Topology } from '../helpers/topology.ts';

const ROOT = join(import.meta.dirname, '../..');
const SERVER6 = '64:ff9b::c633:640a';
const URL = `http://[${SERVER6}]/file`;
const PROGRAMS = ['n64_gate', 'n64_uplink', 'n64_accel', 'n64_sweep', 'n64_reclaim'];
const OBJECTS = ['.output/nat64.bpf.o', ...globSync('.cache/kernels/objects/*/nat64.bpf.o', { cwd: ROOT }).toSorted()];
const BOOT_MS = 120_000;

/** Loads an object as it is compiled; the instructions that the verifier walked through, a program. */
function verified(path: string, programs = PROGRAMS): Record<string, number> {
  using object = BpfObject.open(join(ROOT, path));
  try {
    object.load();
  } catch (error) {
    if (error instanceof BpfLoadError) throw new Error(`${error.message}\n${error.verifierLog.slice(-3000)}`);
    throw error;
  }
  return Object.fromEntries(programs.map((name) => [name, object.program(name).verifiedInstructions()]));
}

describe(`kernel ${release()}`, function () {
  this.timeout(BOOT_MS);

  for (const path of OBJECTS) {
    it(`loads ${path} without a configuration`, () => {
      const counts = verified(path);
      console.log(`      verified instructions: ${JSON.stringify(counts)}`);
      expect(Math.max(...Object.values(counts))).to.be.lessThan(LIMIT);
    });
  }

  it('loads the program that answers DNS', () => {
    const counts = verified('.output/dns.bpf.o', ['n64_dns']);
    console.log(`      verified instructions: ${JSON.stringify(counts)}`);
    expect(counts['n64_dns']).to.be.lessThan(LIMIT);
  });

  it('loads for a small and for the largest configuration', () => {
    const counts = verifierCounts();
    for (const { configuration, program, instructions } of counts) {
      console.log(`      ${configuration}: ${program} ${instructions}`);
    }
    expect(Math.max(...counts.map(({ instructions }) => instructions))).to.be.lessThan(LIMIT);
  });

  for (const egress of EGRESSES) {
    describe(`egress ${egress}`, () => {
      let topology: Topology;
      let untouched: NodeState;
      let gate64: Gate64;
      let wanted: string;
      let installed = true;
      const config = (nat64: Record<string, unknown> = {}) =>
        gate64Config(egress, { dns: { listen: [`[${NODE6}]:53`] }, nat64 });

      before(async () => {
        topology = await Topology.create();
        untouched = await nodeState(topology);
        const www = join(topology.directory, 'www');
        wanted = await sha256(makeFile(www, 'file', 8));
        await topology.sh('node', `chmod 755 ${topology.directory}`);
        await startNginx(topology, www);
        await startDnsServer(topology);
        await startUdpEcho(topology);
        gate64 = new Gate64(topology, config());
        await gate64.ready(gate64.launch(), BOOT_MS);
      });
      after(async () => {
        gate64.process?.signal('SIGKILL');
        await gate64.process?.ended;
        if (installed) await gate64.cli(['uninstall', '-c', gate64.configFile], { accept: 'any' });
        await topology.dispose();
      });

      // The first answer of a service that has just started can take longer than a client waits.
      const metrics = () => eventually('/metrics answers', () => gate64.metrics(), BOOT_MS);

      const download = async (url: string) => {
        const script = 'curl -sS --fail --max-time 50 "$1" | sha256sum | cut -d" " -f1';
        const { stdout } = await topology.run('pod', ['bash', '-euo', 'pipefail', '-c', script, 'download', url]);
        return stdout.trim();
      };

      it(`attaches by ${kernelAtLeast(6, 6) ? 'a TCX link' : 'a clsact filter'}`, async () => {
        const attach = /^gate64_nat64_info\{.*attach="(\w+)"/m.exec(await metrics())?.[1];
        expect(attach).to.equal(kernelAtLeast(6, 6) ? 'tcx' : 'clsact');
      });

      it('ping by name', async () => {
        const ping = ['ping', '-n', '-c', '3', '-i', '0.2', '-W', '5', 'v4only.example'];
        const { stdout } = await topology.run('pod', ping);
        expect(stdout)
          .to.match(/3 packets transmitted, 3 received/)
          .and.to.include(SERVER6);
      });

      it('ping with more than fits a packet', async () => {
        const ping = ['ping', '-n', '-c', '3', '-i', '0.2', '-W', '5', '-s', '4000', 'v4only.example'];
        expect((await topology.run('pod', ping)).stdout).to.match(/3 packets transmitted, 3 received/);
      });

      it('8 MiB over TCP, by address and by name, arrive intact', async () => {
        expect(await download(URL)).to.equal(wanted);
        expect(await download('http://v4only.example/file')).to.equal(wanted);
      });

      it('UDP datagrams of 1391 to 1400 bytes come back intact', async () => {
        const probe = [process.execPath, join(ROOT, 'test/helpers/udp-probe.ts'), 'v4only.example', '7007'];
        const { stdout } = await topology.run('pod', [...probe, '1391', '1400']);
        expect(JSON.parse(stdout)).to.include({ address: SERVER6, intact: 10 });
      });

      it('ICMP errors come back: a closed port and a router on the way', async () => {
        const trace = ['traceroute', '-6', '-n', '-q', '1', '-w', '5', '-m', '6', SERVER6];
        const { stdout } = await topology.run('pod', trace);
        expect(stdout)
          .to.include('64:ff9b::c000:2fe')
          .and.to.match(/64:ff9b::c633:640a +[\d.]+ ms\s*$/);
      });

      it('sessions are listed', async () => {
        interface Row {
          protocol: string;
          source: { address: string };
          destination: { address: string; port: number };
        }
        const sessions = await gate64.json<Row[]>('sessions');
        expect(new Set(sessions.map(({ source }) => source.address))).to.deep.equal(new Set([POD]));
        const kinds = new Set(
          sessions
            .filter(({ destination }) => destination.address === SERVER4)
            .map(({ protocol, destination }) => (protocol === 'icmp' ? protocol : `${protocol}:${destination.port}`)),
        );
        expect(kinds).to.include.members(['icmp', 'tcp:80', 'udp:7007']);
      });

      it('SIGHUP swaps the programs in place', async () => {
        gate64.write(config({ timeouts: { udp: 301 } }));
        gate64.process?.signal('SIGHUP');
        const reloaded = () => gate64.process?.log().includes('configuration reloaded') || undefined;
        await eventually('the log says so', reloaded, BOOT_MS);
        expect(await metrics()).to.match(/^gate64_config_last_reload_successful 1$/m);
        expect(await download(URL)).to.equal(wanted);
      });

      it('translates on after kill -9, and the next start adopts it', async () => {
        gate64.process?.signal('SIGKILL');
        await gate64.process?.ended;
        expect(await download(URL)).to.equal(wanted);
        const started = gate64.launch();
        await gate64.ready(started, BOOT_MS);
        expect(started.log()).to.include('"adopted":true');
        expect(metricSum(await metrics(), 'gate64_nat64_sessions', { protocol: 'tcp' })).to.be.at.least(2);
        expect(await download(URL)).to.equal(wanted);
      });

      it('uninstall leaves nothing', async () => {
        gate64.process?.signal('SIGKILL');
        await gate64.process?.ended;
        const { stdout } = await gate64.cli(['uninstall', '-c', gate64.configFile]);
        installed = false;
        expect(stdout).to.include('gate64 is off this node');
        expect(differences(untouched, await nodeState(topology))).to.deep.equal([]);
      });
    });
  }
});
