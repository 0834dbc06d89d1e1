// SPDX-License-Identifier: Apache-2.0
// `make test-million`: a million sessions of 200 pods in the table at once, with the default of maxSessions. Measures what
// they cost: memory, a listing, a sweep, the time of a packet and of a cached DNS answer, beside none, held, and running out.
// `--sessions N` makes fewer. Needs root. Fails where a limit below is passed. Two minutes and a half, since no UDP session ends sooner than after two.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { processorSeconds, residentMiB } from '../bench/process.ts';
import { Rig } from '../bench/rig.ts';
import { runGate64 } from '../bench/systems.ts';
import { buildTools, FLOWS, LATENCY, REFLECT_OBJECT } from '../bench/tools.ts';
import { GATE64 } from '../helpers/gate64.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { eventually } from '../helpers/processes.ts';

const MILLION = 1_000_000;
const PODS = 200;
const SOURCES = '2001:db8:1:1::';
/** Of each pod: a block of the pool is enough. */
const PORTS = 8;
/** What got lost is sent again. */
const MOST_ROUNDS = 3;
/** What is in the table beside them: echo and what the node itself asks. */
const FEW = 100;

const SECONDS = 8;
const ECHO_PORT = 7;
const ECHOES_PER_SECOND = 1000;
const DNS_PORT = 5364;
const UPSTREAM_PORT = 5300;
const QUESTIONS_PER_SECOND = 500;
/** AAAA of a.example, which has an A record only. */
const QUESTION = '0000010000010000000000000161076578616d706c650000' + '1c0001';

const LIMITS = { listSeconds: 2, sweepSeconds: 0.3, echoRise: 1.2, dnsMs: 5 } as const;

interface Times {
  readonly sent: number;
  readonly answered: number;
  /** Microseconds. */
  readonly median: number;
  readonly p99: number;
  readonly most: number;
}

interface Both {
  readonly echo: Times;
  readonly dns: Times;
}

let failed = 0;

function check(isFine: boolean, text: string): void {
  console.log(`${isFine ? 'ok' : 'NOT OK'}: ${text}`);
  failed += Number(!isFine);
}

function timesOf(stdout: string): Times {
  const [sent = 0, answered = 0, middle = 0, p99 = 0, most = 0] = stdout.split(' ').map(Number);
  return { sent, answered, median: middle, p99, most };
}

function text({ sent, answered, median, p99, most }: Times): string {
  return `median ${median} µs, p99 ${p99} µs, longest ${most} µs, ${sent - answered} of ${sent} lost`;
}

/** Echoes of another pod through the NAT64, and cached answers of the node's DNS, at the same time. */
async function times(rig: Rig): Promise<Both> {
  const ask = (...argv: (string | number)[]) => [LATENCY, 'ask', ...argv.map(String)];
  const [echo, dns] = await Promise.all([
    rig.run('pod', ask('64:ff9b::198.51.100.10', ECHO_PORT, ECHOES_PER_SECOND, SECONDS)),
    rig.run('node', ask('127.0.0.1', DNS_PORT, QUESTIONS_PER_SECOND, SECONDS, QUESTION)),
  ]);
  return { echo: timesOf(echo.stdout), dns: timesOf(dns.stdout) };
}

async function metrics(rig: Rig): Promise<(name: string) => number> {
  const page = await rig.sh('node', 'curl -sS --max-time 30 http://127.0.0.1:9164/metrics');
  return (name) => {
    const lines = page.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  };
}

async function sessions(rig: Rig): Promise<number> {
  return (await metrics(rig))('gate64_nat64_sessions');
}

/** Empty for a file that is closed meanwhile. */
function textOf(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** What the kernel says that the maps which a process has open take, in octets. */
function mapOctets(pid: number): number {
  const folder = `/proc/${pid}/fdinfo`;
  const seen = new Map<string, number>();
  for (const name of readdirSync(folder)) {
    const info = textOf(join(folder, name));
    const id = /^map_id:\s+(\d+)$/m.exec(info)?.[1];
    const octets = /^memlock:\s+(\d+)$/m.exec(info)?.[1];
    if (id !== undefined && octets !== undefined) seen.set(id, Number(octets));
  }
  return [...seen.values()].reduce((sum, one) => sum + one, 0);
}

/** Kernel memory of the machine: maps without preallocation are slab, per-processor and vmalloc. */
function kernelOctets(): number {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1]) * 1024;
  return field('SUnreclaim') + field('Percpu') + field('VmallocUsed');
}

function secondsOf(pid: number): number {
  const { user, system } = processorSeconds(pid);
  return user + system;
}

/** Waits until a pass that runs, or begins, is over. */
async function sweepEnds(rig: Rig): Promise<void> {
  const count = async () => (await metrics(rig))(`${SWEEP}_count`);
  const before = await count();
  await eventually(
    'a sweep is over',
    async () => {
      await sleep(1000);
      return (await count()) > before ? true : undefined;
    },
    120_000,
  );
}

async function fill(rig: Rig, wanted: number): Promise<void> {
  const perPort = Math.ceil(wanted / PODS / PORTS);
  const flows = [FLOWS, SOURCES, PODS, PORTS, '64:ff9b::203.0.113.0', perPort].map(String);
  for (let round = 0; round < MOST_ROUNDS && (await sessions(rig)) < wanted; round++) {
    await rig.run('pod', flows, { timeoutMs: 100_000 });
  }
}

