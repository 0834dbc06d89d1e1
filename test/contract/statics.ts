// SPDX-License-Identifier: Apache-2.0
// The contract of static bindings: both sides or none, whoever has them now, and their ports kept from pods.

import { expect } from 'chai';
import type { StaticBinding } from '../../src/model/binding.ts';
import { FIRST_ADDRESS, FIRST_PORT, IDLE_MS, pod, textOf, type Play } from './bench.ts';

const BINDING: StaticBinding = {
  protocol: 'udp',
  source: { v6: pod(1), port: 80 },
  pool: { v4: FIRST_ADDRESS, port: FIRST_PORT },
};
const PORTS = { tcp: [], udp: [FIRST_PORT], icmp: [] };
const collision = { code: 'G64_POOL_COLLISION' } as const;

function errorOf(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return 'nothing was thrown';
}

export function statics(play: Play): void {
  describe('static bindings', () => {
    it('stands on both sides, with no session and no block, and is counted', () => {
      const stage = play();
      const { datapath } = stage;
      stage.tellAddresses();
      expect(datapath.staticBindings()).to.deep.equal([]);
      expect(datapath.staticHolders(BINDING)).to.deep.equal({ source: undefined, pool: undefined });
      datapath.putStaticBinding(BINDING);
      datapath.putStaticBinding(BINDING);
      expect(datapath.staticBindings()).to.deep.equal([BINDING]);
      expect(datapath.staticHolders(BINDING)).to.deep.equal({ source: BINDING.source, pool: BINDING.pool });
      const [{ createdAt, ...row } = {}, ...others] = datapath.bindings();
      expect(others).to.deep.equal([]);
      expect(row).to.deep.equal({ ...BINDING, sessions: 0, isStatic: true });
      expect(createdAt).to.be.a('number');
      expect(datapath.staticSince(BINDING)).to.be.closeTo(createdAt ?? 0, 5);
      expect(datapath.staticSince({ ...BINDING, source: { ...BINDING.source, port: 9 } })).to.equal(undefined);
      expect(datapath.counts().bindings).to.deep.equal({ tcp: 0, udp: 1, icmp: 0 });
      expect(stage.send(1, 80), 'it needs no block').to.deep.equal(BINDING.pool);
      expect(stage.send(1, 80, { port: 54 })).to.deep.equal(BINDING.pool);
      expect(datapath.bindings().map(({ sessions }) => sessions)).to.deep.equal([2]);
      expect(stage.send(1, 81)).to.equal('pool_exhausted');
      expect(stage.send(1, 80, { protocol: 'tcp' }), 'of its protocol alone').to.equal('pool_exhausted');
    });

    it('outlives its sessions; taken away, these go on until their time is over', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.tellAddresses();
      datapath.putStaticBinding(BINDING);
      stage.passed(1, 80);
      stage.wear();
      expect(datapath.sessions()).to.deep.equal([]);
      expect(datapath.staticBindings()).to.deep.equal([BINDING]);
      stage.passed(1, 80);
      datapath.deleteStaticBinding(BINDING);
      expect(datapath.staticBindings()).to.deep.equal([]);
      expect(datapath.bindings()).to.deep.equal([]);
      expect(datapath.staticHolders(BINDING)).to.deep.equal({ source: undefined, pool: undefined });
      expect(stage.send(1, 80), 'its session').to.deep.equal(BINDING.pool);
      expect(stage.send(1, 80, { port: 54 }), 'a new one').to.equal('pool_exhausted');
      bench.pass(1_000_000);
      expect(datapath.sweep(IDLE_MS).ended.map(({ pool }) => pool)).to.deep.equal([BINDING.pool]);
      expect(datapath.counts()).to.deep.equal({
        sessions: { tcp: 0, udp: 0, icmp: 0 },
        bindings: { tcp: 0, udp: 0, icmp: 0 },
      });
      datapath.deleteStaticBinding(BINDING);
      expect(datapath.counts().bindings.udp, 'what is not there can be taken away').to.equal(0);
    });

    it('a dynamic binding in the place of one that was taken away does not end with its sessions', () => {
      const stage = play();
      const { bench, datapath } = stage;
      datapath.putStaticBinding(BINDING);
      stage.stock();
      stage.passed(1, 80);
      bench.pass(1_000_000);
      datapath.deleteStaticBinding(BINDING);
      const pool = stage.passed(1, 80, { port: 54 });
      expect(datapath.sweep(IDLE_MS).endedCount).to.equal(1);
      expect(datapath.bindings().map((row) => [textOf(row.pool), row.isStatic, row.sessions])).to.deep.equal([
        [textOf(pool), false, 1],
      ]);
    });

    it('is refused while either side is somebody’s, names who, and leaves nothing behind', () => {
      const stage = play();
      const { datapath } = stage;
      stage.stock();
      const taken = stage.passed(2, FIRST_PORT);
      expect(taken.port).to.equal(FIRST_PORT);
      expect(datapath.staticHolders(BINDING)).to.deep.equal({
        source: { v6: pod(2), port: FIRST_PORT },
        pool: undefined,
      });
      const counts = datapath.counts();
      expect(errorOf(() => datapath.putStaticBinding(BINDING))).to.include(collision);
      const theirs = { ...BINDING, source: { v6: pod(2), port: FIRST_PORT }, pool: { v4: FIRST_ADDRESS, port: 9 } };
      expect(datapath.staticHolders(theirs)).to.deep.equal({ source: undefined, pool: taken });
      expect(errorOf(() => datapath.putStaticBinding(theirs))).to.include(collision);
      expect(datapath.staticBindings()).to.deep.equal([]);
      expect(datapath.bindings()).to.have.length(1);
      expect(datapath.counts()).to.deep.equal(counts);
      expect(datapath.staticHolders(BINDING).pool).to.equal(undefined);
      expect(datapath.staticHolders(theirs).source).to.equal(undefined);
      stage.wear();
      datapath.putStaticBinding(BINDING);
      for (const other of [
        { ...BINDING, source: { v6: pod(3), port: 80 } },
        { ...BINDING, pool: { v4: FIRST_ADDRESS, port: 9 } },
      ]) {
        expect(
          errorOf(() => datapath.putStaticBinding(other)),
          'of another static one',
        ).to.include(collision);
      }
      expect(datapath.staticBindings()).to.deep.equal([BINDING]);
    });

    it('its port is kept out of a block that was written with it, whoever holds that', () => {
      const stage = play({ maxBlocksPerPod: 1 });
      const { datapath } = stage;
      stage.tellAddresses();
      stage.write(0, FIRST_PORT, { size: 4, statics: PORTS });
      datapath.putStaticBinding(BINDING);
      expect(stage.block(0).used).to.deep.equal({ tcp: 0, udp: 1, icmp: 0 });
      datapath.offerBlock(0);
      const ports = [FIRST_PORT, 2, 3].map((from) => stage.passed(2, from).port);
      expect(ports).to.have.members([FIRST_PORT + 1, FIRST_PORT + 2, FIRST_PORT + 3]);
      expect(stage.send(2, 4)).to.equal('pod_quota');
      expect(stage.passed(2, FIRST_PORT, { protocol: 'tcp' }).port, 'of its protocol alone').to.equal(FIRST_PORT);
      expect(stage.block(0).used).to.deep.equal({ tcp: 1, udp: 4, icmp: 0 });
      expect(stage.wear().map(({ index, used }) => [index, used])).to.deep.equal([[0, { tcp: 0, udp: 1, icmp: 0 }]]);
    });

    it('a pod whose block is older than the static binding gets another port', () => {
      const stage = play({ maxBlocksPerPod: 1 });
      const { datapath } = stage;
      stage.stock({ size: 2 });
      stage.passed(2, FIRST_PORT + 1);
      datapath.putStaticBinding(BINDING);
      expect(stage.send(2, FIRST_PORT), 'there is no other').to.equal('pod_quota');
      expect(stage.wear().map(({ index }) => index)).to.deep.equal([0]);
      stage.write(0, FIRST_PORT, { size: 3 });
      datapath.deleteStaticBinding(BINDING);
      datapath.offerBlock(0);
      stage.passed(2, FIRST_PORT + 2);
      datapath.putStaticBinding(BINDING);
      expect(stage.passed(2, FIRST_PORT).port).to.equal(FIRST_PORT + 1);
    });
  });
}
