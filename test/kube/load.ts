// SPDX-License-Identifier: Apache-2.0
// Runs in a pod until it is ended: short TCP connections, one byte each way, and names that no cache knows. Each second it
// prints all that it counted as one line of JSON (Counts).
// Usage: node load.ts ADDRESS PORT CONNECTIONS-A-SECOND NAMES-A-SECOND ZONE EXPECTED-ADDRESS

import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';

export interface Counts {
  made: number;
  failed: number;
  answered: number;
  unanswered: number;
  /** Milliseconds that the slowest connection, and the slowest name, took. */
  slowestConnection: number;
  slowestName: number;
  /** When and why, of the first ones. */
  readonly failures: string[];
}

const [address = '', port, connections, names, zone = '', expected = ''] = process.argv.slice(2);
const started = performance.now();
const counts: Counts = {
  made: 0,
  failed: 0,
  answered: 0,
  unanswered: 0,
  slowestConnection: 0,
  slowestName: 0,
  failures: [],
};
/** As glibc asks: five seconds a try; but once, so that what CoreDNS does not mend is seen. */
const resolver = new Resolver({ timeout: 5000, tries: 1 });

function note(what: string, since: number): void {
  const [begin, took] = [(since - started) / 1000, performance.now() - since];
  if (counts.failures.length < 20) {
    counts.failures.push(
      `${new Date().toISOString()} (begun at ${begin.toFixed(2)} s, ${took.toFixed(0)} ms): ${what}`,
    );
  }
}

function connectOnce(): void {
  const since = performance.now();
  const socket = connect({ host: address, port: Number(port) });
  const fail = (why: string) => {
    if (socket.destroyed && why === 'closed') return;
    counts.failed += 1;
    note(`connection: ${why}`, since);
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

async function askOnce(number: number): Promise<void> {
  const since = performance.now();
  try {
    const found = await resolver.resolve6(`n${process.pid}-${number}-${started.toFixed(0)}.${zone}`);
    if (found[0] !== expected) throw new Error(`answered with ${found.join(' ')}`);
    counts.answered += 1;
    counts.slowestName = Math.max(counts.slowestName, performance.now() - since);
  } catch (error) {
    counts.unanswered += 1;
    note(`name: ${error instanceof Error ? error.message : String(error)}`, since);
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