async function measure(rig: Rig, wanted: number): Promise<void> {
  await rig.sh('pod', `ip route add local ${SOURCES}/64 dev lo`);
  await rig.sh('node', `ip route add ${SOURCES}/64 via ${rig.podAddress}`);
  await rig.sh(
    'server',
    `tc filter del dev eth0 ingress; tc filter add dev eth0 ingress bpf direct-action obj ${REFLECT_OBJECT} sec tc`,
  );
  const upstream = join(import.meta.dirname, '../bench/slow-upstream.ts');
  rig.start('node', [process.execPath, upstream, String(UPSTREAM_PORT), '20']);
  const { pid } = await runGate64(
    rig,
    `dns: { listen: ["127.0.0.1:${DNS_PORT}"], upstreams: ["127.0.0.1:${UPSTREAM_PORT}"], kernelCache: false }
nat64:
  egress: direct
  pool: [{ addresses: 198.51.100.64/30 }]
  allowNonGlobalIpv4: [198.51.100.0/24, 203.0.113.0/24]
  timeouts: { udp: 120 }
log: { level: warn }
`,
  );
  // Compiles what answers.
  await times(rig);
  const before = await times(rig);
  const [emptyMaps, emptyKernel, emptyResident] = [mapOctets(pid), kernelOctets(), residentMiB(pid)];
  console.log(`none:        echo ${text(before.echo)}\n             DNS ${text(before.dns)}`);

  const filling = Date.now();
  await fill(rig, wanted);
  const count = await sessions(rig);
  check(count >= wanted, `${count} sessions of ${PODS} pods, made in ${((Date.now() - filling) / 1000).toFixed(0)} s`);
  const [maps, kernel] = [mapOctets(pid) - emptyMaps, kernelOctets() - emptyKernel];
  console.log(
    `memory: ${(maps / count).toFixed(0)} octets a session by the maps' own account, ${(kernel / count).toFixed(0)} by the ` +
      `machine's; tables empty ${(emptyMaps / 2 ** 20).toFixed(0)} MiB; the process ${emptyResident.toFixed(0)} MiB before, ` +
      `${residentMiB(pid).toFixed(0)} MiB now`,
  );

  const held = await times(rig);
  console.log(`held:        echo ${text(held.echo)}\n             DNS ${text(held.dns)}`);
  // One that began while there were fewer says nothing.
  await sweepEnds(rig);
  const [first, cpu] = [await metrics(rig), secondsOf(pid)];
  await sweepEnds(rig);
  const second = await metrics(rig);
  const passes = second(`${SWEEP}_count`) - first(`${SWEEP}_count`);
  const perPass = (second(`${SWEEP}_sum`) - first(`${SWEEP}_sum`)) / passes;
  check(
    perPass <= LIMITS.sweepSeconds,
    `a sweep of them takes ${perPass.toFixed(3)} s (${passes} passes; the process all in all ${(secondsOf(pid) - cpu).toFixed(2)} s)`,
  );

  const list = ['sessions', '--src', `${SOURCES}20`, '--limit', '20', '--output', 'json'];
  const asking = performance.now();
  const { stdout } = await rig.run('node', ['nsenter', `--mount=/proc/${pid}/ns/mnt`, '--', GATE64, ...list]);
  const took = (performance.now() - asking) / 1000;
  const isWhole = (JSON.parse(stdout) as unknown[]).length === 20;
  check(isWhole && took < LIMITS.listSeconds, `gate64 ${list.join(' ')} takes ${took.toFixed(2)} s`);

  await eventually(
    'they run out',
    async () => {
      await sleep(1000);
      return (await sessions(rig)) < 0.99 * wanted ? true : undefined;
    },
    150_000,
  );
  const ending = Date.now();
  const running = await times(rig);
  const left = await sessions(rig);
  console.log(`running out: echo ${text(running.echo)}\n             DNS ${text(running.dns)}; ${left} sessions left`);
  await eventually('all have run out', async () => ((await sessions(rig)) < FEW ? true : undefined), 120_000);
  console.log(`all are gone ${((Date.now() - ending) / 1000).toFixed(0)} s after the first`);
  const after = await times(rig);
  console.log(`none again:  echo ${text(after.echo)}\n             DNS ${text(after.dns)}`);

  // What two measurements without a session differ by is the machine's, not theirs.
  const quiet = Math.max(before.echo.p99, after.echo.p99);
  for (const [name, { echo, dns }] of Object.entries({ held, 'running out': running })) {
    const rise = echo.p99 / quiet;
    check(
      rise <= LIMITS.echoRise,
      `${name}: p99 of an echo is ${rise.toFixed(2)} times that beside none (${quiet} µs)`,
    );
    check(dns.p99 <= LIMITS.dnsMs * 1000, `${name}: p99 of a cached answer is ${(dns.p99 / 1000).toFixed(2)} ms`);
  }
}

const SWEEP = 'gate64_nat64_sweep_duration_seconds';

async function main(): Promise<number> {
  if (process.env['GATE64_SANDBOX'] !== '1') return inSandbox(import.meta.filename, process.argv.slice(2));
  const { values } = parseArgs({ options: { sessions: { type: 'string', default: String(MILLION) } } });
  buildTools();
  await using rig = await Rig.create('million', 6);
  await measure(rig, Number(values.sessions));
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
