// SPDX-License-Identifier: Apache-2.0
// What people look at agrees with the kernel: listings with the pinned maps, drops with what was refused, metrics with both.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { metricSum } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { NODE4, POD } from '../helpers/topology.ts';

interface Transport {
  address: string;
  port: number;
}
interface SessionJson {
  protocol: 'tcp' | 'udp' | 'icmp';
  source: Transport;
  pool: Transport;
  destination: Transport;
}
interface BindingJson {
  protocol: 'tcp' | 'udp' | 'icmp';
  source: Transport;
  pool: Transport;
  sessions: number;
}
interface PoolJson {
  addresses: { address: string; ports: { used: Record<string, number> }; blocks: Record<string, number> }[];
  blocks: { address: string; firstPort: number; lastPort: number; state: string; holder: string | null }[];
}
interface DropJson {
  reason: string;
  direction: string;
  count: number;
  explanation?: string;
  last: { source: string; destination: string; protocol: number } | null;
}

const PROTOCOLS = ['udp', 'icmp', 'tcp'] as const;

/** Key and value bytes of every entry of a pinned map, by bpftool, which knows nothing of gate64. */
async function dump(scene: Scene, map: string): Promise<{ key: Buffer; value: Buffer }[]> {
  const text = await scene.topology.sh('node', `bpftool -j map dump pinned /sys/fs/bpf/gate64/maps-*/${map}`);
  const bytes = (list: string[]) => Buffer.from(list.map(Number));
  return (JSON.parse(text) as { key: string[]; value: string[] }[]).map(({ key, value }) => ({
    key: bytes(key),
    value: bytes(value),
  }));
}

/** As bpf/types.h numbers them. */
const KERNEL_PROTOCOLS = ['tcp', 'udp', 'icmp'];

