// SPDX-License-Identifier: Apache-2.0
// The contract of a place for data planes: what one process leaves the next one finds, and who removes it leaves nothing.

import { expect } from 'chai';
import type { StaticBinding } from '../../src/model/binding.ts';
import { FIRST_ADDRESS, FIRST_PORT, IDLE_MS, pod, type Play, type Stage } from './bench.ts';

const BINDING: StaticBinding = {
  protocol: 'tcp',
  source: { v6: pod(9), port: 80 },
  pool: { v4: FIRST_ADDRESS + 1, port: 9 },
};

/** All that can be read, times aside: two clocks made into one twice may differ by a little. */
function picture({ datapath }: Stage): unknown {
  const untimed = (rows: readonly object[]) =>
    rows
      .map((row) => JSON.stringify({ ...row, createdAt: 0, lastSeenAt: 0, expiresAt: 0, since: 0, last: 0 }))
      .toSorted();
  return {
    sessions: untimed(datapath.sessions()),
    bindings: untimed(datapath.bindings()),
    blocks: untimed(datapath.blocks()),
    drops: untimed(datapath.drops()),
    packets: datapath.packetCounters(),
    counts: datapath.counts(),
    fill: datapath.mapFill(),
    places: datapath.places(),
    statics: datapath.staticBindings(),
    queued: [0, 1].map((slot) => [...datapath.queuedBlocks(slot)].toSorted((a, b) => a - b)),
    limits: datapath.limits(),
  };
}

export function succession(play: Play): void {
  describe('succession', () => {
    it('the next process finds all of it, and flows do not notice', async () => {
      const stage = play({ slots: 2 }, {});
      const { site } = stage.bench;
      expect(stage.datapath.info()).to.deep.include({ adopted: false, replaced: undefined });
      stage.stock({ addresses: 2, blocks: 3, size: 2 });
      stage.datapath.putStaticBinding(BINDING);
      const pools = [1, 2, 3, 4].map((from) => stage.passed(1, from));
      expect(stage.send(1, 5)).to.equal('pod_quota');
      stage.datapath.retireBlocks([stage.datapath.queuedBlocks(1).values().next().value ?? 0]);
      const before = picture(stage);
      stage.reopen();
      expect(stage.datapath.info()).to.deep.include({ adopted: true, replaced: undefined });
      expect(picture(stage)).to.deep.equal(before);
      expect(stage.datapath.setPrograms(stage.wanted())).to.equal('nothing');
      expect([1, 2, 3, 4].map((from) => stage.passed(1, from))).to.deep.equal(pools);
      const heard: number[] = [];
      stage.datapath.onEvent(({ block }) => heard.push(block));
      await stage.bench.settle();
      heard.length = 0;
      stage.passed(2, 5);
      await stage.bench.settle();
      expect(heard).to.have.length(1);
      stage.datapath.deleteStaticBinding(BINDING);
      stage.reopen();
      expect(stage.datapath.staticBindings()).to.deep.equal([]);
      expect(site.isThere()).to.equal(true);
    });

    it('what is there can be read with nobody at it, and translates', () => {
      const stage = play({ slots: 2 });
      const { site } = stage.bench;
      stage.stock({ addresses: 2, blocks: 2 });
      expect(site.facts().leased).to.deep.equal([]);
      const pool = stage.passed(1, 5);
      const places = stage.datapath.places();
      stage.datapath[Symbol.dispose]();
      expect(site.facts().leased).to.deep.equal([pool.v4]);
      expect(site.facts().places).to.deep.equal(places);
      expect(stage.send(1, 5)).to.deep.equal(pool);
      stage.begin();
      stage.passed(2, 5);
      stage.wear();
      expect(site.facts().leased, 'pods have given all of it back').to.deep.equal([]);
    });

    it('a sweep takes up what ran out while nobody was at it', () => {
      const stage = play();
      stage.stock();
      stage.passed(1, 5);
      stage.reopen();
      stage.bench.pass(10_000_000);
      expect(stage.datapath.sweep(IDLE_MS).endedCount).to.equal(1);
    });

    it('other programs are put in place at the start', () => {
      const stage = play({ maxBlocksPerPod: 1 });
      stage.stock({ blocks: 2, size: 1 });
      stage.passed(1, 5);
      stage.wanted({ maxBlocksPerPod: 2 });
      stage.reopen();
      expect(stage.datapath.info().adopted).to.equal(true);
      stage.passed(1, 6);
    });

    it('a start whose programs cannot be loaded leaves what was, and the next one takes it over', () => {
      const stage = play();
      const { site } = stage.bench;
      stage.stock();
      const pool = stage.passed(1, 5);
      const facts = site.facts();
      stage.wanted({ maxBlocksPerPod: 3 });
      stage.bench.whileLoadsFail(() => {
        expect(() => stage.reopen())
          .to.throw()
          .with.property('code', 'G64_DATAPATH_LOAD');
      });
      expect(site.isThere()).to.equal(true);
      expect(site.facts()).to.deep.equal(facts);
      expect(stage.send(1, 5)).to.deep.equal(pool);
      stage.begin();
      expect(stage.datapath.info().adopted).to.equal(true);
      expect(stage.datapath.sessions()).to.have.length(1);
    });

    it('room for fewer blocks keeps what is there; for more, or for other sessions, it begins anew and says why', () => {
      const stage = play({}, { maxSessions: 64, maxBlocks: 32 });
      stage.stock();
      stage.passed(1, 5);
      stage.reopen({ maxBlocks: 16 });
      expect(stage.datapath.info()).to.deep.include({ adopted: true, replaced: undefined });
      expect(stage.datapath.limits().blocks).to.equal(32);
      expect(stage.datapath.sessions()).to.have.length(1);
      for (const sizes of [{ maxBlocks: 33 }, { maxBlocks: 33, maxSessions: 65 }]) {
        stage.reopen(sizes);
        expect(stage.datapath.info().adopted).to.equal(false);
        expect(stage.datapath.info().replaced).to.be.a('string');
        expect([stage.datapath.sessions(), stage.datapath.blocks()]).to.deep.equal([[], []]);
        expect(stage.datapath.limits().blocks).to.equal(33);
        stage.stock();
        stage.passed(1, 5);
      }
    });

    it('removed, nothing is left, nothing translates, and the next one begins anew', () => {
      const stage = play();
      const { site } = stage.bench;
      stage.stock();
      stage.passed(1, FIRST_PORT);
      stage.datapath[Symbol.dispose]();
      expect(site.remove()).to.equal(true);
      expect(site.isThere()).to.equal(false);
      expect(site.remove()).to.equal(false);
      expect(site.facts()).to.deep.equal({ leased: [], shared: [], places: [] });
      expect(stage.send(1, FIRST_PORT)).to.equal('untranslated');
      stage.begin();
      expect(stage.datapath.info()).to.deep.include({ adopted: false, replaced: undefined });
      expect([stage.datapath.sessions(), stage.datapath.blocks()]).to.deep.equal([[], []]);
    });
  });
}
