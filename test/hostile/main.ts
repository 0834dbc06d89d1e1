// SPDX-License-Identifier: Apache-2.0
// `make test-hostile`: each flood for a minute, with another pod's connections and transfer measured beside it and compared
// with a quiet phase of the same run. Needs root. `--egress direct` and `--only WORD` leave others out; `--seconds N`.
//
// Two cores carry generator, node, client and server together: the flood is sent at a limited rate and yields to the others,
// and the transfer is limited too, so that gate64 decides on what arrives and not the processor.

import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { metricSum } from '../helpers/gate64.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';
import { EGRESSES, Scene } from '../helpers/scene.ts';
import type { Background } from '../helpers/processes.ts';
import { POD, POD_NET, SERVER4, type Topology } from '../helpers/topology.ts';
import { ATTACKER, ATTACKER_NET, ATTACKER_PORT, FLOODS, type Flood } from './floods.ts';

const ROOT = join(import.meta.dirname, '../..');
const TOOL = join(ROOT, '.output/hostile/flood');
const BYSTANDER = POD_NET.replace('::/64', '::50');
const SITE = `http://[64:ff9b::${SERVER4}]`;
const RATE = 20_000;
/** Bytes a second of the transfer that is measured. */
const TRANSFER = 20_000_000;
const LEAST_RATIO = 0.8;
const AFTER_MS = 10_000;
const SLOW_DNS = 'DNS clients that do not read';
/** Ask over TCP and never read, 900 at a time; those that are ended come back. */
const SLOW_CLIENTS = `
  const { connect } = require('node:net');
  const query = Buffer.from('0020123401000001000000000000' + '0676346f6e6c79076578616d706c6500' + '001c0001', 'hex');
  const open = () => {
    const socket = connect(5364, '127.0.0.1', () => { for (let i = 0; i < 200; i++) socket.write(query); }).pause();
    socket.on('error', () => undefined).on('close', () => setTimeout(open, 500));
  };
  for (let i = 0; i < 900; i++) open();
`;

interface Phase {
  readonly made: number;
  readonly failed: number;
  /** Bytes a second. */
  readonly rate: number;
}

/** New connections, ten a second, and one transfer, of the pod beside the attacker. */
async function bystand(topology: Topology, seconds: number): Promise<Phase> {
  const limits = { timeoutMs: (seconds + 30) * 1000 };
  const connect = `end=$((SECONDS+${seconds})) made=0 failed=0
while ((SECONDS < end)); do
  curl -sS --fail -o /dev/null --interface ${BYSTANDER} --max-time 5 '${SITE}/short' || failed=$((failed+1))
  made=$((made+1)); sleep 0.1
done
echo $made $failed`;
  const transfer = ['curl', '-sS', '-o', '/dev/null', '--interface', BYSTANDER, '--limit-rate', `${TRANSFER}`];
  const [connections, { stdout }] = await Promise.all([
    topology.sh('pod', connect, limits),
    topology.run('pod', [...transfer, '--max-time', `${seconds}`, '-w', '%{size_download}', `${SITE}/long`], {
      ...limits,
      accept: 'any',
    }),
  ]);
  const [made = 0, failed = 0] = connections.split(' ').map(Number);
  return { made, failed, rate: Number(stdout) / seconds };
}

async function macOf(topology: Topology, device: string): Promise<Uint8Array> {
  const address = await topology.sh('node', `cat /sys/class/net/${device}/address || true; ip -o link show ${device}`);
  const [, mac = ''] = /link\/ether ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})/.exec(address) ?? [];
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

/** The attacker's own binding, which who is outside aims at. */
async function attackerPort(scene: Scene): Promise<number> {
  const { topology } = scene;
  const send = `echo x | socat -u - 'UDP6:[64:ff9b::${SERVER4}]:7007,bind=[${ATTACKER}]:${ATTACKER_PORT}'`;
  await topology.sh('pod', send);
  const rows = await scene.gate64.json<{ pool: { port: number } }[]>('sessions', '--src', ATTACKER);
  const [row] = rows;
  if (row === undefined) throw new Error('the attacker has no session to aim at');
  return row.pool.port;
}

async function begin(scene: Scene, flood: Flood | undefined, seconds: number): Promise<Background> {
  const { topology } = scene;
  if (flood === undefined) return topology.start('node', [process.execPath, '-e', SLOW_CLIENTS]);
  const frame = Buffer.from(flood.frame(flood.from === 'router' ? await attackerPort(scene) : 0));
  frame.set(await macOf(topology, flood.from === 'pod' ? 'pod0' : 'up0'), 0);
  const file = join(topology.directory, 'frame');
  writeFileSync(file, frame);
  const device = flood.from === 'pod' ? 'eth0' : 'lan0';
  const argv = [TOOL, device, `${RATE}`, `${seconds}`, ...flood.vary];
  return topology.start(flood.from, [
    'sh',
    '-c',
    'file=$1; shift; exec nice -n 15 "$@" <"$file"',
    'flood',
    file,
    ...argv,
  ]);
}

