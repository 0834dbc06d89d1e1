// SPDX-License-Identifier: Apache-2.0
// UDP on all addresses: whichever is asked is the one that answers, while addresses come and go.

import { createSocket } from 'node:dgram';
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import { expect } from 'chai';
import { WildcardListener } from '../../../src/dns/listener-wildcard.ts';
import type { QueryHandler } from '../../../src/dns/listener.ts';
import { Gate64Error } from '../../../src/errors.ts';
import { eventually } from '../../helpers/processes.ts';
import { Harness, query, see } from './harness.ts';
import { rr, T } from './scripted-server.ts';

/** From `from`, over a connected socket, which takes answers from `host` alone; undefined when none comes. */
function ask(host: string, port: number, bytes: Buffer, from: string, waitMs = 300): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    const done = (answer?: Buffer) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(done, waitMs);
    socket.on('message', (answer) => done(answer));
    socket.on('error', () => done());
    socket.bind(0, from, () => socket.connect(port, host, () => socket.send(bytes)));
  });
}

const v4 = (address: string): NetworkInterfaceInfo => ({
  address,
  netmask: '255.0.0.0',
  family: 'IPv4',
  mac: '00:00:00:00:00:00',
  internal: true,
  cidr: `${address}/8`,
});
const ANY = { family: 4, host: '0.0.0.0', port: 0 } as const;
const echo: QueryHandler = (bytes, _transport, _from, reply) => {
  reply(bytes);
  return true;
};

describe('UDP on all addresses', () => {
  let addresses: string[];
  let opened: { close(): Promise<void> }[];
  beforeEach(() => {
    addresses = ['127.0.0.2', '127.0.0.3'];
    opened = [];
  });
  afterEach(() => Promise.all(opened.map((one) => one.close())));

  const start = async (endpoint: Parameters<typeof WildcardListener.start>[0] = ANY) => {
    const interfaces = () => ({ lo: addresses.map(v4), other: addresses.map(v4) });
    const listener = await WildcardListener.start(endpoint, echo, { interfaces, lookMs: 10 });
    opened.push(listener);
    const answers = async (host: string) =>
      (await ask(host, listener.endpoint.port, Buffer.from(host), '127.0.0.1', 100))?.toString() === host;
    return { listener, answers };
  };
  const taker = (host: string, port = 0) =>
    new Promise<number>((resolve) => {
      const socket = createSocket('udp4');
      opened.push({ close: () => new Promise((done) => socket.close(done)) });
      socket.bind(port, host, () => resolve(socket.address().port));
    });

  it('the address that was asked answers', async () => {
    const { answers } = await start();
    for (const address of addresses) expect(await answers(address), address).to.equal(true);
  });

  it('an address that comes is listened on, one that goes is not, and may come again', async () => {
    const { listener, answers } = await start();
    addresses = ['127.0.0.3', '127.0.0.4'];
    await eventually('the new one answers', async () => (await answers('127.0.0.4')) || undefined, 2000, 10);
    expect([await answers('127.0.0.3'), await answers('127.0.0.2')]).to.deep.equal([true, false]);
    // Its socket is closed: somebody else may have the port there.
    expect(await taker('127.0.0.2', listener.endpoint.port)).to.equal(listener.endpoint.port);
    await opened.pop()?.close();
    addresses.push('127.0.0.2');
    await eventually('the old one answers', async () => (await answers('127.0.0.2')) || undefined, 2000, 10);
  });

  it('an address that cannot be bound yet holds up no other, and is tried again', async () => {
    // Documentation address that this host does not have: EADDRNOTAVAIL, as for a tentative one.
    addresses = ['192.0.2.77', '127.0.0.2'];
    const { listener, answers } = await start();
    expect(await answers('127.0.0.2')).to.equal(true);
    await taker('127.0.0.5', listener.endpoint.port);
    addresses = ['192.0.2.77', '127.0.0.5', '127.0.0.6'];
    await eventually('the next one answers', async () => (await answers('127.0.0.6')) || undefined, 2000, 10);
    await opened.pop()?.close();
    await eventually('the freed one answers', async () => (await answers('127.0.0.5')) || undefined, 2000, 10);
  });

  it('a port that somebody has on one address is refused', async () => {
    const port = await taker('127.0.0.9');
    const error = await start({ ...ANY, port }).catch((caught: unknown) => caught);
    expect(error).to.be.instanceOf(Gate64Error).with.property('code', 'G64_LISTEN');
    expect((error as Error).message).to.include(`0.0.0.0:${port}`);
  });

  it('closes every socket', async () => {
    const { listener, answers } = await start();
    await listener.close();
    for (const address of addresses) {
      expect(await answers(address)).to.equal(false);
      expect(await taker(address, listener.endpoint.port)).to.equal(listener.endpoint.port);
    }
  });

  it('serves every address of this host as one listener, on one port for UDP and TCP', async () => {
    const h = await Harness.start({ listen: [ANY, { family: 6, host: '::', port: 0 }] });
    try {
      h.upstream.on('w.example', T.AAAA, {}).on('w.example', T.A, { answers: [rr.a('w.example', '192.0.2.9')] });
      const { listeners } = h.dns;
      expect(listeners.map(({ protocol, address }) => `${protocol} ${address}`)).to.deep.equal([
        'udp 0.0.0.0',
        'tcp 0.0.0.0',
        'udp ::',
        'tcp ::',
      ]);
      expect([listeners[0]?.port, listeners[2]?.port]).to.deep.equal([listeners[1]?.port, listeners[3]?.port]);
      for (const { family, address, scopeid } of Object.values(networkInterfaces()).flatMap((all) => all ?? [])) {
        if (scopeid) continue;
        const isV4 = family === 'IPv4';
        const port = listeners[isV4 ? 0 : 2]?.port ?? 0;
        // From loopback, to which the route prefers loopback's address.
        const answer = await ask(address, port, query({ name: 'w.example' }), isV4 ? '127.0.0.1' : '::1', 2000);
        expect(answer && see(answer).answers, address).to.have.length(1);
      }
    } finally {
      await h.stop();
    }
  });
});
