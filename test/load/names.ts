// SPDX-License-Identifier: Apache-2.0
// `make test-names`: a flood of names that nobody asked for before, each of which gate64 asks its upstream twice (AAAA and A);
// beside it one cached name, timed. gate64 has a processor to itself. Fails where a limit below is passed. Needs root.
// `--rate N`, `--seconds N`, `--kernel-cache false`.

import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { processorSeconds, residentMiB } from '../bench/process.ts';
import { buildTools, LATENCY } from '../bench/tools.ts';
import { unboundCommand } from '../bench/unbound.ts';
import { GATE64 } from '../helpers/gate64.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { eventually, run, start } from '../helpers/processes.ts';

const LIMITS = { lost: 0, cachedMs: 5, residentMiB: 150 } as const;

const PORT = 5364;
const UPSTREAM_PORT = 5300;
const CACHED_PER_SECOND = 100;
/** AAAA of a.example, which has an A record only. */
const CACHED = '0000010000010000000000000161076578616d706c650000' + '1c0001';
/** Starts before the flood and ends after it. */
const BESIDE_SECONDS = 1;
/** The client waits longer than gate64, which answers within two seconds, one way or the other. */
const PATIENCE_SECONDS = 3;
const SERVER_CORE = ['taskset', '-c', '1'];
const OTHER_CORE = ['taskset', '-c', '0'];

let failed = 0;

function check(isFine: boolean, text: string): void {
  console.log(`${isFine ? 'ok' : 'NOT OK'}: ${text}`);
  failed += Number(!isFine);
}

function upstreamCommand(directory: string): string[] {
  const options = `  interface: 127.0.0.1@${UPSTREAM_PORT}
  so-rcvbuf: 8m
  statistics-cumulative: yes
  local-zone: "missing." static
  local-data: "missing. 60 IN SOA missing. missing. 1 3600 600 86400 60"
  local-zone: "example." static
  local-data: "example. 3600 IN SOA example. example. 1 3600 600 86400 3600"
  local-data: "a.example. 3600 IN A 203.0.113.1"`;
  const control = `  control-enable: yes
  control-use-cert: no
  control-interface: "${join(directory, 'control')}"`;
  return unboundCommand(upstreamConf(directory), directory, options, control);
}

const upstreamConf = (directory: string) => join(directory, 'unbound.conf');

function writeGate64(directory: string, kernelCache: boolean): string {
  const conf = join(directory, 'gate64.yaml');
  writeFileSync(
    conf,
    `dns: { listen: ["127.0.0.1:${PORT}"], upstreams: ["127.0.0.1:${UPSTREAM_PORT}"], kernelCache: ${kernelCache} }
nat64: { enabled: false, allowNonGlobalIpv4: [203.0.113.0/24] }
log: { level: warn }
`,
  );
  return conf;
}

/** Datagrams that found no room, of the sockets of this port and of all: those to the first were never read by who has it. */
function overflows(port: number): [ofPort: number, ofAll: number] {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const socket = readFileSync('/proc/net/udp', 'utf8')
    .split('\n')
    .find((line) => line.includes(`:${hex} 00000000:0000`));
  const [names = '', values = ''] = readFileSync('/proc/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'));
  const all = values.split(' ')[names.split(' ').indexOf('RcvbufErrors')];
  return [Number(socket?.trim().split(/\s+/).at(-1)), Number(all)];
}

