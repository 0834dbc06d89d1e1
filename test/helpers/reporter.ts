// SPDX-License-Identifier: Apache-2.0
// mocha's spec reporter that also writes its counts to a file, for layers.ts to add up. A default export because mocha
// looks for one.

import { writeFileSync } from 'node:fs';
import Mocha from 'mocha';

class CountingReporter extends Mocha.reporters.Spec {
  constructor(runner: Mocha.Runner, options: Mocha.MochaOptions) {
    super(runner, options);
    const file = (options.reporterOptions as { counts?: string } | undefined)?.counts;
    runner.once('end', () => {
      if (file === undefined) return;
      const { passes, failures, pending } = this.stats;
      writeFileSync(file, JSON.stringify({ passed: passes, failed: failures, skipped: pending }));
    });
  }
}

// oxlint-disable-next-line import/no-default-export
export default CountingReporter;
