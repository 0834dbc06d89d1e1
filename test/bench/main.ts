// SPDX-License-Identifier: Apache-2.0
// `make bench`: gate64 against plain IPv4 routing, nftables NAT44, Tayga, Unbound and CoreDNS, interleaved round by round
// in one run. Asserts nothing but that every system carries what it is given. Needs root.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { FIGURES, PARTS, type FigureName, type Part } from './figures.ts';
import { askCached, missMilliseconds, warm, writeQuestions } from './questions.ts';
import { busyNote, jsonReport, markdownReport, textReport, type RunShape } from './report.ts';
import { Resolver, RESOLVERS, startUpstream, type ResolverName } from './resolvers.ts';
import { Samples } from './statistics.ts';
import { System, SYSTEMS, type SystemName } from './systems.ts';
import { buildTools, ROOT } from './tools.ts';
import { bulk, connections, onePort, packets, startServers } from './traffic.ts';

const USAGE = `Usage: node test/bench/main.ts [--rounds N] [--only ${PARTS.join('|')}] [--json FILE] [--write]
  --rounds N     how often every system is measured (default 3)
  --only PART    leave the other parts out
  --json FILE    write all samples there
  --write        put the result into docs/benchmarks.md`;

/** Short measurements are repeated within a round. */
const REPEATS: Partial<Record<FigureName, number>> = { oneFlow: 5, manyFlows: 5, connections: 2 };
const BULK_SECONDS = 3;
const CONNECTION_SECONDS = 2;
const ONE_PORT_SECONDS = 3;
const PODS = 200;
const DNSPERF_SECONDS = 3;

interface Options {
  readonly rounds: number;
  readonly parts: readonly Part[];
  readonly json: string | undefined;
  readonly write: boolean;
}

function readOptions(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        rounds: { type: 'string', default: '3' },
        only: { type: 'string' },
        json: { type: 'string' },
        write: { type: 'boolean', default: false },
      },
    });
    const rounds = Number(values.rounds);
    if (!Number.isInteger(rounds) || rounds < 1 || rounds > 100) return `--rounds ${values.rounds}: expected 1 to 100`;
    const parts = PARTS.filter((part) => values.only === undefined || values.only === part);
    if (parts.length === 0) return `--only ${values.only}: expected one of ${PARTS.join(', ')}`;
    return { rounds, parts, json: values.json, write: values.write };
  } catch (error) {
    return (error as Error).message;
  }
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Another one begins each round, so that none always follows the same one. */
function rotated<T>(list: readonly T[], by: number): T[] {
  const first = by % list.length;
  return [...list.slice(first), ...list.slice(0, first)];
}

async function measureTraffic(samples: Samples, { rounds, parts }: Options): Promise<void> {
  const measures: Partial<Record<FigureName, (system: System) => Promise<number>>> = {
    bulk: (system) => bulk(system, BULK_SECONDS),
    oneFlow: async (system) => (await packets(system, 1)) / 1000,
    manyFlows: async (system) => (await packets(system, 1000)) / 1000,
    newFlows: async (system) => (await packets(system, 0)) / 1000,
    connections: async (system) => {
      const { perSecond, cpu } = await connections(system, CONNECTION_SECONDS);
      samples.add('connectionCpu', system.name, cpu);
      return perSecond;
    },
    // Behind others, so that connection tracking has had time to forget the flows before.
    newPodFlows: async (system) => (await packets(system, 0, PODS)) / 1000,
    onePort: async (system) => {
      const { good, failed } = await onePort(system, ONE_PORT_SECONDS);
      samples.add('refused', system.name, failed);
      return good;
    },
  };
  const wanted = Object.entries(measures).filter(([name]) => parts.includes(FIGURES[name as FigureName].part));
  if (wanted.length === 0) return;
  await using stack = new AsyncDisposableStack();
  const systems: System[] = [];
  for (const name of Object.keys(SYSTEMS) as SystemName[]) {
    const system = await System.start(name);
    stack.use(system.rig);
    await startServers(system);
    systems.push(system);
  }
  for (let round = 0; round < rounds; round++) {
    for (const [figure, measure] of wanted) {
      say(`round ${round + 1} of ${rounds}: ${FIGURES[figure as FigureName].title}`);
      for (let repeat = 0; repeat < (REPEATS[figure as FigureName] ?? 1); repeat++) {
        for (const system of rotated(systems, round + repeat)) samples.add(figure, system.name, await measure(system));
      }
    }
  }
}

