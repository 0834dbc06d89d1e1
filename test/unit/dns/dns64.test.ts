// SPDX-License-Identifier: Apache-2.0
// RFC 6147 §5.1 as a client sees it: gate64 on loopback between it and a scripted upstream.

import { expect } from 'chai';
import { Harness } from './harness.ts';
import { rr, T } from './scripted-server.ts';

describe('DNS64', () => {
  let h: Harness;
  before(async () => {
    h = await Harness.start();
  });
  after(() => h.stop());

  it('V-9: an A of TTL 300 behind NODATA with SOA 120 becomes an AAAA of TTL 120', async () => {
    h.upstream
      .on('v9.example', T.AAAA, { authorities: [rr.soa('example', 120)] })
      .on('v9.example', T.A, { answers: [rr.a('v9.example', '192.0.2.33', 300)] });
    const seen = await h.ask({ name: 'v9.example' });
    expect(seen.answers).to.deep.equal(['v9.example AAAA 120 2001:db8:64::c000:221']);
    expect(seen.flags & 0x8780).to.equal(0x8180);
  });
});
