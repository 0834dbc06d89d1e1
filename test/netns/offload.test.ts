// SPDX-License-Identifier: Apache-2.0
// Packets whose checksum somebody else is to finish (CHECKSUM_PARTIAL), as veth hands them on by default: cut into pieces,
// or quoted in an error that gate64 makes (RFC 7915 §4.1).

import { join } from 'node:path';
import { expect } from 'chai';
import { kernelAtLeast } from '../../src/libbpf/mod.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { startIperf3, startUdpEcho } from '../helpers/server-parts.ts';

const ECHO_PORT = 7008;
const probe = join(import.meta.dirname, '../helpers/udp-probe.ts');

for (const egress of EGRESSES) {
  describe(`checksum offload, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      scene = await Scene.create({ egress });
      // Sockets that begin now send without DF.
      await scene.topology.sh('server', 'sysctl -qw net.ipv4.ip_no_pmtu_disc=1');
      await startUdpEcho(scene.topology, ECHO_PORT);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    async function checksumErrors(namespace: 'pod' | 'server', counter: string): Promise<number> {
      const text = await scene.topology.sh(namespace, 'cat /proc/net/snmp6');
      const line = text.split('\n').find((one) => one.startsWith(counter));
      return Number(line?.trim().split(/\s+/)[1]);
    }

    it('X7915-4.1-a: datagrams without DF that become fragments arrive intact', async () => {
      const before = await checksumErrors('pod', 'Udp6InCsumErrors');
      for (const size of ['1233', '1300', '1400', '1452']) {
        const argv = [process.execPath, probe, 'v4only.example', String(ECHO_PORT), size, size];
        const { lost } = JSON.parse((await scene.topology.run('pod', argv)).stdout) as { lost: number[] };
        expect(lost, `${size} bytes`).to.deep.equal([]);
      }
      expect(await checksumErrors('pod', 'Ip6FragCreates'), 'the pod sends none').to.equal(0);
      expect(await checksumErrors('pod', 'Ip6ReasmOKs'), 'the answers came in fragments').to.be.at.least(4);
      expect((await checksumErrors('pod', 'Udp6InCsumErrors')) - before).to.equal(0);
    });

    it('an ICMPv6 error about a packet whose checksum is not finished verifies at the pod', async () => {
      // The error is finished in software on the last link: the pod's kernel then looks at the checksum.
      await scene.topology.sh('node', 'ethtool -K pod0 tx off >/dev/null');
      try {
        const trace = ['traceroute', '-6', '-n', '-q', '3', '-f', '2', '-m', '2', '-w', '2', 'v4only.example'];
        for (const option of [[], ['-T', '-p', '80']]) {
          const { stdout } = await scene.topology.run('pod', [...trace, ...option]);
          expect(stdout).not.to.include('*');
        }
        expect(await checksumErrors('pod', 'Icmp6InCsumErrors')).to.equal(0);
        expect(await checksumErrors('pod', 'Icmp6InTimeExcds')).to.be.at.least(3);
      } finally {
        await scene.topology.sh('node', 'ethtool -K pod0 tx on >/dev/null');
      }
    });

    it('BIG TCP: uploads in packets of more than 64 KiB pass', async function () {
      // Before, no IPv4 packet could be that long.
      if (!kernelAtLeast(6, 3)) this.skip();
      const big = (device: string) => `ip link set ${device} gso_max_size 180000 gro_max_size 180000`;
      const iperf = await startIperf3(scene.topology);
      await scene.topology.sh('pod', big('eth0'));
      await scene.topology.sh('node', `${big('pod0')}; ${big('gate64')}`);
      try {
        const client = ['iperf3', '--json', '--client', 'v4only.example', '--time', '2', '--zerocopy'];
        const { stdout } = await scene.topology.run('pod', client);
        const { end } = JSON.parse(stdout) as { end: { sum_received: { bytes: number } } };
        const drops = await scene.gate64.json<{ reason: string; count: number }[]>('drops');
        expect(drops.filter(({ reason }) => reason !== 'hop_limit')).to.deep.equal([]);
        expect(end.sum_received.bytes, 'in two seconds').to.be.above(20_000_000);
      } finally {
        await iperf.stop();
      }
    });

    it('BIG TCP: downloads in packets of more than 64 KiB are dropped as malformed, and nobody resets them', async function () {
      const { stdout: help } = await scene.topology.run('node', ['sh', '-c', 'ip link help 2>&1 || true']);
      // iproute2 has it since 6.3.
      if (!kernelAtLeast(6, 3) || !help.includes('gso_ipv4_max_size')) this.skip();
      const set = async (size: number) => {
        await scene.topology.sh('server', `ip link set dev eth0 gso_ipv4_max_size ${size}`);
        await scene.topology.sh('router', `ip link set dev lan0 gso_ipv4_max_size ${size}`);
      };
      const iperf = await startIperf3(scene.topology);
      await set(185_000);
      try {
        const client = ['iperf3', '--json', '--reverse', '--client', 'v4only.example', '--time', '2'];
        const { stdout } = await scene.topology.run('pod', client);
        const { end } = JSON.parse(stdout) as { end: { sum_received: { bytes: number } } };
        expect(end.sum_received.bytes).to.be.above(0);
        const drops = await scene.gate64.json<{ reason: string; count: number }[]>('drops');
        expect(drops.find(({ reason }) => reason === 'malformed')?.count).to.be.above(0);
      } finally {
        await set(65_536);
        await iperf.stop();
      }
    });
  });
}
