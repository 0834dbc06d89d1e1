// SPDX-License-Identifier: Apache-2.0
// From the file to the answer: which prefix a client sees.

import { expect } from 'chai';
import { parseConfig } from '../../../src/config/parse.ts';
import { Harness } from './harness.ts';
import { rr, T } from './scripted-server.ts';

/** What an AAAA question for a name with the A record 8.8.8.8 is answered with under the configuration `text`. */
async function synthesized(text: string): Promise<string[]> {
  const { prefixes } = parseConfig(text, 'gate64.yaml');
  const h = await Harness.start({ prefixes });
  try {
    h.upstream.on('v4.example', T.AAAA, {}).on('v4.example', T.A, { answers: [rr.a('v4.example', '8.8.8.8')] });
    return (await h.ask({ name: 'v4.example' })).answers.map((line) => line.split(' ')[3] ?? '');
  } finally {
    await h.stop();
  }
}

describe('prefix of the configuration', () => {
  it('D6147-5.2-c: N6146-3.5.4-c: none: the well-known one', async () => {
    expect(await synthesized('')).to.deep.equal(['64:ff9b::808:808']);
  });

  it('D6147-5.2-c: one: that one, and not the well-known one', async () => {
    expect(await synthesized('prefix: 2001:db8:64::/96')).to.deep.equal(['2001:db8:64::808:808']);
  });
});
