// SPDX-License-Identifier: Apache-2.0
// One measurement each of bulk, packet rate, new flows and short connections through a system.

import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from '../helpers/processes.ts';
import { busySeconds } from './process.ts';
import { SERVER } from './rig.ts';
import type { System } from './systems.ts';
import { CONNECTIONS, GENERATOR, GENERATOR_OBJECT } from './tools.ts';

const CONNECTIONS_PORT = 7000;
const WARM_PACKETS = 60_000;
/** A run of the generator must last half a second, or the path idles for much of it. */
const MEASURED_SECONDS = 0.8;
/** No longer, so that the kernel's connection tracking has room for all of them (262144 entries by default). */
const NEW_FLOWS_SECONDS = 0.5;

/** Starts what answers on the server. */
export async function startServers({ rig }: System): Promise<void> {
  rig.start('server', ['iperf3', '--server', '--interval', '0', '--forceflush']);
  rig.start('server', [CONNECTIONS, 'serve', String(CONNECTIONS_PORT)]);
  await eventually('the servers listen', async () => {
    const sockets = await rig.sh('server', `ss -Hltn 'sport = :5201 or sport = :${CONNECTIONS_PORT}'`);
    return sockets.split('\n').length === 2 ? true : undefined;
  });
}

/** Gbit/s of one TCP stream from pod to server, as the server received them. */
export async function bulk(system: System, seconds: number): Promise<number> {
  const argv = ['iperf3', '--client', system.destination(SERVER), '--time', String(seconds), '--json'];
  const { stdout } = await system.rig.run('pod', argv);
  const result = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return result.end.sum_received.bits_per_second / 1e9;
}

/** Short connections to 250 destinations in turn. Throws when one in a hundred or more fails. */
export async function connections(system: System, seconds: number): Promise<Connections> {
  const before = busySeconds();
  const argv = [CONNECTIONS, 'connect', system.manyDestinations, String(CONNECTIONS_PORT), String(seconds)];
  const { stdout } = await system.rig.run('pod', argv);
  const [good = 0, bad = 0, took = 1] = stdout.split(' ').map(Number);
  if (bad > good / 100) throw new Error(`${system.name}: ${bad} of ${good + bad} short connections failed`);
  return { perSecond: good / took, cpu: ((busySeconds() - before) / good) * 1e6 };
}

export interface OnePort {
  /** Connections a second. */
  readonly good: number;
  /** In a thousand of all. */
  readonly failed: number;
}

/** Short connections to one address and port; failures count. */
export async function onePort(system: System, seconds: number): Promise<OnePort> {
  const to = [system.destination(SERVER), CONNECTIONS_PORT, seconds, 1].map(String);
  const { stdout } = await system.rig.run('pod', [CONNECTIONS, 'connect', ...to]);
  const [good = 0, bad = 0, took = 1] = stdout.split(' ').map(Number);
  return { good: good / took, failed: (1000 * bad) / Math.max(1, good + bad) };
}

export interface Connections {
  /** A second. */
  readonly perSecond: number;
  /** Microseconds of processor time of the whole machine, one. */
  readonly cpu: number;
}

/**
 * Datagrams a second that reach the server of as many as one core can send; `flows` 0: each is a flow of its own, of `pods`
 * pods in turn (0: of one).
 */
export async function packets(system: System, flows: number, pods = 0): Promise<number> {
  const { rig } = system;
  await rig.packetMode(true);
  try {
    if (flows > 0) await open(system, flows);
    const warm = await generate(system, { flows, pods, start: take(flows, WARM_PACKETS), count: WARM_PACKETS });
    const count = Math.ceil((WARM_PACKETS / warm) * (flows === 0 ? NEW_FLOWS_SECONDS : MEASURED_SECONDS));
    await sleep(50);
    const before = await rig.arrived();
    const seconds = await generate(system, { flows, pods, start: take(flows, count), count });
    await sleep(50);
    return ((await rig.arrived()) - before) / seconds;
  } finally {
    await rig.packetMode(false);
  }
}

/** Has every flow answered some times, so that it is one of two sides for whoever keeps state. */
async function open(system: System, flows: number): Promise<void> {
  await system.rig.answers(true);
  try {
    for (let round = 0; round < 5; round++) {
      await generate(system, { flows, pods: 0, start: 0, count: Math.max(flows, 10) });
      await sleep(20);
    }
  } finally {
    await system.rig.answers(false);
  }
}

/** No flow is met twice in a run of the bench. */
let nextFlow = 0;

function take(flows: number, count: number): number {
  const start = nextFlow;
  if (flows === 0) nextFlow += count;
  return start;
}

interface Generated {
  readonly flows: number;
  readonly pods: number;
  /** Number of the first one. */
  readonly start: number;
  readonly count: number;
}

/** Seconds that sending took. */
async function generate({ rig, manyDestinations }: System, { flows, pods, start, count }: Generated): Promise<number> {
  const argv = ['taskset', '-c', '0', GENERATOR, GENERATOR_OBJECT, 'eth0', rig.nodeMac, rig.podAddress];
  const numbers = [flows, 10_000, start, count, pods].map(String);
  const { stdout } = await rig.run('pod', [...argv, manyDestinations, ...numbers]);
  return Number(stdout);
}
