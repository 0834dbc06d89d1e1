// SPDX-License-Identifier: Apache-2.0
// nat64.timeouts.tcpIncomingSyn is accepted and reserved: the programs hold no SYN (RFC 6146 §3.5.2.2), and the page says so.

import { expect } from 'chai';
import { configKeys } from '../../../src/config/keys.ts';
import { programsOf, testPrograms, TIMEOUTS } from '../../helpers/programs.ts';

describe('nat64.timeouts.tcpIncomingSyn', () => {
  it('is described as changing nothing for as long as it changes nothing', () => {
    const [usual, other] = [TIMEOUTS, { ...TIMEOUTS, tcpIncomingSyn: 4321 }].map((timeouts) =>
      programsOf(testPrograms({ timeouts })),
    );
    expect(other).to.deep.equal(usual);
    const key = configKeys().find((entry) => entry.key === 'nat64.timeouts.tcpIncomingSyn');
    expect(key?.description).to.match(/^Reserved .* changes nothing\.$/);
  });
});