async function metrics(): Promise<(name: string, label?: string) => number> {
  const { stdout } = await run(['curl', '-sS', '--max-time', '30', 'http://127.0.0.1:9164/metrics']);
  return (name, label = '') => {
    const lines = stdout.split('\n').filter((line) => /[ {]/.test(line[name.length] ?? '') && line.startsWith(name));
    const those = lines.filter((line) => line.includes(label));
    return those.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  };
}

async function flood(file: string, rate: number) {
  const waiting = ['-q', String(rate * (PATIENCE_SECONDS + 1)), '-b', '4096', '-t', String(PATIENCE_SECONDS)];
  const clients = ['-c', '8', '-T', '1', '-n', '1'];
  const server = ['-s', '127.0.0.1', '-p', String(PORT), '-d', file, '-Q', String(rate)];
  const { stdout } = await run([...OTHER_CORE, 'dnsperf', ...server, ...clients, ...waiting], { timeoutMs: 3_600_000 });
  const count = (pattern: RegExp) => Number(pattern.exec(stdout)?.[1] ?? 0);
  return {
    sent: count(/Queries sent:\s+(\d+)/),
    answered: count(/Queries completed:\s+(\d+)/),
    missing: count(/NXDOMAIN (\d+)/),
    seconds: count(/Run time \(s\):\s+([\d.]+)/),
    averageMs: count(/Average Latency \(s\):\s+([\d.]+)/) * 1000,
  };
}

async function measure(rate: number, seconds: number, kernelCache: boolean): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'gate64-names-'));
  const names = join(directory, 'names');
  const run36 = Date.now().toString(36);
  writeFileSync(names, Array.from({ length: rate * seconds }, (_, i) => `${run36}-${i}.missing AAAA\n`).join(''));
  await using upstream = start([...OTHER_CORE, ...upstreamCommand(directory)]);
  await using gate64 = start([...SERVER_CORE, GATE64, 'run', '-c', writeGate64(directory, kernelCache)]);
  await eventually('gate64 synthesizes', async () => {
    for (const child of [upstream, gate64]) if (child.exitCode() !== undefined) throw new Error(child.log());
    const dig = ['dig', '+short', '+time=1', '+tries=1', '@127.0.0.1', '-p', String(PORT), 'a.example', 'AAAA'];
    return (await run(dig, { accept: 'any' })).stdout.startsWith('64:ff9b::') ? true : undefined;
  });
  const ask = (perSecond: number, ofSeconds: number) =>
    // It shares a processor with the flood, whose turns are not gate64's to answer for.
    run(
      [
        'chrt',
        '-f',
        '1',
        ...OTHER_CORE,
        LATENCY,
        'ask',
        '127.0.0.1',
        String(PORT),
        String(perSecond),
        String(ofSeconds),
        CACHED,
      ],
      {
        timeoutMs: 3_600_000,
      },
    );
  // Compiles what answers from the cache.
  await ask(1000, 2);

  const before = await metrics();
  const [upstreamFull, anyFull] = overflows(UPSTREAM_PORT);
  const cpu = processorSeconds(gate64.pid);
  const [flooded, { stdout }] = await Promise.all([
    new Promise((resolve) => setTimeout(resolve, BESIDE_SECONDS * 1000)).then(() => flood(names, rate)),
    ask(CACHED_PER_SECOND, seconds + 2 * BESIDE_SECONDS),
  ]);
  const now = processorSeconds(gate64.pid);
  const used = now.user + now.system - cpu.user - cpu.system;
  const resident = residentMiB(gate64.pid);
  const after = await metrics();
  const [upstreamFullNow, anyFullNow] = overflows(UPSTREAM_PORT);
  const counted = (name: string, label?: string) => after(name, label) - before(name, label);
  const { stdout: statistics } = await run(['unbound-control', '-c', upstreamConf(directory), 'stats_noreset']);
  const upstreamAnswers = Number(/^total\.num\.queries=(\d+)$/m.exec(statistics)?.[1]);
  const [cachedSent = 0, cachedAnswered = 0, p50 = 0, p99 = 0, most = 0] = stdout.split(' ').map(Number);

  const { sent, answered, missing, averageMs } = flooded;
  const full = upstreamFullNow - upstreamFull;
  const fromCache = counted('gate64_dns_cache_hits_total');
  const fromKernel = counted('gate64_dns_kernel_answers_total');
  console.log(
    `flood: ${sent} sent in ${flooded.seconds.toFixed(1)} s, ${answered} answered, ${missing} with NXDOMAIN, ${averageMs.toFixed(2)} ms on average
upstream: ${upstreamAnswers} answers, ${counted('gate64_dns_upstream_requests_total')} taken by gate64, ` +
      `${counted('gate64_dns_upstream_requests_total', 'timeout')} timeouts; ${full} questions found no room at it, ` +
      `${anyFullNow - anyFull - full} datagrams at others
cached: ${cachedSent} sent, ${cachedAnswered} answered, ${fromKernel} by the kernel, ${fromCache} from the cache; ` +
      `median ${p50} µs, p99 ${p99} µs, longest ${most} µs
gate64: ${((used / flooded.seconds) * 100).toFixed(0)} % of a processor, ${((used / answered) * 1e6).toFixed(1)} µs an answered name; ` +
      `resident ${resident.toFixed(0)} MiB, ${residentMiB(gate64.pid, 'VmHWM').toFixed(0)} at most`,
  );
  check(sent === rate * seconds && flooded.seconds <= seconds + PATIENCE_SECONDS, `${rate} a second were sent`);
  // A name is lost to upstream where a question found no room there; every other was answered.
  const lost = Math.max(0, sent - missing - full);
  check(lost <= LIMITS.lost, `${lost} names lost that upstream answered, of ${sent - missing} lost`);
  check(cachedAnswered === cachedSent, `${cachedSent - cachedAnswered} of the cached name lost`);
  check(p99 <= LIMITS.cachedMs * 1000, `p99 of a cached answer is ${(p99 / 1000).toFixed(2)} ms`);
  check(resident <= LIMITS.residentMiB, `resident memory is ${resident.toFixed(0)} MiB`);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      rate: { type: 'string', default: '10000' },
      seconds: { type: 'string', default: '60' },
      'kernel-cache': { type: 'string', default: 'true' },
    },
  });
  const [rate, seconds, kernelCache] = [Number(values.rate), Number(values.seconds), values['kernel-cache']];
  const isCount = (value: number) => Number.isInteger(value) && value > 0;
  if (!isCount(rate) || !isCount(seconds) || rate * seconds > 10_000_000 || !/^(true|false)$/.test(kernelCache)) {
    process.stderr.write('usage: names.ts [--rate N] [--seconds N] [--kernel-cache true|false]\n');
    return 2;
  }
  if (process.env['GATE64_SANDBOX'] !== '1') return inSandbox(import.meta.filename, process.argv.slice(2));
  buildTools();
  await measure(rate, seconds, kernelCache === 'true');
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