async function measureDns(samples: Samples, { rounds, parts }: Options): Promise<void> {
  if (!parts.includes('dns')) return;
  const directory = mkdtempSync(join(tmpdir(), 'gate64-bench-dns-'));
  const questions = join(directory, 'questions');
  writeQuestions(questions);
  try {
    await using stack = new AsyncDisposableStack();
    stack.use(await startUpstream());
    const resolvers: Resolver[] = [];
    for (const name of Object.keys(RESOLVERS) as ResolverName[]) {
      const resolver = stack.use(await Resolver.start(name));
      await warm(resolver.port, questions);
      resolvers.push(resolver);
    }
    for (let round = 0; round < rounds; round++) {
      say(`round ${round + 1} of ${rounds}: ${FIGURES.cached.title}, ${FIGURES.miss.title}`);
      for (const resolver of rotated(resolvers, round)) {
        const before = resolver.cpuMicroseconds();
        const { answers, perSecond } = await askCached(resolver.port, questions, DNSPERF_SECONDS);
        samples.add('cached', resolver.name, perSecond / 1000);
        samples.add('answerCpu', resolver.name, (resolver.cpuMicroseconds() - before) / answers);
      }
      for (const { name, port } of rotated(resolvers, round)) samples.add('miss', name, await missMilliseconds(port));
    }
    for (const resolver of resolvers) samples.add('memory', resolver.name, resolver.mebibytes());
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const BEGIN = '<!-- made by make bench: begin -->';
const END = '<!-- made by make bench: end -->';

function writePage(text: string): void {
  const page = join(ROOT, 'docs/benchmarks.md');
  const before = readFileSync(page, 'utf8');
  const [begin, end] = [before.indexOf(BEGIN), before.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`docs/benchmarks.md: expected a line '${BEGIN}' and then '${END}'`);
  writeFileSync(page, `${before.slice(0, begin + BEGIN.length)}\n\n${text}\n\n${before.slice(end)}`);
  const { status } = spawnSync(process.execPath, ['node_modules/prettier/bin/prettier.cjs', '--write', page], {
    cwd: ROOT,
  });
  if (status !== 0) throw new Error('prettier could not format docs/benchmarks.md');
}

/** Exit code. */
async function main(): Promise<number> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    console.log(USAGE);
    return 0;
  }
  const options = readOptions(args);
  if (typeof options === 'string') {
    say(`${options}\n${USAGE}`);
    return 2;
  }
  if (process.env['GATE64_SANDBOX'] !== '1') {
    return inSandbox(import.meta.filename, args);
  }
  buildTools();
  const [loadAverage = 0] = loadavg();
  if (busyNote(loadAverage) !== '') say(busyNote(loadAverage));
  const samples = new Samples();
  await measureTraffic(samples, options);
  await measureDns(samples, options);
  const shape: RunShape = {
    rounds: options.rounds,
    loadAverage,
    command:
      options.parts.length === PARTS.length ? 'make bench' : `node test/bench/main.ts --only ${options.parts.join()}`,
  };
  console.log(`\n${textReport(samples, shape)}`);
  if (options.json !== undefined)
    writeFileSync(options.json, `${JSON.stringify(jsonReport(samples, shape), null, 2)}\n`);
  if (options.write) writePage(markdownReport(samples, shape));
  return 0;
}

process.exitCode = await main();
