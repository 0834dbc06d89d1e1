// SPDX-License-Identifier: Apache-2.0
// TCP clients that mean ill: no one keeps another out, none takes memory without end (RFC 7766 §6.2.2, §10).

import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'chai';
import { FrameReader, frame } from '../../../src/dns/frames.ts';
import { TcpListener, type TcpOptions } from '../../../src/dns/listener-tcp.ts';
import type { QueryHandler } from '../../../src/dns/listener.ts';
import { eventually } from '../../helpers/processes.ts';
import { query } from './harness.ts';

const MIB = 1024 * 1024;
const QUERY = frame(query({ name: 'www.example' }));
const echo: QueryHandler = (bytes, _transport, _from, reply) => {
  reply(bytes);
  return true;
};

/** Of what is in use, garbage left out. */
function heapOctets(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

describe('TCP clients', () => {
  let listener: TcpListener;
  let sockets: Socket[];
  beforeEach(() => {
    sockets = [];
  });
  afterEach(async () => {
    for (const socket of sockets) socket.destroy();
    await listener.close();
  });

  const start = async (handler: QueryHandler = echo, options: TcpOptions = {}) => {
    listener = await TcpListener.start({ family: 4, host: '127.0.0.1', port: 0 }, handler, options);
  };
  const open = (from = '127.0.0.1'): Promise<Socket> =>
    new Promise((resolve) => {
      // Half open: the client does not close because we do.
      const socket = connect({
        port: listener.endpoint.port,
        host: '127.0.0.1',
        localAddress: from,
        allowHalfOpen: true,
      });
      sockets.push(socket);
      socket.on('error', () => socket.destroy());
      socket.on('connect', () => resolve(socket));
    });
  const many = async (count: number, from = '127.0.0.1') => {
    const made: Socket[] = [];
    for (let i = 0; i < count; i++) made.push(await open(from));
    return made;
  };
  /** Octets that come back within two seconds. */
  const asks = (socket: Socket): Promise<number> =>
    new Promise((resolve) => {
      socket.once('data', (chunk: Buffer) => resolve(chunk.length));
      socket.once('close', () => resolve(0));
      setTimeout(() => resolve(0), 2000).unref();
      socket.write(QUERY);
    });
  /** For clients that do not notice, since they do not read. */
  const noneLeft = (withinMs: number) =>
    eventually('none is left', () => Promise.resolve(listener.connections === 0 || undefined), withinMs, 20);
  const closed = (socket: Socket, withinMs: number) =>
    eventually('it is closed', () => Promise.resolve(socket.destroyed || undefined), withinMs, 20);

  it('1030 connections of one client that never close keep nobody else out', async () => {
    await start();
    await many(1030);
    expect(await asks(await open('127.0.0.2'))).to.equal(QUERY.length);
    expect(await asks(await open()), 'the client itself').to.equal(QUERY.length);
  });

  it('a client has an eighth of all, at least 16; its idlest connection makes room', async () => {
    await start(echo, { maxConnections: 64 });
    const made = await many(16);
    for (const socket of made) expect(await asks(socket)).to.equal(QUERY.length);
    expect(await asks(made[0] as Socket)).to.equal(QUERY.length);
    await open();
    await closed(made[1] as Socket, 2000);
    expect(made.filter((socket) => socket.destroyed)).to.have.length(1);
  });

  it('when all are taken the idlest of the greediest goes', async () => {
    await start(echo, { maxConnections: 32 });
    const modest = await many(2, '127.0.0.2');
    const greedy = await many(16, '127.0.0.3');
    const others = await many(14, '127.0.0.4');
    expect(await asks(greedy[0] as Socket)).to.equal(QUERY.length);
    const [newcomer] = await many(1, '127.0.0.5');
    expect(await asks(newcomer as Socket)).to.equal(QUERY.length);
    await closed(greedy[1] as Socket, 2000);
    const gone = [...modest, ...greedy, ...others].filter((socket) => socket.destroyed);
    expect(gone).to.have.length(1);
  });

  it('an idle connection ends although its client does not close', async () => {
    await start(echo, { times: { idle: 200, closing: 100 } });
    const socket = await open();
    expect(await asks(socket)).to.equal(QUERY.length);
    let hasEnded = false;
    socket.on('end', () => (hasEnded = true));
    await noneLeft(2000);
    expect(hasEnded, 'FIN comes before RST').to.equal(true);
  });

  it('a message that was begun has to be whole in time, whatever comes of it', async () => {
    await start(echo, { times: { message: 300 } });
    const socket = await open();
    socket.write(Buffer.from([255, 255]));
    const trickle = setInterval(() => socket.write('x'), 30);
    try {
      await closed(socket, 2000);
    } finally {
      clearInterval(trickle);
    }
  });

  it('a client that asks slowly, but whole messages, stays', async () => {
    await start(echo, { times: { message: 200, idle: 300 } });
    const socket = await open();
    for (let i = 0; i < 5; i++) {
      expect(await asks(socket)).to.equal(QUERY.length);
      await new Promise((done) => setTimeout(done, 150));
    }
  });

  it('what is no query ends the connection', async () => {
    await start(() => false);
    const socket = await open();
    socket.write(Buffer.from([0, 0]));
    await closed(socket, 2000);
  });

  it('a client that does not read makes gate64 read no more, and goes; all questions of one that does are answered', async () => {
    let asked = 0;
    const large = Buffer.alloc(60_000);
    await start(
      (_bytes, _transport, _from, reply) => {
        asked++;
        reply(large);
        return true;
      },
      { times: { unread: 500 } },
    );
    const socket = await open();
    socket.pause();
    socket.write(Buffer.concat(Array.from({ length: 2000 }, () => QUERY)));
    await new Promise((done) => setTimeout(done, 200));
    expect(asked).to.be.below(200);
    await noneLeft(3000);
    const reading = await open();
    let octets = 0;
    reading.on('data', (chunk: Buffer) => (octets += chunk.length));
    reading.end(Buffer.concat(Array.from({ length: 2000 }, () => QUERY)));
    const all = () => Promise.resolve(octets === 2000 * (large.length + 2) || undefined);
    await eventually('every answer has come', all, 10_000, 50);
  });

  it('1000 connections that ask and never read cost a bounded number of octets', async () => {
    const large = Buffer.alloc(60_000);
    await start((_bytes, _transport, _from, reply) => {
      reply(large);
      return true;
    });
    const questions = Buffer.concat(Array.from({ length: 300 }, () => QUERY));
    const before = process.memoryUsage();
    let most = 0;
    for (let client = 1; client <= 10; client++) {
      for (const socket of await many(100, `127.0.1.${client}`)) {
        socket.pause();
        socket.write(questions);
      }
      const now = process.memoryUsage();
      most = Math.max(most, now.external - before.external);
    }
    await new Promise((done) => setTimeout(done, 300));
    const after = process.memoryUsage();
    most = Math.max(most, after.external - before.external);
    // 32 MiB of answers, what was read of questions, and 64 KiB that each of these clients has read itself.
    expect(most / MIB).to.be.below(256);
    expect(await asks(await open('127.0.0.2'))).to.be.above(0);
  });
}).timeout(30_000);

describe('messages in a stream, octet by octet', () => {
  it('cost no more than twice their octets', () => {
    const reader = new FrameReader();
    let got: Buffer | undefined;
    const take = (message: Buffer) => (got = message);
    const before = heapOctets();
    for (const octet of [255, 255]) reader.push(Buffer.from([octet]), take);
    for (let i = 0; i < 65_534; i++) {
      reader.push(Buffer.from([i & 255]), take);
      if (i === 1000) expect(reader.kept).to.be.below(2100);
    }
    const after = heapOctets();
    expect(reader.kept).to.be.at.most(65_537);
    expect(after - before).to.be.below(MIB);
    reader.push(Buffer.from([7]), take);
    expect([got?.length, got?.at(-1), reader.kept]).to.deep.equal([65_535, 7, 0]);
  });

  it('part of a message does not hold the chunk that it came in', () => {
    const reader = new FrameReader();
    const whole = frame(Buffer.alloc(60_000));
    const got: number[] = [];
    reader.push(Buffer.concat([whole, whole.subarray(0, 10)]), (message) => got.push(message.length));
    expect([got, reader.kept < 100]).to.deep.equal([[60_000], true]);
    reader.push(whole.subarray(10), (message) => got.push(message.length));
    expect(got).to.deep.equal([60_000, 60_000]);
  });

  it('who wants no more gets the rest later', () => {
    const reader = new FrameReader();
    const got: number[] = [];
    const one = (message: Buffer) => {
      got.push(message.length);
      return false;
    };
    const sent = Buffer.concat([1, 2, 3].map((length) => frame(Buffer.alloc(length))));
    expect(reader.push(sent, one)).to.equal(false);
    expect(got).to.deep.equal([1]);
    for (const expected of [
      [1, 2],
      [1, 2, 3],
    ]) {
      reader.push(Buffer.alloc(0), one);
      expect(got).to.deep.equal(expected);
    }
    expect([reader.push(Buffer.alloc(0), one), reader.hasPartial]).to.deep.equal([true, false]);
  });
});
