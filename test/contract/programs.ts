// SPDX-License-Identifier: Apache-2.0
// The contract of setPrograms: it looks at what is, does what is missing, and leaves sessions as they are.

import { expect } from 'chai';
import { formatIp6 } from '../../src/addr/ip.ts';
import { embedIp4, parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { PREFIX, SERVER, textOf, type Play, type Stage } from './bench.ts';

const OTHER = parsePrefix64('2001:db8:65::/96');
const LOAD_FAILED = { code: 'G64_DATAPATH_LOAD' } as const;

function failure(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

const through = (stage: Stage, from: number, prefix = PREFIX) =>
  stage.bench.send({ ...stage.flow(1, from), destination6: embedIp4(prefix, SERVER) });

export function programs(play: Play): void {
  describe('programs', () => {
    it('setting what is there does nothing, another value loads, and so does the way back', () => {
      const stage = play();
      const { datapath } = stage;
      const first = stage.wanted();
      expect(datapath.setPrograms(first)).to.equal('nothing');
      const second = stage.wanted({ maxBlocksPerPod: 3 });
      expect(datapath.setPrograms(second)).to.equal('loaded');
      expect(datapath.setPrograms(second)).to.equal('nothing');
      expect(datapath.setPrograms({ ...second })).to.equal('nothing');
      expect(datapath.setPrograms(first)).to.equal('loaded');
    });

    it('what somebody detached translates nothing and is attached again, its sessions with it', () => {
      const stage = play();
      stage.stock();
      const pool = stage.passed(1, 5);
      const attached = () => stage.datapath.attachments().map((row) => row.attached);
      expect(attached()).to.deep.equal([true]);
      stage.bench.detach();
      expect(attached()).to.deep.equal([false]);
      expect(stage.send(1, 5)).to.equal('untranslated');
      expect(stage.datapath.setPrograms(stage.wanted())).to.equal('attached');
      expect(attached()).to.deep.equal([true]);
      expect(stage.datapath.setPrograms(stage.wanted())).to.equal('nothing');
      expect(stage.send(1, 5)).to.deep.equal(pool);
      expect(stage.datapath.sessions().map(({ packetsOut }) => packetsOut)).to.deep.equal([2]);
    });

    it('another value is loaded and attached when somebody detached what was there', () => {
      const stage = play();
      stage.stock();
      stage.bench.detach();
      expect(stage.datapath.setPrograms(stage.wanted({ maxSessionsPerPod: 7 }))).to.equal('loaded');
      stage.passed(1, 5);
    });

    it('a load that fails changes nothing: what was goes on, is there when set again, and the next load works', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      const pool = stage.passed(1, 5);
      const [before, places] = [stage.wanted(), datapath.places()];
      const after = stage.wanted({ prefixes: [OTHER], maxSessionsPerPod: 7 });
      bench.whileLoadsFail(() => {
        expect(failure(() => datapath.setPrograms(after))).to.include(LOAD_FAILED);
        expect(datapath.places()).to.deep.equal(places);
        expect(through(stage, 5)).to.deep.equal(pool);
        expect(through(stage, 6, OTHER)).to.equal('untranslated');
        expect(datapath.setPrograms(before)).to.equal('nothing');
      });
      expect(datapath.setPrograms(before)).to.equal('nothing');
      expect(datapath.setPrograms(after)).to.equal('loaded');
      expect(through(stage, 6, OTHER)).to.be.an('object');
      expect(through(stage, 6)).to.equal('untranslated');
    });

    it('without the device nothing can be attached; when it is back, another call repairs it', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      const pool = stage.passed(1, 5);
      const before = stage.wanted();
      bench.withoutDevice(() => {
        for (const round of [1, 2]) {
          expect(
            failure(() => datapath.setPrograms(before)),
            `${round}`,
          ).to.include(LOAD_FAILED);
        }
      });
      expect(datapath.setPrograms(before)).to.equal('attached');
      expect(stage.send(1, 5)).to.deep.equal(pool);
    });

    it('other programs that could not be attached are no obstacle: back to what was, or on to them', () => {
      const stage = play();
      const { bench, datapath } = stage;
      stage.stock();
      const pool = stage.passed(1, 5);
      const [before, places] = [stage.wanted(), datapath.places()];
      const after = stage.wanted({ prefixes: [PREFIX, OTHER] });
      bench.withoutDevice(() => {
        expect(failure(() => datapath.setPrograms(after))).to.include(LOAD_FAILED);
        expect(datapath.places(), 'these never ran').to.deep.equal(places);
      });
      expect(datapath.places()).to.deep.equal(places);
      expect(datapath.setPrograms(before)).to.equal('attached');
      expect(datapath.places()).to.deep.equal(places);
      expect(through(stage, 5)).to.deep.equal(pool);
      expect(through(stage, 6, OTHER)).to.equal('untranslated');
      bench.withoutDevice(() => expect(failure(() => datapath.setPrograms(after))).to.include(LOAD_FAILED));
      expect(datapath.setPrograms(after)).to.equal('loaded');
      expect(through(stage, 5)).to.deep.equal(pool);
      expect(through(stage, 6, OTHER)).to.be.an('object');
    });

    it('sessions stay over a load, and the new settings hold from then on', () => {
      const stage = play({ maxBlocksPerPod: 1 });
      stage.stock({ blocks: 2, size: 1 });
      const pool = stage.passed(1, 5);
      expect(stage.send(1, 6)).to.equal('pod_quota');
      expect(stage.datapath.setPrograms(stage.wanted({ maxBlocksPerPod: 2 }))).to.equal('loaded');
      expect(stage.send(1, 5)).to.deep.equal(pool);
      expect(textOf(stage.passed(1, 6))).not.to.equal(textOf(pool));
      expect(stage.datapath.sessions()).to.have.length(2);
    });

    it('places() are those of the programs; a session keeps its prefix when the one before it goes', () => {
      const stage = play({ prefixes: [PREFIX, OTHER] });
      const { datapath } = stage;
      const first = stage.wanted();
      expect(datapath.places()).to.deep.equal(first.prefixes);
      stage.stock();
      const pool = through(stage, 5, OTHER);
      const second = stage.wanted({ prefixes: [OTHER] });
      expect(second.prefixes[1], 'it stays where it is').to.deep.equal(first.prefixes[1]);
      expect(datapath.setPrograms(second)).to.equal('loaded');
      expect(datapath.places()).to.deep.equal(second.prefixes);
      expect(through(stage, 6)).to.equal('untranslated');
      expect(through(stage, 5, OTHER)).to.deep.equal(pool);
      const destinations = datapath.sessions().map(({ destination6 }) => formatIp6(destination6));
      expect(destinations).to.deep.equal([formatIp6(embedIp4(OTHER, SERVER))]);
    });

    it('a pod gets nothing before there is an address to put it on', () => {
      const stage = play({ slots: 0 });
      expect(stage.send(1, 5)).to.equal('not_configured');
      stage.stock();
      stage.datapath.setPrograms(stage.wanted({ slots: 1 }));
      stage.passed(1, 5);
    });
  });
}
