// SPDX-License-Identifier: Apache-2.0
// Asks resolvers: cached answers a second (dnsperf), and how long one waits for a name never asked before.

import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { run } from '../helpers/processes.ts';
import { median } from './statistics.ts';

const NAMES = 1000;
const MISSES = 40;

/** dnsperf's input: AAAA questions for names that have A records only. */
export function writeQuestions(file: string): void {
  writeFileSync(file, Array.from({ length: NAMES }, (_, index) => `name-${index}.example AAAA\n`).join(''));
}

interface Answered {
  readonly answers: number;
  readonly perSecond: number;
}

async function dnsperf(port: number, file: string, limit: readonly string[]): Promise<Answered> {
  const client = ['-c', '8', '-T', '1', '-q', '100', '-t', '2'];
  const argv = [
    'taskset',
    '-c',
    '0',
    'dnsperf',
    '-s',
    '127.0.0.1',
    '-p',
    String(port),
    '-d',
    file,
    ...client,
    ...limit,
  ];
  const { stdout } = await run(argv);
  const rate = Number(/Queries per second:\s+([\d.]+)/.exec(stdout)?.[1]);
  const answers = Number(/Queries completed:\s+(\d+)/.exec(stdout)?.[1]);
  const lost = Number(/Queries lost:\s+(\d+)/.exec(stdout)?.[1]);
  const codes = /Response codes:\s+(.*)/.exec(stdout)?.[1] ?? '';
  if (!Number.isFinite(rate) || !codes.startsWith('NOERROR') || codes.includes(',')) {
    throw new Error(`dnsperf on port ${port}: not every answer was NOERROR\n${stdout}`);
  }
  if (lost > NAMES / 10) throw new Error(`dnsperf on port ${port}: ${lost} answers were lost`);
  return { answers, perSecond: rate };
}

/** Every name once, so that the next ask meets the cache. */
export async function warm(port: number, file: string): Promise<void> {
  await dnsperf(port, file, ['-n', '1']);
}

/** What the cache answers with 100 questions outstanding. */
export async function askCached(port: number, file: string, seconds: number): Promise<Answered> {
  return dnsperf(port, file, ['-l', String(seconds)]);
}

let nextMiss = 0;

/** Median milliseconds for names that nobody asked for yet, one after another. */
export async function missMilliseconds(port: number): Promise<number> {
  const socket = createSocket('udp4');
  const times: number[] = [];
  try {
    for (let count = 0; count < MISSES; count++) {
      const query = question(`miss-${nextMiss++}`);
      const before = performance.now();
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`no answer from port ${port} within 2 s`)), 2000);
        socket.once('message', () => {
          clearTimeout(timer);
          resolve();
        });
        socket.send(query, port, '127.0.0.1');
      });
      times.push(performance.now() - before);
    }
  } finally {
    socket.close();
  }
  return median(times);
}

function question(label: string): Buffer {
  const header = Buffer.from([0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
  const name = [label, 'example'].map((part) => String.fromCharCode(part.length) + part).join('');
  return Buffer.concat([header, Buffer.from(`${name}\0`, 'latin1'), Buffer.from([0, 28, 0, 1])]);
}
