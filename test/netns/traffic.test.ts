// SPDX-License-Identifier: Apache-2.0
// Real traffic from an IPv6-only pod to an IPv4-only server, by name, for both ways out.

import { join } from 'node:path';
import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { ROUTER4, SERVER4 } from '../helpers/topology.ts';

const PREFIXES = [
  { prefix: '64:ff9b::/96', embedded: '64:ff9b::c633:640a', router: '64:ff9b::c000:2fe' },
  { prefix: '2001:db8:64::/96', embedded: '2001:db8:64::c633:640a', router: '2001:db8:64::c000:2fe' },
];

const probe = join(import.meta.dirname, '../helpers/udp-probe.ts');

for (const egress of EGRESSES) {
  for (const { prefix, embedded, router } of PREFIXES) {
    describe(`traffic, egress ${egress}, prefix ${prefix}`, function () {
      this.timeout(60_000);
      let scene: Scene;
      before(async () => {
        scene = await Scene.create({ egress, config: { prefix } });
      });
      after(async () => {
        await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
      });

      it('an IPv4-only name resolves to its embedded address, by getent and by dig', async () => {
        const { stdout } = await scene.topology.run('pod', ['getent', 'ahosts', 'v4only.example']);
        expect(stdout.split(/\s+/)[0]).to.equal(embedded);
        expect(await scene.topology.sh('pod', 'dig +short v4only.example AAAA')).to.equal(embedded);
        expect(await scene.topology.sh('pod', 'dig +short v4only.example A')).to.equal(SERVER4);
        expect((await scene.topology.sh('pod', 'dig +short alias.example AAAA')).split('\n').at(-1)).to.equal(embedded);
      });

      it('200 MB by name arrive intact', async () => {
        const wanted = await scene.serve('big', 200);
        expect(await scene.download('http://v4only.example/big')).to.equal(wanted);
      });

      it('200 downloads at a time arrive intact', async () => {
        const wanted = await scene.serve('one', 1);
        const script = `seq 200 | xargs -P 200 -I{} sh -c 'curl -sS --fail --max-time 50 http://v4only.example/one | sha256sum'`;
        const sums = (await scene.topology.sh('pod', script)).split('\n').map((line) => line.split(' ')[0]);
        expect(sums).to.have.length(200);
        expect(new Set(sums)).to.deep.equal(new Set([wanted]));
      });

      it('UDP datagrams of 1 to 1400 bytes come back intact', async () => {
        const argv = [process.execPath, probe, 'v4only.example', '7007', '1', '1400'];
        const result = JSON.parse((await scene.topology.run('pod', argv)).stdout) as {
          address: string;
          intact: number;
          repeated: number;
          lost: number[];
        };
        expect(result.lost).to.deep.equal([]);
        expect(result).to.include({ address: embedded, intact: 1400 });
        expect(result.repeated).to.be.at.most(10);
      });

      for (const size of [56, 1400]) {
        it(`ping by name with ${size} bytes`, async () => {
          const ping = ['ping', '-n', '-c', '3', '-i', '0.2', '-W', '3', '-s', String(size), 'v4only.example'];
          const { stdout } = await scene.topology.run('pod', ping);
          expect(stdout)
            .to.match(/3 packets transmitted, 3 received/)
            .and.to.include(embedded);
        });
      }

      for (const [kind, option] of [
        ['UDP', []],
        ['ICMP', ['-I']],
        ['TCP', ['-T', '-p', '80']],
      ] as const) {
        it(`X7915-4.2-m: traceroute by ${kind} shows the IPv4 router and arrives`, async () => {
          const trace = ['traceroute', '-6', '-n', '-q', '1', '-w', '2', '-m', '8', ...option, 'v4only.example'];
          const { stdout } = await scene.topology.run('pod', trace);
          const hops = stdout
            .split('\n')
            .slice(1)
            .map((line) => line.trim().split(/\s+/)[1]);
          expect(hops, `${ROUTER4} on the way\n${stdout}`).to.include(router);
          expect(hops, `every hop answers, gate64 too\n${stdout}`).not.to.include('*');
          expect(hops.filter(Boolean).at(-1), stdout).to.equal(embedded);
          // The node, once or with the host stack's own hop; the router; the server.
          expect(hops.filter(Boolean), stdout).to.have.length(egress === 'direct' ? 3 : 4);
        });
      }

      it('no packet was refused on the way, but those whose hop limit ran out for traceroute', async () => {
        const drops = await scene.gate64.json<{ reason: string; count: number }[]>('drops');
        expect(drops.filter(({ reason }) => reason !== 'hop_limit')).to.deep.equal([]);
      });

      it('a smaller MTU on the IPv4 path: Fragmentation Needed becomes Packet Too Big, uploads go on', async () => {
        await scene.topology.setServerLinkMtu(1300);
        try {
          // From pod to server, where the router in the middle has to say so.
          const { stdout } = await scene.topology.run(
            'pod',
            ['ping', '-n', '-M', 'do', '-c', '3', '-i', '0.2', '-W', '2', '-s', '1400', 'v4only.example'],
            { accept: 'any' },
          );
          expect(stdout).to.match(/Packet too big: mtu=1320|[Mm]essage too long, mtu[:=] ?1320|mtu=1320/);
          const route = await scene.topology.sh('pod', `ip -6 route get ${embedded}`);
          expect(route).to.match(/mtu 1320/);
          const wanted = await scene.serve('one', 1);
          expect(await scene.download('http://v4only.example/one')).to.equal(wanted);
        } finally {
          await scene.topology.setServerLinkMtu(1500);
          await scene.topology.sh('pod', 'ip -6 route flush cache');
        }
      });

      it('X7915-5.2-h: a smaller MTU on the IPv6 path: Packet Too Big becomes Fragmentation Needed, downloads go on', async () => {
        // Only the node's end: the pod still offers segments of 1500, and the node must tell the server better.
        await scene.topology.sh('node', 'ip link set pod0 mtu 1280');
        try {
          const wanted = await scene.serve('one', 1);
          expect(await scene.download('http://v4only.example/one')).to.equal(wanted);
          expect(await scene.topology.sh('server', 'ip -4 route show cache')).to.match(/mtu 1260/);
        } finally {
          await scene.topology.sh('node', 'ip link set pod0 mtu 1500');
          await scene.topology.sh('server', 'ip -4 route flush cache');
        }
      });

      it("X7915-5.1.1-e: a smaller MTU of the node's own uplink is noticed, and gate64 tells the pod", async () => {
        await scene.topology.sh('node', 'ip link set up0 mtu 1400');
        try {
          await eventually('the pod is told', async () => {
            await scene.topology.sh('pod', 'ip -6 route flush cache');
            const ping = ['ping', '-n', '-M', 'do', '-c', '1', '-W', '1', '-s', '1400', 'v4only.example'];
            const { stdout } = await scene.topology.run('pod', ping, { accept: 'any' });
            return stdout.includes('Packet too big: mtu=1420') ? true : undefined;
          });
          const wanted = await scene.serve('one', 1);
          expect(await scene.download('http://v4only.example/one')).to.equal(wanted);
        } finally {
          await scene.topology.sh('node', 'ip link set up0 mtu 1500');
          await scene.topology.sh('pod', 'ip -6 route flush cache');
        }
      });

      it('datagrams that need fragments come back intact', async () => {
        const argv = [process.execPath, probe, 'v4only.example', '7007'];
        // Both ends learn that an IPv6 fragment is larger than its IPv4 counterpart, which costs datagrams.
        await eventually('the path is known', async () => {
          const { lost } = JSON.parse((await scene.topology.run('pod', [...argv, '3000', '3000'])).stdout) as {
            lost: number[];
          };
          return lost.length === 0 ? true : undefined;
        });
        for (const [first, last] of [
          ['1450', '1500'],
          ['20000', '20002'],
        ] as const) {
          const result = JSON.parse((await scene.topology.run('pod', [...argv, first, last])).stdout) as {
            lost: number[];
          };
          expect(result.lost).to.deep.equal([]);
        }
      });
    });
  }
}
