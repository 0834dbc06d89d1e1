// SPDX-License-Identifier: Apache-2.0
// Fragments that take the slow path (RFC 6146 §3.4): echo of any size, fragments in any order, UDP without a checksum, and
// a flood of those whose datagram never gets whole.

import { join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { NODE6, POD, SERVER4 } from '../helpers/topology.ts';

const SERVER6 = `64:ff9b::${SERVER4}`;
const ECHO_PORT = 7009;
const script = (name: string) => [process.execPath, join(import.meta.dirname, '../helpers', name)];

for (const egress of EGRESSES) {
  describe(`fragments, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    let nodeMac = '';

    const macOf = async (namespace: 'pod' | 'server', neighbour: string, device: string) =>
      (await scene.topology.sh(namespace, `ip neigh show ${neighbour} dev ${device}`)).split(' ')[2] ?? '';
    const ping = async (size: number, count = 5) => {
      const argv = ['ping', '-n', '-c', String(count), '-i', '0.2', '-W', '3', '-s', String(size), SERVER6];
      return (await scene.topology.run('pod', argv, { accept: 'any' })).stdout;
    };
    const fragments = async () => {
      const text = await scene.gate64.metrics();
      const rows = [...text.matchAll(/^gate64_nat64_fragments_held_total\{outcome="(\w+)"\} (\d+)/gm)];
      return Object.fromEntries(rows.map(([, outcome = '', count]) => [outcome, Number(count)]));
    };

    before(async () => {
      scene = await Scene.create({ egress });
      nodeMac = await macOf('pod', NODE6, 'eth0');
      const mac = await macOf('server', '198.51.100.1', 'eth0');
      const argv = [...script('fragment-echo.ts'), String(ECHO_PORT), SERVER4, 'eth0', mac];
      const echo = scene.topology.start('server', argv);
      await eventually('the echo listens', () => {
        if (echo.exitCode() !== undefined) throw new Error(echo.log());
        return echo.log().includes('listening') ? true : undefined;
      });
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    for (const size of [1472, 4000, 20_000, 65_000]) {
      it(`ping with ${size} bytes`, async () => {
        expect(await ping(size)).to.match(/5 packets transmitted, 5 received/);
      });
    }

    for (const size of [2000, 4000, 12_000]) {
      it(`N6146-3.4-g: U4787-14-a: N6146-3.4-l: ${size} bytes in fragments, the last one first, the answer too and without a checksum`, async () => {
        const argv = [
          ...script('fragment-probe.ts'),
          POD,
          SERVER6,
          String(ECHO_PORT),
          'eth0',
          nodeMac,
          String(size),
          '20',
        ];
        expect((await scene.topology.run('pod', argv)).stdout.trim()).to.equal('20');
      });
    }

    it('what waited is counted', async () => {
      const { released, evicted } = await fragments();
      expect(released).to.be.at.least(100);
      expect(evicted).to.equal(0);
    });

    it('N6146-3.4-h: N6146-5.3-a: a flood of lone fragments disturbs nobody and is forgotten', async () => {
      await scene.topology.sh('pod', 'ip -6 addr add 2001:db8:1::3/64 dev eth0 nodad preferred_lft 0');
      const rss = async () => {
        const pid = scene.gate64.process?.pid;
        return Number((await scene.topology.sh('node', `grep VmRSS /proc/${pid}/status`)).split(/\s+/)[1]);
      };
      const before = await rss();
      const flood = scene.topology.run('pod', [
        ...script('fragment-flood.ts'),
        '2001:db8:1::3',
        SERVER6,
        'eth0',
        nodeMac,
        '4',
      ]);
      expect(await ping(4000, 10)).to.match(/10 packets transmitted, 10 received/);
      expect(await scene.topology.sh('pod', 'dig +short v4only.example AAAA')).to.include('64:ff9b::');
      expect(Number((await flood).stdout)).to.be.above(20_000);
      expect((await rss()) - before, 'KiB').to.be.below(48 * 1024);
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const { expired, evicted } = await fragments();
      expect((expired ?? 0) + (evicted ?? 0)).to.be.within(500, 6000);
      expect(await ping(4000)).to.match(/5 packets transmitted, 5 received/);
    });
  });
}
