// SPDX-License-Identifier: Apache-2.0
// What an upgrade does to a node, under load: no connection fails and none breaks while the service goes and comes.

import { expect } from 'chai';
import { PIN_ROOT } from '../../src/datapath/pins.ts';
import { eventually } from '../helpers/processes.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import { startIperf3 } from '../helpers/server-parts.ts';
import { addPods, connectShort, serveShortConnections, shortConnections } from '../helpers/short-connections.ts';

const RATE = 500;
const SECONDS = 10;
/** At this rate the node's own 4535 ports are used up in nine seconds, if nobody gives one back. */
const AWAY_SECONDS = 25;

interface IperfJson {
  error?: string;
  intervals: { sum: { bytes: number } }[];
}

for (const egress of EGRESSES) {
  describe(`survival under load, egress ${egress}`, function () {
    this.timeout(60_000);
    let scene: Scene;

    before(async () => {
      scene = await Scene.create({ egress });
      await startIperf3(scene.topology);
      await serveShortConnections(scene.topology);
      await addPods(scene.topology, 1);
    });
    after(async () => {
      await (scene as Scene | undefined)?.[Symbol.asyncDispose]();
    });

    const service = () => {
      const { process } = scene.gate64;
      if (process === undefined) throw new Error('gate64 was not started');
      return process;
    };

    /** Both loads, `disturb` in their middle. */
    async function underLoad(disturb: () => Promise<void>, seconds = SECONDS): Promise<void> {
      const argv = ['iperf3', '-6', '-c', '64:ff9b::c633:640a', '-t', String(seconds), '-b', '100M', '-J'];
      const iperf = scene.topology.start('pod', argv);
      const short = connectShort(scene.topology, 1, RATE, seconds);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await disturb();
      expect(iperf.exitCode(), 'the load has outlasted it').to.equal(undefined);
      const { good, bad, log } = await shortConnections(short);
      expect(bad, log).to.equal(0);
      expect(good).to.be.at.least((RATE * seconds) / 2);
      await iperf.ended;
      const { error, intervals } = JSON.parse(iperf.log()) as IperfJson;
      expect(error).to.equal(undefined);
      expect(
        intervals.filter(({ sum }) => sum.bytes === 0),
        'seconds without a byte',
      ).to.deep.equal([]);
    }

    it('stopped and started again', () =>
      underLoad(async () => {
        service().signal('SIGTERM');
        await eventually('/readyz says no', async () =>
          (await scene.gate64.http('/readyz')).code === 0 ? undefined : true,
        );
        // A second one cuts the wait for clients of DNS short.
        service().signal('SIGTERM');
        await service().ended;
        expect(service().exitCode()).to.equal(0);
        await scene.gate64.start();
        expect(service().log()).to.include('"adopted":true');
      }));

    it('killed and started again', () =>
      underLoad(async () => {
        service().signal('SIGKILL');
        await service().ended;
        await scene.gate64.start();
        expect(service().log()).to.include('"adopted":true');
      }));

    it('killed, and away for longer than its ports would last', () =>
      underLoad(async () => {
        service().signal('SIGKILL');
        await service().ended;
        await new Promise((resolve) => setTimeout(resolve, AWAY_SECONDS * 1000));
        await scene.gate64.start();
        expect(service().log()).to.include('"adopted":true');
      }, AWAY_SECONDS + SECONDS));

    it('started a second time beside the first, which goes on', () =>
      underLoad(async () => {
        const { code, stderr } = await scene.gate64.cli(['run', '-c', scene.gate64.configFile], { accept: 'any' });
        expect([code, stderr]).to.satisfy(() => code === 1 && /runs on this node already/.test(stderr));
        expect(service().exitCode()).to.equal(undefined);
        expect((await scene.gate64.http('/readyz')).code).to.equal(0);
      }));

    it('over maps of another layout: they serve until it starts, it says that sessions end, and new ones begin at once', async () => {
      service().signal('SIGKILL');
      await service().ended;
      await scene.topology.sh('node', `cd ${PIN_ROOT} && mv maps-* maps-1`);
      const before = connectShort(scene.topology, 1, RATE, 1);
      expect((await shortConnections(before)).bad, 'by the old maps').to.equal(0);
      await scene.gate64.start();
      expect(service().log()).to.match(/could not be taken over; its sessions end/);
      const { good, bad, log } = await shortConnections(connectShort(scene.topology, 1, RATE, 2));
      expect(bad, log).to.equal(0);
      expect(good).to.be.at.least(RATE / 2);
      expect(await scene.topology.sh('node', `ls -d ${PIN_ROOT}/maps-* | wc -l`), 'the old ones are gone').to.equal(
        '1',
      );
    });
  });
}