for (const egress of EGRESSES) {
  describe(`operation, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    before(async () => {
      scene = await Scene.create({ egress });
      await scene.download('http://v4only.example/one');
      await scene.download('http://other.example/one');
      await scene.topology.run('pod', ['ping', '-n', '-c', '2', '-i', '0.2', 'v4only.example']);
      await scene.topology.sh('pod', 'echo hi | socat -T 0.3 - UDP6:v4only.example:7007');
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    it('sessions, as JSON and as a table, are the entries of the flow map', async () => {
      const sessions = await scene.gate64.json<SessionJson[]>('sessions');
      expect(sessions.map(({ protocol }) => protocol).toSorted()).to.deep.equal(['icmp', 'tcp', 'tcp', 'udp']);
      const listed = sessions.map(
        ({ protocol, source, destination }) =>
          Buffer.concat([parseIp6(source.address), word(parseIp4(destination.address))]).toString('hex') +
          ` ${protocol} ${source.port}`,
      );
      const kernel = (await dump(scene, 'n64_flow6')).map(({ key }) => {
        return `${key.subarray(0, 20).toString('hex')} ${KERNEL_PROTOCOLS[key.readUInt8(24)]} ${key.readUInt16BE(20)}`;
      });
      expect(listed.toSorted()).to.deep.equal(kernel.toSorted());
      expect(await dump(scene, 'n64_flow4')).to.have.length(sessions.length);

      const table = (await scene.gate64.cli(['sessions', '-o', 'table'])).stdout.trimEnd().split('\n');
      expect(table).to.have.length(sessions.length + 1);
      for (const { source, pool, destination } of sessions) {
        const line = table.find((text) => text.includes(`[${source.address}]:${source.port} `)) ?? '';
        expect(line)
          .to.include(`${pool.address}:${pool.port} `)
          .and.to.include(`${destination.address}:${destination.port}`);
      }
    });

    it('filters narrow the list', async () => {
      const count = async (...args: string[]) => (await scene.gate64.json<SessionJson[]>('sessions', ...args)).length;
      expect(await count('--proto', 'tcp')).to.equal(2);
      expect(await count('--dst', '198.51.100.11/32')).to.equal(1);
      expect(await count('--dst', '64:ff9b::c633:640b/128')).to.equal(1);
      expect(await count('--src', '2001:db8:1::/64')).to.equal(4);
      expect(await count('--src', '2001:db8:9::/64')).to.equal(0);
      expect(await count('--limit', '1')).to.equal(1);
      const { configFile } = scene.gate64;
      const server = ['--server', '127.0.0.1:5364'];
      expect(await count('--name', 'other.example', ...server, '-c', configFile)).to.equal(1);
    });

    it('G6888-10-a: bindings and pool are what the kernel holds', async () => {
      const bindings = await scene.gate64.json<BindingJson[]>('bindings');
      const kernel = await dump(scene, 'n64_bib6');
      expect(bindings.map(({ source }) => `${source.port}`).toSorted()).to.deep.equal(
        kernel.map(({ key }) => `${key.readUInt16BE(16)}`).toSorted(),
      );
      const { addresses, blocks } = await scene.gate64.json<PoolJson>('pool');
      const leased = blocks.filter(({ state }) => state === 'leased');
      expect(leased.map(({ holder }) => holder)).to.deep.equal([POD]);
      for (const { pool } of bindings) {
        const block = leased.find(
          ({ address, firstPort, lastPort }) =>
            pool.address === address && pool.port >= firstPort && pool.port <= lastPort,
        );
        expect(block, `${pool.address}:${pool.port} lies in a leased block`).not.to.equal(undefined);
      }
      for (const protocol of PROTOCOLS) {
        const used = addresses.reduce((sum, { ports }) => sum + (ports.used[protocol] ?? 0), 0);
        expect(used, protocol).to.equal(bindings.filter((binding) => binding.protocol === protocol).length);
      }
    });

    it('G6888-10-a: metrics count the same', async () => {
      const text = await scene.gate64.metrics();
      const sessions = await scene.gate64.json<SessionJson[]>('sessions');
      for (const protocol of PROTOCOLS) {
        const wanted = sessions.filter((session) => session.protocol === protocol).length;
        expect(metricSum(text, 'gate64_nat64_sessions', { protocol }), protocol).to.equal(wanted);
        expect(metricSum(text, 'gate64_nat64_packets_total', { protocol, direction: '6to4' })).to.be.greaterThan(0);
        expect(metricSum(text, 'gate64_nat64_packets_total', { protocol, direction: '4to6' })).to.be.greaterThan(0);
      }
      expect(metricSum(text, 'gate64_nat64_bytes_total', { protocol: 'tcp', direction: '4to6' })).to.be.greaterThan(
        2 ** 21,
      );
      expect(metricSum(text, 'gate64_nat64_ready')).to.equal(1);
      expect(metricSum(text, 'gate64_nat64_info', { egress, attach: 'tcx' })).to.equal(1);
      expect(metricSum(text, 'gate64_dns64_synthesized_total')).to.be.at.least(2);
    });

    it('promtool accepts the live metrics', async () => {
      const { stdout, stderr } = await scene.topology.run('node', ['promtool', 'check', 'metrics'], {
        input: await scene.gate64.metrics(),
        accept: 'any',
      });
      expect(stdout + stderr).to.equal('');
    });

    // Once is enough: nothing of it differs between the ways out.
    if (egress === 'direct') {
      it('Prometheus scrapes it, and its queries find the sessions', async () => {
        const directory = join(scene.topology.directory, 'prometheus');
        mkdirSync(directory);
        const conf = join(directory, 'prometheus.yml');
        writeFileSync(
          conf,
          `global: { scrape_interval: 1s }
scrape_configs:
  - job_name: gate64
    static_configs: [{ targets: ["127.0.0.1:9164"] }]
`,
        );
        await using prometheus = scene.topology.start('node', [
          'prometheus',
          `--config.file=${conf}`,
          `--storage.tsdb.path=${directory}/data`,
          '--web.listen-address=127.0.0.1:9090',
        ]);
        const query = async (text: string): Promise<number | undefined> => {
          if (prometheus.exitCode() !== undefined) throw new Error(prometheus.log());
          const argv = ['curl', '-sS', '--fail', '-G', '--data-urlencode', `query=${text}`];
          const { stdout } = await scene.topology.run('node', [...argv, 'http://127.0.0.1:9090/api/v1/query']);
          const answer = JSON.parse(stdout) as { data: { result: { value: [number, string] }[] } };
          const value = answer.data.result[0]?.value[1];
          return value === undefined ? undefined : Number(value);
        };
        expect(await eventually('a scrape succeeded', async () => (await query('up == 1')) ?? undefined)).to.equal(1);
        expect(await query('sum(gate64_nat64_sessions)')).to.equal(
          (await scene.gate64.json<unknown[]>('sessions')).length,
        );
        expect(await query('sum(gate64_nat64_bytes_total{direction="4to6",protocol="tcp"})')).to.be.greaterThan(
          2 ** 21,
        );
      });
    }

    it('X7915-8-a, A6052-3.1-b: the cloud metadata address is refused, the pod told, the reason named and counted', async () => {
      const ping = ['ping', '-n', '-c', '1', '-W', '2', '64:ff9b::169.254.169.254'];
      const { stdout } = await scene.topology.run('pod', ping, { accept: [1] });
      expect(stdout).to.match(/Administratively prohibited/);
      const drops = await scene.gate64.json<DropJson[]>('drops', '--explain');
      const drop = drops.find(({ reason }) => reason === 'dst_never');
      expect(drop).to.include({ direction: '6to4', count: 1 });
      expect(drop?.last).to.include({ source: POD, destination: '64:ff9b::a9fe:a9fe' });
      expect(drop?.explanation).to.match(/cloud metadata/);
      const table = (await scene.gate64.cli(['drops', '--explain', '-o', 'table'])).stdout;
      expect(table)
        .to.match(/^dst_never +6to4 +1 /m)
        .and.to.match(/^dst_never\n +The embedded IPv4 address/m);
      expect(metricSum(await scene.gate64.metrics(), 'gate64_nat64_drops_total', { reason: 'dst_never' })).to.equal(1);
      // By name too: a name that leads there is not synthesized in the first place, or the packet is refused.
      expect(await scene.topology.sh('pod', 'dig +short metadata.example AAAA')).to.equal('');
    });

    it('G6888-12-a: G6888-s4-a: the log says which pod has which block, and not whom pods talk to', () => {
      const log = scene.gate64.process?.log() ?? '';
      const leased = log.split('\n').filter((line) => line.includes('port block leased'));
      expect(leased).to.have.length(1);
      expect(leased[0]).to.include(POD);
      // That of other.example, which a pod has downloaded from; that of v4only.example is the upstream's as well.
      expect(log).not.to.match(/198\.51\.100\.11|c633:640b/);
    });

    it('a name that leads to the node itself, which the NAT64 refuses, has no AAAA; one of several addresses is left out', async () => {
      const ask = (name: string) => scene.topology.sh('node', `dig -p 5364 @127.0.0.1 AAAA ${name}`);
      const answer = await ask('node.example');
      expect(answer)
        .to.match(/status: NOERROR/)
        .and.to.match(/ANSWER: 0/)
        .and.to.match(/SOA/);
      expect(answer, 'why, as Extended DNS Error').to.match(new RegExp(`EDE: .*${NODE4.replaceAll('.', '\\.')}`));
      expect(await scene.topology.sh('pod', 'dig +short mixed.example AAAA')).to.equal('64:ff9b::c633:640a');
      expect(metricSum(await scene.gate64.metrics(), 'gate64_dns64_passthrough_total', { reason: 'refused' })).to.equal(
        1,
      );
    });

    it('a file that is wrong hides nothing: a start takes what was accepted before, and all say so until it is right', async () => {
      const { gate64 } = scene;
      const good = readFileSync(gate64.configFile, 'utf8');
      const accepted = '/run/gate64/accepted.yaml';
      const kept = () => scene.topology.sh('node', `stat -c %a ${accepted}; tail -n +2 ${accepted}`);
      expect(await kept()).to.equal(`600\n${good.trim()}`);
      await gate64.process?.stop(10_000);
      gate64.write(`nonsense: 1\n${good}`);
      const service = await gate64.start();
      expect(service.log()).to.match(/configuration refused; the one accepted before is in force/);
      expect(metricSum(await gate64.metrics(), 'gate64_config_last_reload_successful')).to.equal(0);
      expect((await scene.download('http://v4only.example/one')).length).to.be.greaterThan(0);

      const problem = /gate64\.yaml:1:1: .*nonsense/;
      const config = ['-c', gate64.configFile];
      const status = await gate64.cli(['status', '-o', 'table', ...config], { accept: [1] });
      expect(status.stderr).to.match(problem);
      expect(status.stdout)
        .to.match(/^service +up for /m)
        .and.to.match(/last read .*refused\n.*gate64\.yaml:1:1: /);
      const doctor = await gate64.cli(['doctor', '-o', 'json', ...config], { accept: [1] });
      const { findings, service: answer } = JSON.parse(doctor.stdout) as {
        findings: { name: string }[];
        service: { ready: boolean };
      };
      expect([findings[0]?.name, answer.ready]).to.deep.equal(['configuration-refused', true]);
      expect((await gate64.cli(['check', ...config], { accept: [1] })).stderr).to.match(problem);
      expect(await kept()).to.equal(`600\n${good.trim()}`);

      gate64.write(good);
      await eventually('the file is taken', async () =>
        metricSum(await gate64.metrics(), 'gate64_config_last_reload_successful') === 1 ? true : undefined,
      );
      await gate64.cli(['status', ...config]);

      // Right by itself, but not on this node.
      await service.stop(10_000);
      gate64.write(good.replace('nat64:', 'nat64:\n  uplink: missing0'));
      const again = await gate64.start();
      expect(again.log()).to.match(/missing0.*configuration refused; the one accepted before is in force/);
      gate64.write(good);
    });

    it('somebody outside cannot use the gateway as an open relay', async () => {
      await scene.topology.sh('router', 'ip -6 route add 64:ff9b::/96 via 2001:db8:2::1');
      const { code } = await scene.topology.run(
        'router',
        ['ping', '-n', '-c', '1', '-W', '1', '64:ff9b::198.51.100.10'],
        { accept: 'any' },
      );
      expect(code).to.equal(1);
      const drops = await scene.gate64.json<DropJson[]>('drops');
      expect(drops.find(({ reason }) => reason === 'from_uplink')?.count).to.be.at.least(1);
    });

    it('CoreDNS: a cluster name keeps its own answer, all the rest goes on, loop does not abort it', async () => {
      expect(await scene.topology.sh('pod', 'dig +short api.cluster.local AAAA')).to.equal(POD);
      expect(await scene.topology.sh('pod', 'dig +short v6only.example AAAA')).to.equal('2001:db8:f::80');
      expect(await scene.topology.sh('pod', 'dig +short both.example AAAA')).to.equal('2001:db8:f::80');
      const missing = await scene.topology.sh('pod', 'dig nowhere.example AAAA');
      expect(missing).to.include('status: NXDOMAIN');
      const back = await scene.topology.sh('pod', 'dig +short -x 64:ff9b::c633:640a');
      expect(back.split('\n')).to.have.length.lessThan(3);
      expect(scene.coreDns?.exitCode(), scene.coreDns?.log()).to.equal(undefined);
      expect(scene.coreDns?.log()).not.to.match(/Loop|FATAL/);
    });

    it('CoreDNS: a dead upstream becomes an answer within 2 s', async () => {
      await scene.topology.sh('router', 'ip route add blackhole 198.51.100.10/32');
      try {
        const { stdout } = await scene.topology.run('pod', ['dig', '+tries=1', '+time=5', 'short.example', 'AAAA']);
        // By dig's own clock, which starts when it asks. CoreDNS itself gives up after 2 s, with an answer as well.
        expect(Number(/Query time: (\d+) msec/.exec(stdout)?.[1])).to.be.lessThan(2000);
        expect(stdout).to.match(/status: SERVFAIL/);
      } finally {
        await scene.topology.sh('router', 'ip route del blackhole 198.51.100.10/32');
      }
    });
  });
}

function word(v4: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(v4);
  return bytes;
}
