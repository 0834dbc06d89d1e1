// SPDX-License-Identifier: Apache-2.0
// The contract that every data plane keeps, whatever is behind it: the promises of src/datapath/datapath.ts and what the
// ledger of blocks and the NAT64 half build on. Titles name no requirement: some who keep it translate no packet.

import { Stage, type Bench, type Play } from './bench.ts';
import { blocks } from './blocks.ts';
import { policy } from './policy.ts';
import { population } from './population.ts';
import { programs } from './programs.ts';
import { sessions } from './sessions.ts';
import { statics } from './statics.ts';
import { succession } from './succession.ts';
import { sweeps } from './sweeps.ts';

/** Defines the suite for `what`; `open` makes a bench with nothing on it, for one case or several. */
export function datapathContract(what: string, open: () => Bench): void {
  describe(`${what}: contract of a data plane`, () => {
    let stage: Stage | undefined;
    let isReusable = false;
    const close = () => {
      stage?.[Symbol.dispose]();
      stage = undefined;
    };
    const play: Play = (programs, sizes) => {
      if (stage !== undefined && isReusable && sizes === undefined && stage.clear(programs)) return stage;
      close();
      isReusable = sizes === undefined;
      return (stage = new Stage(open(), programs, sizes));
    };

    afterEach(function () {
      // Who knows what it left.
      if (this.currentTest?.state !== 'passed') close();
    });
    after(close);

    programs(play);
    policy(play);
    blocks(play);
    statics(play);
    sessions(play);
    sweeps(play);
    succession(play);
    population(play);
  });
}
