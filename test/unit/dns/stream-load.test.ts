// SPDX-License-Identifier: Apache-2.0
// Servers over TLS that answer one question after the other, close after each answer, or leave a name unanswered: every
// other name is answered in time, and with its own AAAA.

import { Packet } from 'dns2';
import { expect } from 'chai';
import { Harness, type Seen } from './harness.ts';
import { encode, rr, T } from './scripted-server.ts';
import { TlsServer, type OnQuery } from './tls-server.ts';

/** As many connections as questions are put on. */
const MAX_LIVE = 8;
const MAX_CONNECTIONS = 16;

/** Every name has both addresses, so that a synthesized answer is a wrong one. */
function answer(query: Buffer): Buffer {
  const [question] = Packet.parse(query).questions;
  const { name, type } = question as { name: string; type: number };
  return encode(query, { answers: type === T.AAAA ? [rr.aaaa(name, '2001:db8::1')] : [rr.a(name, '192.0.2.1')] });
}

const isAbout = (query: Buffer, name: string) => Packet.parse(query).questions[0]?.name === name;

/** Answers in sequence, each question `delayMs` after the one before; waits for ever at `silent`. */
function inSequence(delayMs: number, silent?: string): OnQuery {
  const last = new WeakMap<object, Promise<void>>();
  return (query, send, socket) => {
    const turn = (last.get(socket) ?? Promise.resolve()).then(async () => {
      if (silent !== undefined && isAbout(query, silent)) return new Promise<void>(() => {});
      await new Promise((done) => setTimeout(done, delayMs));
      if (!socket.destroyed) send(answer(query));
    });
    last.set(socket, turn);
  };
}

describe('many questions for one TLS upstream', function () {
  this.timeout(10_000);
  let server: TlsServer;
  let h: Harness;
  const start = async (onQuery: OnQuery) => {
    server = await TlsServer.start(onQuery);
    h = await Harness.start({ upstreams: [server.upstream], cache: { maxEntries: 0, maxBytes: 2 ** 24 } });
  };
  afterEach(async () => {
    await h.stop();
    await server.stop();
  });

  const askAll = (names: readonly string[]) => Promise.all(names.map((name) => h.ask({ name })));
  const numbered = (count: number) => Array.from({ length: count }, (_, i) => `host${i}.example`);
  const expectReal = (seen: readonly Seen[]) => {
    const wrong = seen.filter(({ answers }) => !answers[0]?.endsWith('AAAA 300 2001:db8::1'));
    expect(wrong.map(({ rcode, answers }) => [rcode, ...answers])).to.deep.equal([]);
  };

  it('100 names at once are answered by a server that takes 20 ms each, one after the other', async () => {
    await start(inSequence(20));
    expectReal(await askAll(numbered(100)));
    expect(server.most).to.be.within(2, MAX_LIVE);
  });

  it('20 names at once are answered by a server that closes after each answer', async () => {
    await start((query, send, socket, nth) => {
      if (nth > 1) return;
      send(answer(query));
      socket.end();
    });
    expectReal(await askAll(numbered(20)));
    expectReal(await askAll(numbered(20)));
    expect(server.most).to.be.at.most(MAX_CONNECTIONS);
  });

  it('a name that is never answered holds up none of the five asked with it', async () => {
    await start(inSequence(5, 'silent.example'));
    const silent = h.ask({ name: 'silent.example' });
    const seen = await askAll(numbered(5));
    expectReal(seen);
    expect(Math.max(...seen.map(({ elapsedMs }) => elapsedMs))).to.be.below(1000);
    expect((await silent).rcode).to.equal(2);
  });

  it('a server that answers out of order is asked by few connections', async () => {
    await start((query, send) => send(answer(query)));
    for (const name of numbered(10)) expectReal([await h.ask({ name })]);
    expect(server.accepted).to.equal(1);
  });

  it('a connection that is closed before any answer is made anew', async () => {
    let isFirst = true;
    await start((query, send, socket) => {
      if (isFirst) socket.destroy();
      else send(answer(query));
      isFirst = false;
    });
    expectReal([await h.ask({ name: 'host.example' })]);
  });
});
