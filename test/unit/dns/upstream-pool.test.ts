// SPDX-License-Identifier: Apache-2.0
// The list of upstreams changes under way: who stays keeps its connection and its record, who leaves is not asked again.

import { expect } from 'chai';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { UpstreamPool } from '../../../src/dns/upstream.ts';
import { rcodeOf } from '../../../src/dns/wire.ts';
import { query } from './harness.ts';
import { encode, rr, ScriptedServer, T } from './scripted-server.ts';
import { TlsServer } from './tls-server.ts';

const BUDGET_MS = 1000;
const NAME = 'pool.example';
const ask = (pool: UpstreamPool) =>
  pool.exchange({ bytes: query({ name: NAME, type: T.A }), optAt: undefined }, BUDGET_MS);
const plain = (server: ScriptedServer) => ({ kind: 'plain' as const, endpoint: { ...server.endpoint } });

describe('changing the list of upstreams', () => {
  let first: ScriptedServer;
  let second: ScriptedServer;
  let pool: UpstreamPool;
  beforeEach(async () => {
    first = (await ScriptedServer.start()).on(NAME, T.A, { answers: [rr.a(NAME, '192.0.2.1')] });
    second = (await ScriptedServer.start()).on(NAME, T.A, { answers: [rr.a(NAME, '192.0.2.2')] });
  });
  afterEach(async () => {
    pool.close();
    await Promise.all([first.stop(), second.stop()]);
  });

  it('asks the new ones, and lets the old one answer what it was asked', async () => {
    first.on(NAME, T.A, { answers: [rr.a(NAME, '192.0.2.1')], delayMs: 200 });
    pool = new UpstreamPool([plain(first)], SILENT_OBSERVER);
    const early = ask(pool);
    pool.replace([plain(second)]);
    expect([pool.size, pool.pending]).to.deep.equal([1, 1]);
    const late = await ask(pool);
    expect(late && rcodeOf(late)).to.equal(0);
    const answer = await early;
    expect(answer && rcodeOf(answer)).to.equal(0);
    expect([first.count(NAME, T.A), second.count(NAME, T.A)]).to.deep.equal([1, 1]);
  });

  it('still knows which of those that stay did not answer', async () => {
    first.on(NAME, T.A, { mute: true });
    pool = new UpstreamPool([plain(first), plain(second)], SILENT_OBSERVER);
    await ask(pool);
    await ask(pool);
    const asked = first.count(NAME, T.A);
    pool.replace([plain(first), plain(second)]);
    await ask(pool);
    expect(first.count(NAME, T.A), 'down, so the other comes first').to.equal(asked);
    pool.replace([plain(second)]);
    pool.replace([plain(first), plain(second)]);
    await ask(pool);
    expect(first.count(NAME, T.A), 'back within its grace').to.equal(asked);
  });

  it('closes the connection of one that has left after a while, and keeps that of one that stays', async () => {
    const server = await TlsServer.start((sent, answer) => answer(encode(sent, {})));
    const tls = server.upstream;
    try {
      pool = new UpstreamPool([tls], SILENT_OBSERVER);
      await ask(pool);
      pool.replace([plain(second), tls]);
      await new Promise((done) => setTimeout(done, 2200));
      expect([server.open, server.accepted], 'stays').to.deep.equal([1, 1]);
      pool.replace([plain(second)]);
      await new Promise((done) => setTimeout(done, 2200));
      expect(server.open).to.equal(0);
    } finally {
      await server.stop();
    }
  }).timeout(8000);
});
