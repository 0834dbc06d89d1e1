// SPDX-License-Identifier: Apache-2.0
// What a probe showed, in words.

import { expect } from 'chai';
import { answerStage, dropGrowth, sessionStage } from '../../../../src/cli/trace/live-stages.ts';
import type { DropRow } from '../../../../src/datapath/datapath.ts';
import { sessionRow } from '../../../helpers/reader.ts';
import { NOW } from '../helper.ts';

const row = (reason: DropRow['reason'], count: number): DropRow => ({
  reason,
  direction: '6to4',
  count,
  last: undefined,
});
const EXHAUSTED = [{ reason: 'pool_exhausted', direction: '6to4', count: 2 }] as const;
const silent = { outcome: 'silent', what: 'no answer within 3 s', ms: 3000 } as const;
const after = (changes: object) => sessionRow(NOW, { packetsOut: 3, packetsIn: 0, ...changes });

describe('trace --live: stages', () => {
  it('only what grew meanwhile counts as dropped', () => {
    const before = [row('pool_exhausted', 3), row('too_big', 7)];
    expect(dropGrowth(before, [row('pool_exhausted', 5), row('too_big', 7)])).to.deep.equal(EXHAUSTED);
  });

  it('tells a packet that was dropped from one that did not arrive', () => {
    expect(sessionStage(undefined, EXHAUSTED).message).to.match(/dropped meanwhile: 2 pool_exhausted/);
    expect(sessionStage(undefined, []).message).to.match(/did not reach it/);
    expect(sessionStage(after({}), []).verdict).to.equal('ok');
  });

  it('counts a flow’s packets from where they stood', () => {
    const session = after({ packetsOut: 13, packetsIn: 21 });
    const answered = { outcome: 'answered', what: 'connected', ms: 2 } as const;
    const stage = answerStage(answered, { before: sessionRow(NOW), after: session }, []);
    expect(stage.message).to.equal('connected, after 2 ms; 3 packets out, 1 in');
  });

  it('silence is a problem for TCP, unknown for UDP, and the pod’s side when answers came', () => {
    const judge = (changes: object) => answerStage(silent, { before: undefined, after: after(changes) }, []);
    expect(judge({}).verdict).to.equal('problem');
    expect(judge({ protocol: 'udp' }).verdict).to.equal('unknown');
    expect(judge({ packetsIn: 2 }).remedy).to.match(/from this node to the pod/);
  });
});
