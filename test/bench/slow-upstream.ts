// SPDX-License-Identifier: Apache-2.0
// An upstream resolver with a script: `node slow-upstream.ts PORT DELAY_MS`. Every name below example. has an A record
// and no AAAA record; every answer is late by DELAY_MS. UDP on 127.0.0.1.

import { createSocket } from 'node:dgram';

const [port, delayMs] = process.argv.slice(2).map(Number) as [number, number];
const TTL_SECONDS = 3600;
const TYPE = { a: 1, soa: 6 };

function record(owner: Buffer, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(10);
  head.writeUInt16BE(type, 0);
  head.writeUInt16BE(1, 2);
  head.writeUInt32BE(TTL_SECONDS, 4);
  head.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, head, data]);
}

const ZONE = Buffer.from('\x07example\x00', 'latin1');
// Names of one octet, then serial, refresh, retry, expire, and the time that the absence of an AAAA is remembered.
const SOA_NUMBERS = Buffer.alloc(20);
[1, 3600, 600, 86_400, TTL_SECONDS].forEach((value, index) => SOA_NUMBERS.writeUInt32BE(value, 4 * index));
const SOA = record(ZONE, TYPE.soa, Buffer.concat([ZONE, ZONE, SOA_NUMBERS]));

function answer(query: Buffer): Buffer | undefined {
  let end = 12;
  while (end < query.length && query[end] !== 0) end += (query[end] ?? 0) + 1;
  end += 5;
  if (query.length < end) return undefined;
  const header = Buffer.from(query.subarray(0, 12));
  header.writeUInt16BE(0x8580, 2);
  const isA = query.readUInt16BE(end - 4) === TYPE.a;
  header.writeUInt16BE(isA ? 1 : 0, 6);
  header.writeUInt16BE(isA ? 0 : 1, 8);
  header.writeUInt16BE(0, 10);
  const body = isA ? record(Buffer.from([0xc0, 12]), TYPE.a, Buffer.from([203, 0, 113, end & 0xff])) : SOA;
  return Buffer.concat([header, query.subarray(12, end), body]);
}

const socket = createSocket('udp4');
socket.on('message', (query, peer) => {
  const reply = answer(query);
  if (reply) setTimeout(() => socket.send(reply, peer.port, peer.address), delayMs);
});
socket.bind(port, '127.0.0.1', () => console.log('listening'));
