// SPDX-License-Identifier: Apache-2.0
// Runs in a pod until it is ended: short TCP connections, one byte each way, and names that no cache knows. Each second it
// prints all that it counted as one line of JSON (Counts).
// Usage: node load.ts ADDRESS PORT CONNECTIONS-A-SECOND NAMES-A-SECOND ZONE EXPECTED-RDATA-IN-HEX

import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect } from 'node:net';

export interface Counts {
  made: number;
  failed: number;
  answered: number;
  unanswered: number;
  /** Of the answered, those that were asked twice. */
  askedAgain: number;
  /** Milliseconds that the slowest connection, and the slowest name, took. */
  slowestConnection: number;
  slowestName: number;
  /** When and why, of the first ones of either kind. */
  readonly failures: string[];
}

const [address = '', port, connections, names, zone = '', expected = ''] = process.argv.slice(2);
const rdata = Buffer.from(expected, 'hex');
const started = performance.now();
const counts: Counts = {
  made: 0,
  failed: 0,
  answered: 0,
  unanswered: 0,
  askedAgain: 0,
  slowestConnection: 0,
  slowestName: 0,
  failures: [],
};
/** As resolv.conf has it where it says nothing: `timeout:5 attempts:2`. Node's own resolver waits as long as it likes. */
const TIMEOUT_MS = 5000;
const ATTEMPTS = 2;
const [nameserver = ''] = getServers();

const noted = { connection: 0, name: 0 };

function note(kind: keyof typeof noted, why: string, since: number): void {
  const [begin, took] = [(since - started) / 1000, performance.now() - since];
  noted[kind] += 1;
  if (noted[kind] > 20) return;
  const times = `${new Date().toISOString()} (begun at ${begin.toFixed(2)} s, ${took.toFixed(0)} ms)`;
  counts.failures.push(`${times}: ${kind}${why}`);
}

function connectOnce(): void {
  const since = performance.now();
  const socket = connect({ host: address, port: Number(port) });
  const fail = (why: string) => {
    if (socket.destroyed && why === 'closed') return;
    counts.failed += 1;
    note('connection', `: ${why}`, since);
    socket
      .removeAllListeners()
      .on('error', () => undefined)
      .destroy();
  };
  socket.setTimeout(5000, () => fail('no answer in 5 s'));
  socket.once('error', (error) => fail(error.message)).once('end', () => fail('ended before the answer'));
  socket.once('connect', () => socket.write('x'));
  socket.once('data', () => {
    counts.made += 1;
    counts.slowestConnection = Math.max(counts.slowestConnection, performance.now() - since);
    socket
      .removeAllListeners()
      .on('error', () => undefined)
      .end();
  });
}

function question(name: string): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.of(label.length), Buffer.from(label)]));
  // Recursion desired, one question: AAAA IN.
  const head = Buffer.from('000001000001000000000000', 'hex');
  head.writeUInt16BE(Math.floor(Math.random() * 0x10000));
  return Buffer.concat([head, ...labels, Buffer.from('00001c0001', 'hex')]);
}

/** Throws for no answer in time, and for one that is none, each from a socket of its own as glibc does. */
async function askUdp(query: Buffer): Promise<Buffer> {
  const socket = createSocket('udp6');
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const timer = setTimeout(() => reject(new Error('no answer in 5 s')), TIMEOUT_MS);
  socket.once('error', reject).on('message', (answer) => {
    if (answer.length >= query.length && answer.readUInt16BE() === query.readUInt16BE()) resolve(answer);
  });
  socket.connect(53, nameserver, (error?: Error) => {
    if (error) reject(error);
    else socket.send(query);
  });
  try {
    const answer = await promise;
    const rcode = answer.readUInt8(3) & 15;
    if (rcode !== 0) throw new Error(`RCODE ${rcode}`);
    return answer;
  } finally {
    clearTimeout(timer);
    socket.close();
  }
}

async function askOnce(number: number): Promise<void> {
  const since = performance.now();
  const query = question(`n${process.pid}-${number}-${started.toFixed(0)}.${zone}`);
  for (let attempt = 1; ; attempt += 1) {
    const begun = performance.now();
    try {
      const answer = await askUdp(query);
      if (!answer.includes(rdata)) throw new Error(`answered without ${expected}: ${answer.toString('hex')}`);
      counts.answered += 1;
      if (attempt > 1) counts.askedAgain += 1;
      counts.slowestName = Math.max(counts.slowestName, performance.now() - since);
      return;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      note('name', `, asked ${attempt === 1 ? 'once' : 'again'}: ${why}`, begun);
      if (attempt < ATTEMPTS) continue;
      counts.unanswered += 1;
      return;
    }
  }
}

let connected = 0;
let asked = 0;
setInterval(() => {
  const seconds = (performance.now() - started) / 1000;
  for (; connected < seconds * Number(connections); connected += 1) connectOnce();
  for (; asked < seconds * Number(names); asked += 1) void askOnce(asked);
}, 5);
setInterval(() => console.log(JSON.stringify(counts)), 1000);
process.once('SIGTERM', () => process.exit(0));
