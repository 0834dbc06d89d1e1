// SPDX-License-Identifier: Apache-2.0
// Asks a TLS upstream for 10 000 names through a forwarder, then, once told that it answers, for one more. A process of
// its own, since what it looks for is an event loop that stands still.

import { AnswerCache } from '../../../src/dns/cache.ts';
import { Forwarder } from '../../../src/dns/forwarder.ts';
import { SILENT_OBSERVER } from '../../../src/dns/observer.ts';
import { UpstreamPool } from '../../../src/dns/upstream.ts';
import { P6, destinations, query } from './harness.ts';

const QUESTIONS = 10_000;
const QUESTIONS_PER_TURN = 250;

export interface Flood {
  /** How many answers had each RCODE. */
  readonly rcodes: Readonly<Record<number, number>>;
  readonly slowestMs: number;
  /** The longest time in which no timer ran. */
  readonly standstillMs: number;
  /** Questions for upstream, and of clients, that are waiting when all are answered. */
  readonly pending: number;
  readonly inFlight: number;
}

export interface Later {
  readonly rcode: number;
  readonly elapsedMs: number;
}

const upstream = {
  kind: 'tls' as const,
  endpoint: { family: 4 as const, host: '127.0.0.1', port: Number(process.argv[2]) },
};
const pool = new UpstreamPool([upstream], SILENT_OBSERVER);
const now = performance.now.bind(performance);
const forwarder = new Forwarder({
  policy: { prefixes: [P6], translateAll: false, excludeAaaa: [], destinations: destinations() },
  maxUdpSize: 1232,
  upstreams: pool,
  cache: new AnswerCache({ maxEntries: 0, maxBytes: 0 }, now),
  observer: SILENT_OBSERVER,
  now,
});

function ask(name: string): Promise<{ rcode: number; elapsedMs: number }> {
  const startedAt = now();
  return new Promise((resolve) => {
    forwarder.handle(query({ name }), 'tcp', { address: '127.0.0.1', port: 0 }, (answer) =>
      resolve({ rcode: (answer[3] as number) & 15, elapsedMs: now() - startedAt }),
    );
  });
}

async function flood(): Promise<Flood> {
  let lastTurn = now();
  let standstillMs = 0;
  const turns = setInterval(() => {
    standstillMs = Math.max(standstillMs, now() - lastTurn);
    lastTurn = now();
  }, 10);
  const asked: ReturnType<typeof ask>[] = [];
  while (asked.length < QUESTIONS) {
    // As a listener would: a number of datagrams, then whatever else is due.
    for (let i = 0; i < QUESTIONS_PER_TURN; i++) asked.push(ask(`host${asked.length}.example`));
    await new Promise(setImmediate);
  }
  const answers = await Promise.all(asked);
  standstillMs = Math.max(standstillMs, now() - lastTurn);
  clearInterval(turns);
  const rcodes: Record<number, number> = {};
  for (const { rcode } of answers) rcodes[rcode] = (rcodes[rcode] ?? 0) + 1;
  const slowestMs = Math.max(...answers.map(({ elapsedMs }) => elapsedMs));
  return { rcodes, slowestMs, standstillMs, pending: pool.pending, inFlight: forwarder.inFlight };
}

async function answerLater(): Promise<void> {
  const later: Later = await ask('later.example');
  pool.close();
  process.send?.(later, () => process.disconnect());
}

process.once('message', () => void answerLater());
process.send?.(await flood());
