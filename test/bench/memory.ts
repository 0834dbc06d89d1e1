// SPDX-License-Identifier: Apache-2.0
// `node test/bench/memory.ts [--names N] [--nat64] [--rounds N] [COMMAND ...]`: resident memory of gate64 as it has started and
// after N names (20 000) were asked once each, 100 at a time. COMMAND stands for `dist/gate64`, so that flags of Node's can
// be tried. Needs root and dnsperf.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { GATE64 } from '../helpers/gate64.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { eventually, run, start } from '../helpers/processes.ts';
import { residentMiB } from './process.ts';
import { startUpstream, UPSTREAM_PORT } from './resolvers.ts';

const PORT = 5303;
const SETTLE_MS = 2000;

function resident(pid: number): { readonly all: number; readonly anonymous: number } {
  return { all: residentMiB(pid), anonymous: residentMiB(pid, 'RssAnon') };
}

function line(what: string, { all, anonymous }: ReturnType<typeof resident>): string {
  return `${what}: ${all.toFixed(1)} MiB, of which ${anonymous.toFixed(1)} are the process's own`;
}

/** A node with an uplink, for the NAT64 half. */
async function makeUplink(): Promise<void> {
  for (const command of [
    'ip link add uplink type veth peer name uplink1',
    'ip addr add 198.18.0.1/24 dev uplink',
    'ip link set uplink up',
    'ip link set uplink1 up',
    'ip route add default via 198.18.0.2',
  ]) {
    await run(command.split(' '));
  }
}

async function measure(command: readonly string[], names: number, nat64: boolean): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'gate64-bench-memory-'));
  try {
    const conf = join(directory, 'gate64.yaml');
    writeFileSync(
      conf,
      `dns: { listen: ["127.0.0.1:${PORT}"], upstreams: ["127.0.0.1:${UPSTREAM_PORT}"] }
nat64: { enabled: ${nat64}, allowNonGlobalIpv4: [203.0.113.0/24] }
log: { level: warn }
`,
    );
    const questions = join(directory, 'questions');
    writeFileSync(questions, Array.from({ length: names }, (_, i) => `name-${i}.example AAAA\n`).join(''));
    const service = start([...command, 'run', '-c', conf]);
    try {
      await eventually('it answers', async () => {
        if (service.exitCode() !== undefined) throw new Error(service.log());
        const dig = ['dig', '+short', '+time=1', '+tries=1', '@127.0.0.1', '-p', String(PORT), 'probe.example', 'AAAA'];
        return (await run(dig, { accept: 'any' })).stdout.startsWith('64:ff9b::') ? true : undefined;
      });
      await sleep(SETTLE_MS);
      console.log(line('started', resident(service.pid)));
      const perf = ['dnsperf', '-s', '127.0.0.1', '-p', String(PORT), '-d', questions, '-n', '1', '-q', '100'];
      await run(perf);
      await sleep(SETTLE_MS);
      console.log(line(`after ${names} names`, resident(service.pid)));
    } finally {
      await service.stop(9000);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  const args = process.argv.slice(2);
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      names: { type: 'string', default: '20000' },
      rounds: { type: 'string', default: '1' },
      nat64: { type: 'boolean', default: false },
    },
  });
  if (process.env['GATE64_SANDBOX'] !== '1') return inSandbox(import.meta.filename, args);
  await using stack = new AsyncDisposableStack();
  stack.use(await startUpstream());
  if (values.nat64) await makeUplink();
  for (let round = 0; round < Number(values.rounds); round++) {
    await measure(positionals.length > 0 ? positionals : [GATE64], Number(values.names), values.nat64);
  }
  return 0;
}

process.exitCode = await main();
