// SPDX-License-Identifier: Apache-2.0
// `make test-load`: many short TCP connections for a minute, through gate64 as it is by default with either way out,
// each alone in namespaces of its own; with --long ten minutes and two. gate64 must refuse none. Needs root. `--pods 1` and
// `--egress direct` leave the others out.

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Rig } from '../bench/rig.ts';
import { runGate64 } from '../bench/systems.ts';
import { buildTools, SHORT_CONNECTIONS } from '../bench/tools.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { eventually } from '../helpers/processes.ts';

const FIRST_PORT = 8000;
const SERVER_PORTS = 8;
/** As Linux has it unless told otherwise. */
const CLIENT_PORTS = '32768 60999';
const SOURCES = '2001:db8:1:1::';
const PREFIX = '64:ff9b::';

interface Load {
  readonly pods: number;
  /** Connections a second. */
  readonly rate: number;
  /** Of the long run. */
  readonly seconds: number;
}

const LOADS: readonly Load[] = [
  { pods: 1, rate: 1000, seconds: 600 },
  { pods: 50, rate: 10_000, seconds: 120 },
];

const SYSTEMS = {
  masquerade: '',
  // Four addresses that nobody else has.
  direct: '  egress: direct\n  pool: [{ addresses: 198.51.100.64/30 }]\n',
} as const;

interface Outcome {
  readonly good: number;
  readonly bad: number;
  readonly seconds: number;
  readonly firstFailures: string;
  readonly drops: string;
  /** Seconds. */
  readonly slowest: number;
}

async function measure(nat64: string, { pods, rate }: Load, seconds: number): Promise<Outcome> {
  await using rig = await Rig.create('load', 6);
  await rig.sh(
    'pod',
    `sysctl -qw net.ipv4.ip_local_port_range='${CLIENT_PORTS}'; ip route add local ${SOURCES}/64 dev lo`,
  );
  await rig.sh('node', `ip route add ${SOURCES}/64 via ${rig.podAddress}`);
  await runGate64(
    rig,
    `dns: { enabled: false }
nat64:
  allowNonGlobalIpv4: [198.51.100.0/24, 203.0.113.0/24]
${nat64}log: { level: warn }
`,
  );
  rig.start('server', [SHORT_CONNECTIONS, 'serve', String(FIRST_PORT), String(SERVER_PORTS)]);
  await eventually('the server listens', async () => {
    const sockets = await rig.sh('server', `ss -Hltn 'sport >= :${FIRST_PORT}'`);
    return sockets.split('\n').length === SERVER_PORTS ? true : undefined;
  });
  const to = [`${PREFIX}203.0.113.1`, FIRST_PORT, SERVER_PORTS, rate, seconds].map(String);
  const load = [SHORT_CONNECTIONS, 'connect', SOURCES, String(pods), ...to];
  let isOver = false;
  const healthy = slowestHealth(rig, () => isOver);
  const { stdout, stderr } = await rig.run('pod', load, { timeoutMs: (seconds + 60) * 1000 });
  isOver = true;
  const slowest = await healthy;
  const [good = 0, bad = 0, took = 0] = stdout.split(' ').map(Number);
  const metrics = await rig.sh('node', 'curl -sS --max-time 30 http://127.0.0.1:9164/metrics');
  const drops = metrics.split('\n').filter((line) => /^gate64_nat64_drop\w*\{.* [1-9]\d*$/.test(line));
  return { good, bad, seconds: took, firstFailures: stderr.trim(), drops: drops.join('\n'), slowest };
}

/** Seconds that the slowest answer of /healthz took, asked twice a second. */
async function slowestHealth(rig: Rig, isOver: () => boolean): Promise<number> {
  let slowest = 0;
  while (!isOver()) {
    const argv = ['curl', '-sS', '-o', '/dev/null', '-w', '%{time_total}', '--max-time', '30'];
    const { stdout } = await rig.run('node', [...argv, 'http://127.0.0.1:9164/healthz'], { accept: 'any' });
    slowest = Math.max(slowest, Number(stdout));
    await sleep(500);
  }
  return slowest;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      long: { type: 'boolean', default: false },
      pods: { type: 'string' },
      egress: { type: 'string' },
    },
  });
  const given = Number(values.seconds);
  if (!Number.isInteger(given) || given < 1 || given > 3600) {
    process.stderr.write(`--seconds ${values.seconds}: expected 1 to 3600\n`);
    return 2;
  }
  if (process.env['GATE64_SANDBOX'] !== '1') {
    return inSandbox(import.meta.filename, process.argv.slice(2));
  }
  buildTools();
  let failed = 0;
  for (const load of LOADS) {
    if (values.pods !== undefined && values.pods !== String(load.pods)) continue;
    const seconds = values.long ? load.seconds : given;
    for (const [name, nat64] of Object.entries(SYSTEMS)) {
      if (values.egress !== undefined && values.egress !== name) continue;
      const outcome = await measure(nat64, load, seconds);
      const rate = Math.round(outcome.good / outcome.seconds);
      const title = `${name}, ${load.pods} pod${load.pods === 1 ? '' : 's'}, ${load.rate} wanted a second for ${seconds} s`;
      console.log(
        `${outcome.bad === 0 ? 'ok' : 'NOT OK'}: ${title}: ${rate}/s, ${outcome.bad} of ${outcome.good + outcome.bad} failed; ` +
          `slowest /healthz ${outcome.slowest.toFixed(2)} s`,
      );
      if (outcome.bad > 0) console.log([outcome.firstFailures, outcome.drops].join('\n').replaceAll(/^/gm, '    '));
      failed += Number(outcome.bad > 0);
    }
  }
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
