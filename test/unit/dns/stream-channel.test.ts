// SPDX-License-Identifier: Apache-2.0
// Questions over connections: one that is closed or falls silent gives its place to the next.

import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { expect } from 'chai';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import type { Asked } from '../../../src/dns/pending.ts';
import { StreamChannel } from '../../../src/dns/upstream-stream.ts';
import { query } from './harness.ts';
import { encode } from './scripted-server.ts';

/** Longer than a connection may be silent; half of that is not. */
const SILENCE_MS = 500;

describe('questions over a connection', function () {
  this.timeout(SILENCE_MS + 4000);
  let server: Server;
  let channel: StreamChannel;
  let connections = 0;
  let first: 'closes' | 'falls silent';

  before(async () => {
    server = createServer((socket) => {
      const isFirst = ++connections === 1;
      const reader = new FrameReader();
      let heard = 0;
      socket.on('error', () => socket.destroy());
      socket.on('data', (chunk: Buffer) =>
        reader.push(chunk, (asked) => {
          if (!isFirst || heard++ === 0) socket.write(frame(encode(asked, {})));
          else if (first === 'closes') socket.end();
        }),
      );
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  beforeEach(() => {
    connections = 0;
    const { port } = server.address() as AddressInfo;
    channel = new StreamChannel({ kind: 'plain', endpoint: { family: 4, host: '127.0.0.1', port } });
  });
  afterEach(() => channel.close());
  after(() => server.close());

  const ask = (name: string) =>
    new Promise<Buffer>((onAnswer, onError) => void channel.ask(query({ name }), { onAnswer, onError }));

  it('is asked once more on a new connection when one that had answered is closed', async () => {
    first = 'closes';
    await ask('one.example');
    await ask('two.example');
    expect([connections, channel.pending]).to.deep.equal([2, 0]);
  });

  it('goes to a new connection when the old one has left one question unanswered', async () => {
    first = 'falls silent';
    await ask('one.example');
    const startedAt = performance.now();
    const waiting = ask('two.example');
    await new Promise((done) => setTimeout(done, SILENCE_MS / 2));
    expect(connections).to.equal(1);
    await waiting;
    expect(performance.now() - startedAt, 'asked again elsewhere').to.be.below(SILENCE_MS + 200);
    await ask('three.example');
    expect([connections, channel.pending]).to.deep.equal([2, 0]);
  });

  it('tells whoever asks more than can wait, and serves again when there is room', async () => {
    first = 'falls silent';
    await ask('one.example');
    const questions: Asked[] = [];
    const silent = { onAnswer: () => {}, onError: () => {} };
    const bytes = query({ name: 'many.example' });
    const askMany = () => {
      for (let i = 0; i < 0x10000; i++) questions.push(channel.ask(bytes, silent));
    };
    expect(askMany).to.throw('too many questions');
    expect(questions.length).to.be.above(20_000);
    for (const question of questions) question.cancel();
    expect(channel.pending).to.equal(0);
    channel.ask(bytes, silent).cancel();
  });

  it('refuses what a server that does not read would leave with us', async () => {
    const sockets: Socket[] = [];
    const deaf = createServer({ pauseOnConnect: true }, (socket) => sockets.push(socket.on('error', () => {})));
    deaf.listen(0, '127.0.0.1');
    await once(deaf, 'listening');
    const { port } = deaf.address() as AddressInfo;
    const deafChannel = new StreamChannel({ kind: 'plain', endpoint: { family: 4, host: '127.0.0.1', port } });
    const large = Buffer.concat([query({ name: 'large.example' }), Buffer.alloc(60_000)]);
    let taken = 0;
    let refused = 0;
    for (let turn = 0; turn < 100; turn++) {
      for (let i = 0; i < 50; i++) {
        try {
          deafChannel.ask(large, { onAnswer: () => {}, onError: () => {} }).cancel();
          taken++;
        } catch {
          refused++;
        }
      }
      await new Promise((done) => setTimeout(done, 5));
    }
    deafChannel.close();
    for (const socket of sockets) socket.destroy();
    deaf.close();
    expect(refused).to.be.above(0);
    // Of each connection what the kernel's buffers hold, and 64 KiB more.
    expect((taken * large.length) / sockets.length).to.be.below(16 * 1024 * 1024);
  });
});
