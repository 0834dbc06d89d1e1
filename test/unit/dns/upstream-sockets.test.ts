// SPDX-License-Identifier: Apache-2.0
// Both kinds of sockets that upstreams are asked by: what they deliver, what they say of errors, and that they hold nothing up.

import { spawn } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { expect } from 'chai';
import { parseEndpoint, type Endpoint } from '../../../src/addr/ip.ts';
import { BatchedUpstreamSocket } from '../../../src/dns/upstream-batched.ts';
import { openDgram } from '../../../src/dns/upstream-dgram.ts';
import type { OpenUpstreamSocket, UpstreamSocket } from '../../../src/dns/upstream-socket.ts';
import { eventually } from '../../helpers/processes.ts';

const KINDS: Readonly<Record<string, OpenUpstreamSocket>> = {
  dgram: openDgram,
  batched: (endpoint, events) => new BatchedUpstreamSocket(endpoint, events),
};

for (const [kind, open] of Object.entries(KINDS)) {
  describe(`sockets to upstreams: ${kind}`, () => {
    const toClose: { close(): unknown }[] = [];
    afterEach(() => {
      for (const each of toClose.splice(0)) each.close();
    });

    async function serve(host: string, onMessage: (bytes: Buffer, from: AddressInfo, server: Socket) => void) {
      const server = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 });
      server.on('message', (bytes, from) => onMessage(bytes, from, server));
      server.bind(0, host);
      await once(server, 'listening');
      toClose.push(server);
      const { port } = server.address();
      return { server, endpoint: parseEndpoint(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`) };
    }

    function ask(endpoint: Endpoint) {
      const heard: Buffer[] = [];
      const errors: (Error & { code?: string })[] = [];
      const own = { port: 0, address: '' };
      const socket: UpstreamSocket = open(endpoint, {
        onConnected: (port, address) => void Object.assign(own, { port, address }),
        onMessage: (bytes) => void heard.push(bytes),
        onError: (error) => void errors.push(error),
      });
      toClose.push(socket);
      return { socket, heard, errors, own };
    }
    const until = (what: string, isSo: () => boolean) =>
      eventually(what, async () => ((await Promise.resolve(isSo())) ? true : undefined), 5000, 5);

    for (const host of ['127.0.0.1', '::1']) {
      it(`${host}: a burst of 500 comes and is answered, each datagram whole and to be kept`, async () => {
        const { endpoint } = await serve(host, (bytes, { port, address }, server) => server.send(bytes, port, address));
        const { socket, heard, errors } = ask(endpoint);
        const sent = Array.from({ length: 500 }, (_, i) => Buffer.alloc(12 + (i % 200), i & 255));
        for (const bytes of sent) socket.send(bytes);
        await until('all are back', () => heard.length === 500);
        const sorted = (list: readonly Buffer[]) => list.map((bytes) => bytes.toString('hex')).toSorted();
        expect(sorted(heard)).to.deep.equal(sorted(sent));
        expect(errors).to.deep.equal([]);
      });

      it(`${host}: says where it asks from`, async () => {
        const from: AddressInfo[] = [];
        const { endpoint } = await serve(host, (_, sender) => void from.push(sender));
        const { socket, own } = ask(endpoint);
        socket.send(Buffer.from('x'));
        await until('it is asked', () => from.length === 1);
        expect([own.address, own.port]).to.deep.equal([from[0]?.address, from[0]?.port]);
      });
    }

    it('hears of nobody but whom it asks', async () => {
      const { endpoint } = await serve('127.0.0.1', () => undefined);
      const { socket, heard, own } = ask(endpoint);
      socket.send(Buffer.from('x'));
      await until('it has a port', () => own.port !== 0);
      const stranger = createSocket('udp4');
      toClose.push(stranger);
      stranger.send(Buffer.from('forged'), own.port, '127.0.0.1');
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(heard).to.deep.equal([]);
    });

    it('a datagram as long as any comes whole', async () => {
      const { endpoint } = await serve('127.0.0.1', (_, { port, address }, server) =>
        server.send(Buffer.alloc(65_507, 7), port, address),
      );
      const { socket, heard } = ask(endpoint);
      socket.send(Buffer.from('x'));
      await until('it is there', () => heard.length === 1);
      expect(heard[0]?.equals(Buffer.alloc(65_507, 7))).to.equal(true);
    });

    it('a port that nobody listens on is said at once', async () => {
      const { server, endpoint } = await serve('127.0.0.1', () => undefined);
      server.close();
      toClose.length = 0;
      const { socket, errors } = ask(endpoint);
      socket.send(Buffer.from('x'));
      await until('the error is there', () => errors.length > 0);
      expect(errors[0]?.code).to.equal('ECONNREFUSED');
    });

    it('an address without a way is an error that comes later, and nothing is sent', async () => {
      const { socket, errors } = ask({ family: 6, host: 'fe80::1%no-such-link', port: 53 });
      socket.send(Buffer.from('x'));
      expect(errors).to.deep.equal([]);
      await until('the error is there', () => errors.length > 0);
    });

    it('closed it says and hears nothing any more, from within what it said too', async () => {
      const { endpoint } = await serve('127.0.0.1', (bytes, { port, address }, server) => {
        for (let i = 0; i < 5; i++) server.send(bytes, port, address);
      });
      const heard: Buffer[] = [];
      const socket = open(endpoint, {
        onConnected: () => undefined,
        onMessage: (bytes) => {
          heard.push(bytes);
          socket.close();
        },
        onError: (error) => expect.fail(String(error)),
      });
      socket.send(Buffer.from('x'));
      await until('it is heard', () => heard.length > 0);
      await new Promise((resolve) => setTimeout(resolve, 50));
      expect(heard).to.have.length(1);
      socket.send(Buffer.from('y'));
    });

    it('open ones keep no process alive and do not end it as a crash', async () => {
      const script = `
        import { openDgram } from './src/dns/upstream-dgram.ts';
        import { BatchedUpstreamSocket } from './src/dns/upstream-batched.ts';
        const open = { dgram: openDgram, batched: (...args) => new BatchedUpstreamSocket(...args) }['${kind}'];
        const endpoint = { family: 4, host: '127.0.0.1', port: 9 };
        for (let i = 0; i < 20; i++) open(endpoint, { onConnected() {}, onMessage() {}, onError() {} });`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' });
      let said = '';
      child.stderr.on('data', (text: Buffer) => (said += text.toString()));
      const [code] = (await once(child, 'exit')) as [number | null];
      expect(code, said).to.equal(0);
    }).timeout(10_000);

    it('hundreds at once are read and closed', async () => {
      const { endpoint } = await serve('127.0.0.1', (bytes, { port, address }, server) =>
        server.send(bytes, port, address),
      );
      const all = Array.from({ length: 300 }, () => ask(endpoint));
      for (const { socket } of all) for (let i = 0; i < 3; i++) socket.send(Buffer.from(`question ${i}`));
      await until('all are answered', () => all.every(({ heard }) => heard.length === 3));
      expect(all.flatMap(({ errors }) => errors)).to.deep.equal([]);
    });
  });
}
