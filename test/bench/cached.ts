// SPDX-License-Identifier: Apache-2.0
// What a cached answer over UDP costs the process: processor time and rate, by listener and build, beside Unbound's. All take
// turns. The kernel gives none (dns.kernelCache).
// .tools/bin/node test/bench/cached.ts [GATE64…]

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GATE64 } from '../helpers/gate64.ts';
import { eventually, run, start } from '../helpers/processes.ts';
import { processorSeconds } from './process.ts';
import { askCached, warm, writeQuestions } from './questions.ts';
import { RESOLVERS, UPSTREAM_PORT, startUpstream } from './resolvers.ts';
import { median } from './statistics.ts';

const TURNS = Number(process.env['TURNS'] ?? 3);
const SECONDS = Number(process.env['SECONDS'] ?? 2);
const FIRST_PORT = 5310;

interface Server {
  readonly title: string;
  readonly port: number;
  readonly command: readonly string[];
}

const directory = mkdtempSync(join(tmpdir(), 'gate64-cached-'));
const questions = join(directory, 'questions');

function gate64(command: string, listener: string, port: number): Server {
  const conf = join(directory, `${port}.yaml`);
  writeFileSync(
    conf,
    `dns: { listen: ["127.0.0.1:${port}"], upstreams: ["127.0.0.1:${UPSTREAM_PORT}"], listener: ${listener}, kernelCache: false }
nat64: { enabled: false, allowNonGlobalIpv4: [203.0.113.0/24] }
http: { listen: "127.0.0.1:${port + 4000}" }
log: { level: warn }
`,
  );
  return { title: `${command} ${listener}`, port, command: [command, 'run', '-c', conf] };
}

const builds = process.argv.length > 2 ? process.argv.slice(2) : [GATE64];
let port = FIRST_PORT;
const servers: Server[] = builds.flatMap((build) => [gate64(build, 'dgram', port++), gate64(build, 'batched', port++)]);
const { unbound } = RESOLVERS;
servers.push({ title: unbound.title, port: unbound.port, command: unbound.command(directory, unbound.port) });

writeQuestions(questions);
await using stack = new AsyncDisposableStack();
stack.defer(() => rmSync(directory, { recursive: true, force: true }));
const upstream = await startUpstream();
stack.defer(() => upstream.stop(9000));
const running = [];
for (const server of servers) {
  const child = start(['taskset', '-c', '1', ...server.command]);
  stack.defer(() => child.stop(9000));
  await eventually(`${server.title} synthesizes`, async () => {
    if (child.exitCode() !== undefined) throw new Error(child.log());
    const dig = ['dig', '+short', '+time=1', '+tries=1', '@127.0.0.1', '-p', String(server.port), 'a.example', 'AAAA'];
    return (await run(dig, { accept: 'any' })).stdout.startsWith('64:ff9b::') ? true : undefined;
  });
  await warm(server.port, questions);
  await askCached(server.port, questions, 1);
  running.push({ ...server, pid: child.pid, rates: [] as number[], user: [] as number[], system: [] as number[] });
}
for (let turn = 0; turn < TURNS; turn++) {
  for (const server of running) {
    const before = processorSeconds(server.pid);
    const { answers, perSecond } = await askCached(server.port, questions, SECONDS);
    const after = processorSeconds(server.pid);
    server.rates.push(perSecond);
    server.user.push(((after.user - before.user) * 1e6) / answers);
    server.system.push(((after.system - before.system) * 1e6) / answers);
  }
}
for (const { title, rates, user, system } of running) {
  const both = median(user.map((value, i) => value + (system[i] as number)));
  console.log(
    `${both.toFixed(2)} µs an answer (user ${median(user).toFixed(2)}, system ${median(system).toFixed(2)}), ` +
      `${Math.round(median(rates))} answers/s: ${title}`,
  );
}
