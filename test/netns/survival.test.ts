// SPDX-License-Identifier: Apache-2.0
// The data plane outlives the service, is adopted again, is put back when somebody breaks it, and leaves nothing.

import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { eventually } from '../helpers/processes.ts';
import { differences, nodeState, type NodeState } from '../helpers/node-state.ts';
import { metricSum } from '../helpers/gate64.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { POD, SERVER4, Topology } from '../helpers/topology.ts';

interface SessionJson {
  protocol: string;
  state: string;
  source: { address: string; port: number };
  destination: { address: string; port: number };
  createdAt: string;
}

const LITERAL = 'http://[64:ff9b::c633:640a]/one';

for (const egress of EGRESSES) {
  describe(`survival, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;
    let untouched: NodeState;
    let one: string;

    before(async () => {
      const topology = await Topology.create();
      untouched = await nodeState(topology);
      scene = await Scene.create({ egress, topology });
      one = await scene.serve('one', 1);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const service = () => {
      const { process } = scene.gate64;
      if (process === undefined) throw new Error('gate64 was not started');
      return process;
    };

    it('1 GB survives kill -9 in its middle, new connections open meanwhile, a restart adopts all', async () => {
      const wanted = await scene.serve('huge', 1024);
      const download = scene.download('http://v4only.example/huge', ['--limit-rate', '60M']);
      // A rejection is looked at below, after what comes in between.
      download.catch(() => undefined);
      const running = await eventually('the transfer is under way', async () => {
        const sessions = await scene.gate64.json<SessionJson[]>('sessions', '--proto', 'tcp', '--state', 'established');
        return sessions[0];
      });
      const monitors = async () => {
        const pids = (await scene.topology.sh('node', `ip netns pids ${scene.topology.netns('node')}`)).split('\n');
        const lines = pids.flatMap((pid) => {
          try {
            return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
          } catch {
            return [];
          }
        });
        return lines.filter((line) => /^(?:ip|nft) monitor/.test(line));
      };
      expect((await monitors()).length, 'ip and nft').to.equal(2);
      service().signal('SIGKILL');
      await service().ended;
      await eventually(
        'its monitors end with it',
        async () => ((await monitors()).length === 0 ? true : undefined),
        2000,
      );

      // By literal address, and by a name that CoreDNS has in its cache.
      expect(await scene.download(LITERAL)).to.equal(one);
      expect(await scene.download('http://v4only.example/one')).to.equal(one);
      await scene.topology.run('pod', ['ping', '-n', '-c', '1', '-W', '2', '64:ff9b::c633:640a']);
      const meanwhile = await scene.gate64.json<SessionJson[]>('sessions', '--proto', 'tcp');
      expect(meanwhile.length, 'listings work from the pinned maps').to.be.at.least(3);

      await scene.gate64.start();
      expect(service().log()).to.include('"adopted":true');
      const again = await scene.gate64.json<SessionJson[]>('sessions', '--proto', 'tcp', '--state', 'established');
      expect(again.map(({ source }) => source)).to.deep.include(running.source);
      expect(again.find(({ source }) => source.port === running.source.port)?.destination).to.deep.equal({
        address: SERVER4,
        port: 80,
      });
      expect(running.source.address).to.equal(POD);
      expect(await download).to.equal(wanted);
      expect(await scene.download(LITERAL)).to.equal(one);
    });

    it('a second start is refused with G64_ALREADY_RUNNING and disturbs nothing', async () => {
      const { code, stderr } = await scene.gate64.cli(['run', '-c', scene.gate64.configFile], { accept: 'any' });
      expect(code).to.equal(1);
      expect(stderr).to.match(/a gate64 service with a NAT64 runs on this node already/);
      expect(await scene.download(LITERAL)).to.equal(one);
    });

    it('uninstall beside a running service is refused', async () => {
      const { code, stderr } = await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile], { accept: 'any' });
      expect(code).to.equal(1);
      expect(stderr).to.match(/runs on this node already/);
      expect(await scene.download(LITERAL)).to.equal(one);
    });

    it('a bad reload is refused and shown, a good one clears it', async () => {
      const { configFile } = scene.gate64;
      const good = await scene.topology.sh('node', `cat ${configFile}`);
      scene.gate64.write(`${good}\nnonsense: true\n`);
      service().signal('SIGHUP');
      await eventually('the metric says so', async () =>
        metricSum(await scene.gate64.metrics(), 'gate64_config_last_reload_successful') === 0 ? true : undefined,
      );
      interface Status {
        service: { config: { lastReload: { successful: boolean; error?: string } } };
      }
      const { stdout } = await scene.gate64.cli(['status', '-o', 'json'], { accept: 'any' });
      const status = JSON.parse(stdout) as Status;
      expect(status.service.config.lastReload.successful).to.equal(false);
      expect(status.service.config.lastReload.error).to.match(/gate64\.yaml:\d+:\d+: .*nonsense/);
      expect(await scene.download(LITERAL)).to.equal(one);

      scene.gate64.write(`${good}\nlog: { level: debug }\n`);
      service().signal('SIGHUP');
      await eventually('the metric is 1 again', async () =>
        metricSum(await scene.gate64.metrics(), 'gate64_config_last_reload_successful') === 1 ? true : undefined,
      );
      scene.gate64.write(`${good}\n`);
      service().signal('SIGHUP');
    });

    it('a file that is swapped, as a ConfigMap is, is read without a signal', async () => {
      const lastReload = async () =>
        (await scene.gate64.json<{ service: { config: { lastReload: { at: string } } } }>('status')).service.config
          .lastReload.at;
      const earlier = await eventually('the reload before is over', lastReload);
      const { configFile } = scene.gate64;
      await scene.topology.sh('node', `{ cat ${configFile}; echo '# changed'; } > ${configFile}.new`);
      await scene.topology.sh('node', `mv ${configFile}.new ${configFile}`);
      await eventually('it was read', async () => ((await lastReload()) === earlier ? undefined : true), 15_000, 500);
    });

    const BREAKAGES: [what: string, command: string][] = [
      ['a deleted route', 'ip -6 route del 64:ff9b::/96 dev gate64'],
      ['the deleted device', 'ip link del gate64'],
      ...(egress === 'masquerade'
        ? ([['a flushed nftables ruleset', 'nft flush ruleset']] satisfies [string, string][])
        : []),
    ];
    for (const [what, command] of BREAKAGES) {
      it(`${what} is put back`, async () => {
        await scene.topology.sh('node', command);
        await eventually(
          'downloads work again',
          async () => ((await scene.download(LITERAL, ['--connect-timeout', '1'])) === one ? true : undefined),
          15_000,
        );
        expect(await scene.topology.sh('node', 'ip -6 route show 64:ff9b::/96')).to.include('dev gate64');
        if (egress === 'masquerade') {
          expect(await scene.topology.sh('node', 'nft list table ip gate64')).to.include('masquerade');
        }
      });
    }

    it('SIGTERM drains: /readyz says 503 while DNS answers; the data plane stays', async () => {
      service().signal('SIGTERM');
      await eventually('/readyz says no', async () =>
        (await scene.gate64.http('/readyz')).code === 0 ? undefined : true,
      );
      const answer = await scene.topology.sh('node', 'dig +short -p 5364 @127.0.0.1 v4only.example AAAA');
      expect(answer).to.equal('64:ff9b::c633:640a');
      // A second signal cuts the wait short.
      service().signal('SIGTERM');
      await service().ended;
      expect(service().exitCode()).to.equal(0);
      expect(await scene.download(LITERAL)).to.equal(one);
    });

    it('uninstall with half of the pins gone and things of others among them does the rest, and says so', async () => {
      const maps = '/sys/fs/bpf/gate64/maps-*';
      await scene.topology.sh(
        'node',
        `cd ${maps} && ls n64_* | awk 'NR % 2' | grep -v n64_current | xargs rm
         ln -s somewhere other; mkdir -p ../theirs/more; rm ../link-gate; ln -s somewhere ../link-gate`,
      );
      const uninstall = () =>
        scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile], { accept: [0, 1], timeoutMs: 20_000 });
      const first = await uninstall();
      expect(first.code, first.stderr).to.equal(1);
      expect(first.stderr).to.match(/gate64\/theirs is not of gate64 and stays/);
      expect(first.stderr).to.match(/maps-\d+\/other is not of gate64 and stays/);
      expect(first.stdout).to.include('removed: device gate64').and.to.include('removed: state file');
      const left = differences(untouched, await nodeState(scene.topology));
      expect(
        left.filter((line) => !/^pins, new: "(?:theirs(?:\/more)?|maps-\d+(?:\/other)?)"$/.test(line)),
      ).to.deep.equal([]);

      const second = await uninstall();
      expect([second.code, second.stdout]).to.deep.equal([0, 'nothing of gate64 was on this node\n']);
      await scene.topology.sh('node', `rm -r ${maps} /sys/fs/bpf/gate64/theirs`);
      await scene.gate64.start();
      expect(await scene.download(LITERAL)).to.equal(one);
      await service().stop(10_000);
    });

    it('uninstall leaves nothing', async () => {
      const { stdout } = await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile]);
      expect(stdout).to.include('removed: device gate64').and.to.include('gate64 is off this node');
      expect(differences(untouched, await nodeState(scene.topology))).to.deep.equal([]);
      expect((await scene.gate64.cli(['uninstall', '-c', scene.gate64.configFile])).stdout).to.include(
        'nothing of gate64',
      );
    });
  });
}
