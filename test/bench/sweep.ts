// SPDX-License-Identifier: Apache-2.0
// What the sweep takes a session that lives, in processor time: `sudo node test/bench/sweep.ts [SESSIONS]`. The first two
// passes judge everybody. `pressed`: sessions run short, so that those of UDP are looked at for an answer, once each.

import { destinationRules } from '../../src/addr/destinations.ts';
import { parseIp4 } from '../../src/addr/ip.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { FLOW_ANSWERED, PROTOCOL, STATE } from '../../src/model/layout.gen.ts';
import { fillSessions } from '../bpf/many-sessions.ts';
import { Plane } from '../bpf/plane.ts';
import { TIMEOUTS } from '../helpers/programs.ts';
import { inSandbox } from '../helpers/in-sandbox.ts';

const PASSES = 9;
const SERVERS = parseIp4('198.51.100.0');
const SECOND_NS = 1_000_000_000n;

const KINDS = {
  udp: { protocol: PROTOCOL.UDP, six: { state: STATE.OPEN_UDP, flags: FLOW_ANSWERED } },
  pressed: { protocol: PROTOCOL.UDP, six: { state: STATE.OPEN_UDP, packets: 1n }, areAnswered: true },
  tcp: { protocol: PROTOCOL.TCP, six: { state: STATE.ESTABLISHED } },
} as const;

/** Nanoseconds of processor time that a pass takes, a session. */
function pass(plane: Plane, count: number): number {
  const before = process.cpuUsage();
  const { endedCount } = plane.datapath.sweep(60_000);
  const { user, system } = process.cpuUsage(before);
  if (endedCount > 0) throw new Error(`${endedCount} sessions have ended`);
  return ((user + system) * 1000) / count;
}

function measure(count: number, kind: keyof typeof KINDS): void {
  using plane = new Plane({ maxSessions: 1_048_576, config: { timeouts: TIMEOUTS } });
  const allowNonGlobalIpv4 = [{ v4: SERVERS, length: 24 }];
  plane.datapath.setDestinations(
    destinationRules({ deny: [], allowNonGlobalIpv4, nodeAddresses: [parseIp4('192.0.2.1')], pool: [] }),
  );
  const lastNs = monotonicNs() - 20n * SECOND_NS;
  fillSessions(plane, { count, lastNs, servers: 256, firstServer: SERVERS, ...KINDS[kind] });
  const passes: number[] = [];
  for (let i = 0; i < PASSES; i++) {
    if (kind === 'pressed' && i === 3) plane.datapath.setClosingTimes([{ ms: 2000 }]);
    passes.push(pass(plane, count));
  }
  const least = Math.min(...passes);
  console.log(
    `${kind}: ${least.toFixed(0)} ns a session at least; each pass: ${passes.map((ns) => ns.toFixed(0)).join(' ')}`,
  );
}

if (process.env['GATE64_SANDBOX'] === '1') {
  for (const kind of ['udp', 'tcp', 'pressed'] as const) measure(Number(process.argv[2] ?? 400_000), kind);
} else {
  process.exitCode = await inSandbox(import.meta.filename, process.argv.slice(2));
}
