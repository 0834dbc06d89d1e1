// SPDX-License-Identifier: Apache-2.0
// The two ends of dns-source.test.ts, each in its namespace: a server that answers every question with nothing, or a
// client that asks it once a message and sends back how many milliseconds that took, or "none".

import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { FrameReader, frame } from '../../src/dns/frames.ts';
import { SILENT_OBSERVER } from '../../src/dns/observer.ts';
import { StreamChannel } from '../../src/dns/upstream-stream.ts';
import { UpstreamPool } from '../../src/dns/upstream.ts';
import { query } from '../unit/dns/harness.ts';

const upstream = { kind: 'plain' as const, endpoint: { family: 4 as const, host: '192.0.2.2', port: 53 } };
const BUDGET_MS = 1700;

function serve(): void {
  const { host, port } = upstream.endpoint;
  const answer = (asked: Buffer) => {
    const bytes = Buffer.from(asked);
    bytes.writeUInt16BE(0x8180, 2);
    return bytes;
  };
  const udp = createSocket('udp4').on('message', (asked, from) => udp.send(answer(asked), from.port, from.address));
  udp.bind(port, host);
  const tcp = createServer((socket) => {
    const reader = new FrameReader();
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => reader.push(chunk, (asked) => socket.write(frame(answer(asked)))));
  });
  tcp.listen(port, host, () => process.send?.('ready'));
}

function client(ask: (bytes: Buffer) => Promise<unknown>): void {
  process.on('message', () => {
    const startedAt = performance.now();
    void ask(query({ name: 'host.example' })).then((answer) =>
      process.send?.(answer === undefined ? 'none' : Math.round(performance.now() - startedAt)),
    );
  });
  process.send?.('ready');
}

const pool = new UpstreamPool([upstream], SILENT_OBSERVER);
const stream = new StreamChannel(upstream);
switch (process.argv[2]) {
  case 'server':
    serve();
    break;
  case 'udp':
    client((bytes) => pool.exchange({ bytes, optAt: undefined }, BUDGET_MS));
    break;
  default:
    client(
      (bytes) =>
        new Promise((done) => {
          const question = stream.ask(bytes, { onAnswer: done, onError: () => done(undefined) });
          setTimeout(() => {
            question.cancel();
            done(undefined);
          }, BUDGET_MS).unref();
        }),
    );
}
