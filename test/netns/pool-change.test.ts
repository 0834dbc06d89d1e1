// SPDX-License-Identifier: Apache-2.0
// The pool changes while a pod is busy: by a reload, and by a restart with another pool. What runs goes on by the old
// address, what is new goes by the new one at once, and the old one leaves the node when nobody uses it any more.

import { expect } from 'chai';
import { gate64Config, metricSum } from '../helpers/gate64.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';

interface SessionJson {
  state: string;
  source: { address: string; port: number };
  pool: { address: string; port: number };
}

/** On the uplink's own network, for direct; nothing else uses them, for masquerade. */
const POOLS = {
  direct: ['192.0.2.10', '192.0.2.11', '192.0.2.12'],
  masquerade: ['203.0.113.10', '203.0.113.11', '203.0.113.12'],
} as const;

const LITERAL = 'http://[64:ff9b::c633:640a]/one';

for (const egress of EGRESSES) {
  describe(`a pool that changes under a busy pod, egress ${egress}`, function () {
    this.timeout(60_000);
    const [first, second, third] = POOLS[egress];
    const settings = (address: string) => ({
      nat64: { pool: [{ addresses: address }], timeouts: { tcpClosing: 1 } },
    });
    let scene: Scene;
    let one: string;
    let download: Promise<string>;
    let wanted: string;
    let port: number;

    before(async () => {
      scene = await Scene.create({ egress, config: settings(first) });
      one = await scene.serve('one', 1);
      wanted = await scene.serve('long', 192);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const tcp = (...more: string[]) => scene.gate64.json<SessionJson[]>('sessions', '--proto', 'tcp', ...more);
    /** Pool address of the latest flow, which the pod opens now. */
    const addressOfNewFlow = async () => {
      const before = new Set((await tcp()).map((row) => row.source.port));
      expect(await scene.download(LITERAL, ['--connect-timeout', '2'])).to.equal(one);
      return (await tcp()).filter((row) => !before.has(row.source.port)).map((row) => row.pool.address);
    };
    const routes = () => scene.topology.sh('node', 'ip -4 route show dev gate64');

    it('a reload with another pool: the download goes on, a new flow gets the new address at once', async () => {
      download = scene.download('http://v4only.example/long', ['--limit-rate', '12M']);
      download.catch(() => undefined);
      const running = await eventually(
        'the transfer is under way',
        async () => (await tcp('--state', 'established'))[0],
      );
      expect(running.pool.address).to.equal(first);
      port = running.source.port;

      scene.gate64.write(gate64Config(egress, settings(second)));
      scene.gate64.process?.signal('SIGHUP');
      await eventually('the new pool is routed', async () => ((await routes()).includes(second) ? true : undefined));
      await eventually('the reload is over', async () =>
        (scene.gate64.process?.log() ?? '').includes('configuration reloaded') ? true : undefined,
      );
      expect(await addressOfNewFlow()).to.deep.equal([second]);
      expect(await routes(), 'still used').to.include(first);
      expect((await tcp('--state', 'established')).find((row) => row.source.port === port)?.pool.address).to.equal(
        first,
      );
      expect(metricSum(await scene.gate64.metrics(), 'gate64_config_last_reload_successful')).to.equal(1);
    });

    it('a restart with another pool again: the same', async () => {
      scene.gate64.process?.signal('SIGKILL');
      await scene.gate64.process?.ended;
      scene.gate64.write(gate64Config(egress, settings(third)));
      await scene.gate64.start();
      expect(await addressOfNewFlow()).to.deep.equal([third]);
      expect(await routes())
        .to.include(first)
        .and.to.include(third);
      expect(
        (await tcp('--state', 'established')).some((row) => row.source.port === port),
        'it still runs',
      ).to.equal(true);
      expect(await download).to.equal(wanted);
    });

    it('a pool that the maps have no room for is refused whole; the one before goes on', async () => {
      const many = { pool: [{ addresses: third.replace(/\d+$/, '16/28') }], blockSize: 16 };
      const before = await routes();
      scene.gate64.write(gate64Config(egress, { nat64: { ...settings(third).nat64, ...many } }));
      scene.gate64.process?.signal('SIGHUP');
      await eventually('the reload is refused', async () =>
        (scene.gate64.process?.log() ?? '').includes('configuration refused') ? true : undefined,
      );
      expect(scene.gate64.process?.log()).to.match(/nat64\.pool makes 64512 blocks of 16 ports/);
      expect(await routes()).to.equal(before);
      expect(await addressOfNewFlow()).to.deep.equal([third]);
      scene.gate64.write(gate64Config(egress, settings(third)));
    });

    it('a change during the start is carried out after it, with a signal and without', async () => {
      for (const signal of [true, false]) {
        scene.gate64.process?.signal('SIGKILL');
        await scene.gate64.process?.ended;
        const launched = scene.gate64.launch();
        await eventually(
          'it starts',
          async () => (launched.log().includes('gate64 starts') ? true : undefined),
          10_000,
          5,
        );
        const address = signal ? second : third;
        scene.gate64.write(gate64Config(egress, settings(address)));
        if (signal) launched.signal('SIGHUP');
        await scene.gate64.ready(launched);
        await eventually(
          'the new pool is in use',
          async () => (launched.log().includes('configuration reloaded') ? true : undefined),
          8_000,
        );
        expect(launched.log()).not.to.include('configuration refused');
        expect(await addressOfNewFlow()).to.deep.equal([address]);
      }
    });

    // The way is the same for both; a minute and more of waiting is enough once.
    if (egress === 'direct') {
      it('the old addresses leave the node when their blocks have been empty for a minute', async () => {
        await eventually(
          'the old addresses are gone',
          async () => {
            const now = await routes();
            return now.includes(first) || now.includes(second) ? undefined : true;
          },
          120_000,
          1000,
        );
        expect(await routes()).to.include(third);
        const proxies = await scene.topology.sh('node', 'ip neighbour show proxy');
        expect(proxies).to.include(third).and.not.include(first);
        expect(await scene.download(LITERAL)).to.equal(one);
      }).timeout(150_000);
    }
  });
}
