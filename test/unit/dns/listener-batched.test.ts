// SPDX-License-Identifier: Apache-2.0
// DNS over UDP, many datagrams a system call: each answered from where it was asked, at once or later.

import { createSocket, type Socket } from 'node:dgram';
import { expect } from 'chai';
import { BatchedListener } from '../../../src/dns/listener-batched.ts';
import type { Peer, QueryHandler, Reply } from '../../../src/dns/listener.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { eventually } from '../../helpers/processes.ts';

describe('the batched UDP listener', () => {
  let opened: { close(): unknown }[];
  beforeEach(() => (opened = []));
  afterEach(async () => {
    for (const one of opened) await one.close();
  });

  const listen = (host: string, handler: QueryHandler) => {
    const listener = BatchedListener.start({ family: host.includes(':') ? 6 : 4, host, port: 0 }, handler);
    opened.push(listener);
    return listener.endpoint.port;
  };
  /** Connected: takes answers from the address that it asks alone. */
  const client = async (port: number, host: string): Promise<{ socket: Socket; got: string[] }> => {
    const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 });
    opened.push(socket);
    const got: string[] = [];
    socket.on('message', (bytes) => got.push(bytes.toString()));
    await new Promise<void>((connected) => socket.connect(port, host, connected));
    return { socket, got };
  };
  const echo: QueryHandler = (bytes, _transport, _from, reply) => {
    reply(bytes);
    return true;
  };

  for (const [any, host] of [
    ['0.0.0.0', '127.0.0.2'],
    ['0.0.0.0', '127.0.0.1'],
    ['::', '::1'],
  ] as const) {
    it(`${any} answers from ${host}, and says who asked there`, async () => {
      let seen: { address: string; port: number; local: Peer['local'] } | undefined;
      const port = listen(any, (bytes, transport, from, reply) => {
        seen = { address: from.address, port: from.port, local: from.local };
        return echo(bytes, transport, from, reply);
      });
      const { socket, got } = await client(port, host);
      socket.send('asked');
      await eventually('the answer', () => Promise.resolve(got.length > 0 || undefined), 2000, 5);
      expect(got).to.deep.equal(['asked']);
      const { address, port: own } = socket.address();
      expect(seen).to.deep.equal({ address, port: own, local: { address: host, port, ifindex: 1 } });
    });
  }

  it('answers that come later go to who asked, after others have asked', async () => {
    const waiting: [string, Reply, Peer][] = [];
    const port = listen('127.0.0.1', (bytes, _transport, from, reply) => {
      waiting.push([bytes.toString(), reply, from]);
      return true;
    });
    const clients = await Promise.all(Array.from({ length: 8 }, () => client(port, '127.0.0.1')));
    for (let round = 0; round < 20; round++) {
      for (const [i, { socket }] of clients.entries()) socket.send(`${i} ${round}`);
      await eventually('all asked', () => Promise.resolve(waiting.length === (round + 1) * 8 || undefined), 2000, 1);
    }
    for (const [text, reply, from] of waiting.reverse()) reply(Buffer.from(`${text} ${from.port}`));
    await eventually('all answers', () => Promise.resolve(clients.every(({ got }) => got.length === 20) || undefined));
    for (const [i, { socket, got }] of clients.entries()) {
      const wanted = Array.from({ length: 20 }, (_, round) => `${i} ${round} ${socket.address().port}`);
      expect(got.toSorted()).to.deep.equal(wanted.toSorted());
    }
  });

  it('a burst of several batches is answered, each datagram whole, whatever its length', async () => {
    const port = listen('127.0.0.1', echo);
    const { socket, got } = await client(port, '127.0.0.1');
    const sent = Array.from({ length: 300 }, (_, i) => `${i} `.padEnd(1 + ((i * 37) % 900), 'x'));
    for (const one of sent) socket.send(one);
    await eventually('all answers', () => Promise.resolve(got.length === sent.length || undefined), 3000, 5);
    expect(got.toSorted()).to.deep.equal(sent.toSorted());
  });

  it('a datagram as long as any is answered whole', async () => {
    const port = listen('127.0.0.1', echo);
    const { socket, got } = await client(port, '127.0.0.1');
    socket.send('y'.repeat(65_507));
    await eventually('the answer', () => Promise.resolve(got.length > 0 || undefined), 2000, 5);
    expect(got[0]).to.have.length(65_507);
  });

  it('who is gone when the answer comes holds up nobody', async () => {
    const port = listen('127.0.0.1', echo);
    const { socket, got } = await client(port, '127.0.0.1');
    const gone = createSocket('udp4');
    for (let i = 0; i < 10; i++) gone.send('gone', port, '127.0.0.1');
    await new Promise<void>((sent) => gone.send('gone', port, '127.0.0.1', () => gone.close(() => sent())));
    socket.send('here');
    await eventually('the answer', () => Promise.resolve(got.length > 0 || undefined), 2000, 5);
    expect(got).to.deep.equal(['here']);
  });

  it('a port that is taken, and an address that is not here, are refused by their errno', async () => {
    const taken = listen('127.0.0.1', echo);
    for (const [host, port, code] of [
      ['127.0.0.1', taken, 'EADDRINUSE'],
      ['0.0.0.0', taken, 'EADDRINUSE'],
      ['192.0.2.77', 0, 'EADDRNOTAVAIL'],
    ] as const) {
      expect(() => BatchedListener.start({ family: 4, host, port }, echo))
        .to.throw(Gate64Error, code)
        .with.property('code', 'G64_LISTEN');
    }
  });

  it('closed, it answers nobody, and the port is free', async () => {
    let answer: Reply | undefined;
    const endpoint = { family: 4, host: '127.0.0.1', port: 0 } as const;
    const listener = BatchedListener.start(endpoint, (_bytes, _transport, _from, reply) => {
      answer = reply;
      return true;
    });
    const { socket } = await client(listener.endpoint.port, '127.0.0.1');
    socket.send('asked');
    await eventually('asked', () => Promise.resolve(answer), 2000, 5);
    await listener.close();
    answer?.(Buffer.from('late'));
    opened.push(BatchedListener.start({ ...endpoint, port: listener.endpoint.port }, echo));
  });
});
