// SPDX-License-Identifier: Apache-2.0
// test/load/short-connections.c between pods and the server of the topology: pods with routes of their own that come and
// go, a network of addresses to connect to.

import { buildTools, SHORT_CONNECTIONS } from '../bench/tools.ts';
import { type Background } from './processes.ts';
import { POD, SERVER4, type Topology } from './topology.ts';

const PORTS = ['8001', '8'];

/** Connections that were made, and that were not; `log` says why the first ones failed. */
export interface ShortConnections {
  readonly good: number;
  readonly bad: number;
  readonly log: string;
}

/** The server listens on all addresses of 203.0.113.0/24. */
export async function serveShortConnections(topology: Topology): Promise<void> {
  buildTools();
  await topology.sh('router', `ip route add 203.0.113.0/24 via ${SERVER4}`);
  await topology.sh('server', 'ip route add local 203.0.113.0/24 dev lo');
  // Whoever deletes a pod deletes its route; what is left of its network leads nowhere.
  await topology.sh('node', 'ip -6 route add unreachable 2001:db8:3::/48');
  topology.start('server', [SHORT_CONNECTIONS, 'serve', ...PORTS]);
}

/** Four pods, `2001:db8:3:GENERATION::1` and so on, as far as the network knows. */
const addressesOf = (generation: number) => [1, 2, 3, 4].map((pod) => `2001:db8:3:${generation}::${pod}`);

export async function addPods(topology: Topology, generation: number): Promise<void> {
  for (const pod of addressesOf(generation)) {
    await topology.sh('pod', `ip -6 addr add ${pod}/128 dev eth0 nodad`);
    await topology.sh('node', `ip -6 route add ${pod}/128 via ${POD} dev pod0`);
  }
}

export async function deletePods(topology: Topology, generation: number): Promise<void> {
  for (const pod of addressesOf(generation)) {
    await topology.sh('node', `ip -6 route del ${pod}/128`);
    await topology.sh('pod', `ip -6 addr del ${pod}/128 dev eth0`);
  }
}

/** `rate` connections a second of the four pods together, for so long. */
export function connectShort(topology: Topology, generation: number, rate: number, seconds: number): Background {
  const what = [`2001:db8:3:${generation}::`, '4', '64:ff9b::203.0.113.0', ...PORTS, String(rate), String(seconds)];
  return topology.start('pod', [SHORT_CONNECTIONS, 'connect', ...what]);
}

/** One connection of each pod that stays open until what is given ends. */
export function holdOpen(topology: Topology, generation: number): Background {
  const script = `for (const localAddress of process.argv.slice(1))
    require('node:net').connect({ host: '64:ff9b::203.0.113.9', port: 80, localAddress }).on('error', console.log);`;
  return topology.start('pod', [process.execPath, '-e', script, ...addressesOf(generation)]);
}

/** Waits for the end of what connectShort() began. */
export async function shortConnections(started: Background): Promise<ShortConnections> {
  await started.ended;
  const log = started.log();
  const totals = /^(\d+) (\d+) [\d.]+$/m.exec(log);
  if (totals === null) throw new Error(`no totals: ${log}`);
  return { good: Number(totals[1]), bad: Number(totals[2]), log };
}