const drops = async (scene: Scene) => metricSum(await scene.gate64.metrics(), 'gate64_nat64_drops_total');

interface Outcome {
  readonly quiet: Phase;
  readonly during: Phase;
  readonly sent: string;
  /** After ten seconds: drops of the last two of them, sessions of all pods. */
  readonly dropsAfter: number;
  readonly sessionsAfter: number;
  readonly after: Phase;
}

async function measure(egress: (typeof EGRESSES)[number], flood: Flood | undefined, seconds: number): Promise<Outcome> {
  await using scene = await Scene.create({ egress, config: { nat64: { ...flood?.nat64 } } });
  const { topology } = scene;
  await topology.sh('pod', `for a in ${ATTACKER} ${BYSTANDER}; do ip -6 addr add $a/64 dev eth0 nodad; done`);
  await topology.sh('node', `ip -6 route add ${ATTACKER_NET} via ${POD}`);
  if (flood?.uplinkMtu !== undefined) {
    await topology.sh('node', `ip link set up0 mtu ${flood.uplinkMtu}`);
    await topology.sh('router', `ip link set lan0 mtu ${flood.uplinkMtu}`);
    await sleep(3000);
  }
  writeFileSync(join(scene.www, 'short'), 'x');
  await topology.sh('server', `truncate -s 64G ${join(scene.www, 'long')}`);
  const quiet = await bystand(topology, Math.max(5, Math.round(seconds / 4)));
  const attack = await begin(scene, flood, seconds + 2);
  await sleep(1000);
  const during = await bystand(topology, seconds);
  if (flood === undefined) {
    await topology.sh('node', 'dig +tries=1 +time=2 -p 5364 @127.0.0.1 v4only.example AAAA | grep -q NOERROR');
    await attack.stop();
  }
  await attack.ended;
  await sleep(AFTER_MS - 2000);
  const before = await drops(scene);
  await sleep(2000);
  const dropsAfter = (await drops(scene)) - before;
  const sessionsAfter = metricSum(await scene.gate64.metrics(), 'gate64_nat64_sessions');
  const after = await bystand(topology, 3);
  return { quiet, during, sent: attack.log().trim(), dropsAfter, sessionsAfter, after };
}

function faultsOf({ quiet, during, dropsAfter, after }: Outcome): string[] {
  const faults: string[] = [];
  if (quiet.made === 0 || quiet.rate === 0) faults.push('the quiet phase carried nothing');
  for (const [phase, { failed }] of Object.entries({ quiet, during, after })) {
    if (failed > 0) faults.push(`${failed} connections failed (${phase})`);
  }
  if (during.rate < LEAST_RATIO * quiet.rate) faults.push('the transfer fell');
  if (dropsAfter > 0) faults.push(`${dropsAfter} drops in two seconds, ten seconds later`);
  return faults;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      egress: { type: 'string' },
      only: { type: 'string', default: '' },
    },
  });
  const seconds = Number(values.seconds);
  if (!Number.isInteger(seconds) || seconds < 5 || seconds > 3600) {
    process.stderr.write(`--seconds ${values.seconds}: expected 5 to 3600\n`);
    return 2;
  }
  if (process.env['GATE64_SANDBOX'] !== '1') return inSandbox(import.meta.filename, process.argv.slice(2));
  mkdirSync(join(TOOL, '..'), { recursive: true });
  execFileSync('clang', ['-O2', '-Wall', '-Wextra', '-Werror', join(import.meta.dirname, 'flood.c'), '-o', TOOL]);
  let failed = 0;
  const floods = [...FLOODS.map((flood) => [flood.name, flood] as const), [SLOW_DNS, undefined] as const];
  for (const egress of EGRESSES) {
    if (values.egress !== undefined && values.egress !== egress) continue;
    for (const [name, flood] of floods) {
      if (!name.includes(values.only)) continue;
      let outcome = await measure(egress, flood, seconds);
      // The machine has other work: a transfer that falls once may be its doing.
      if (faultsOf(outcome).length > 0) outcome = await measure(egress, flood, seconds);
      const faults = faultsOf(outcome);
      const { quiet, during, sent, sessionsAfter } = outcome;
      const ratio = (during.rate / quiet.rate).toFixed(2);
      console.log(
        `${faults.length === 0 ? 'ok' : 'NOT OK'}: ${egress}, ${name}: ${sent || '-'} sent, transfer ${ratio} of quiet, ` +
          `${during.failed} of ${during.made} connections failed, ${sessionsAfter} sessions after ten seconds`,
      );
      for (const fault of faults) console.log(`    ${fault}`);
      failed += Number(faults.length > 0);
    }
  }
  return failed > 0 ? 1 : 0;
}

process.exitCode = await main();
