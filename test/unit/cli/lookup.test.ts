// SPDX-License-Identifier: Apache-2.0
// The command line's DNS question: over UDP, over TCP when truncated, and what it says when there is no answer.

import { expect } from 'chai';
import { lookup } from '../../../src/cli/lookup.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { rr, ScriptedServer, T } from '../dns/scripted-server.ts';

describe('lookup', () => {
  let server: ScriptedServer;
  before(async () => {
    server = await ScriptedServer.start();
  });
  after(() => server.stop());

  const failure = (asked: Promise<unknown>) =>
    asked.then(
      () => expect.fail('it has an answer'),
      (error: unknown) => error as Gate64Error,
    );

  it('asks one server over UDP and reads the records of the type it asked for', async () => {
    const name = 'v4only.example';
    server.on(name, T.A, { answers: [rr.cname(name, 'to.example'), rr.a('to.example', '203.0.113.7', 60)] });
    expect(await lookup(server.endpoint, name, 'A')).to.deep.equal({
      rcode: 0,
      records: [{ name: 'to.example', address: '203.0.113.7', ttlSeconds: 60 }],
    });
    expect(server.asked.map(({ transport }) => transport)).to.deep.equal(['udp']);
  });

  it('asks over TCP when the answer is truncated', async () => {
    const name = 'large.example';
    server.onTransport(name, T.AAAA, 'udp', { tc: true });
    server.onTransport(name, T.AAAA, 'tcp', { answers: [rr.aaaa(name, '2001:db8::7', 60)] });
    const { records } = await lookup(server.endpoint, name, 'AAAA');
    expect(records).to.deep.equal([{ name, address: '2001:db8::7', ttlSeconds: 60 }]);
  });

  for (const rcode of [2, 3, 5]) {
    it(`hands on RCODE ${rcode}`, async () => {
      server.on(`rcode${rcode}.example`, T.A, { rcode });
      expect(await lookup(server.endpoint, `rcode${rcode}.example`, 'A')).to.deep.equal({ rcode, records: [] });
    });
  }

  it('says who does not answer, and how', async () => {
    const refused = await failure(lookup({ family: 6, host: '::1', port: 9 }, 'v4only.example', 'AAAA', 200));
    expect(refused).to.be.instanceOf(Gate64Error).with.property('code', 'G64_DNS_UPSTREAM');
    expect(refused.message).to.match(/^\[::1\]:9 does not answer: /);
    expect(refused.hint).to.include('--server');
    server.on('mute.example', T.A, { mute: true });
    const silent = await failure(lookup(server.endpoint, 'mute.example', 'A', 200));
    expect(silent.message).to.equal(`127.0.0.1:${server.endpoint.port} does not answer: timeout`);
  });

  it('refuses what is no name', async () => {
    for (const name of ['a..example', `${'x'.repeat(64)}.example`]) {
      const error = await failure(lookup(server.endpoint, name, 'A'));
      expect(error, name).to.have.property('code', 'G64_DNS_MALFORMED');
    }
  });
});
