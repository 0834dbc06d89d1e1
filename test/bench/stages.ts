// SPDX-License-Identifier: Apache-2.0
// What the programs themselves cost: nanoseconds a packet by kind, without devices, stack and interrupts. Builds that are
// compared take turns. Root:
// test/helpers/sandbox.sh .tools/bin/node test/bench/stages.ts OBJECT…

import { execFileSync } from 'node:child_process';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import { flow4Codec, flow4KeyCodec, flow6Codec, flow6KeyCodec, PROTOCOL, STATE } from '../../src/model/layout.gen.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { eth, TCP, type Packet } from '../helpers/packet.ts';
import { FIRST_PORT, OBJECT, Plane, POOL, PREFIX, SERVER6, type Action, type PlaneOptions } from '../bpf/plane.ts';

/** Short, since whatever else runs on the machine is in the time of some; the quickest counts. */
const RUNS = 4000;
const TURNS = 25;
const ROUNDS = 5;
const NEW_FLOWS = 3000;
const BLOCK_PORTS = 512;
const BLOCKS = 48;

const blocks: NonNullable<PlaneOptions['blocks']> = Array.from({ length: BLOCKS }, (_, index) => ({
  index,
  slot: 0,
  v4: parseIp4(POOL),
  firstPort: FIRST_PORT - 24_576 + index * BLOCK_PORTS,
  size: BLOCK_PORTS,
}));

/** A pod at the address that the server is shown as: what is translated there comes back, so that a run follows another. */
const CIRCLE = `${PREFIX}${POOL}`;
const [A, B, C, D] = [5001, 5002, 5003, 5004] as const;

/** a,b ─6to4─► c,b ─4to6─► c,d ─6to4─► a,d ─4to6─► a,b */
function circle(plane: Plane, protocol: number, state: number): void {
  const [src, pool] = [parseIp6(CIRCLE), parseIp4(POOL)];
  const six = new TypedMap(plane.maps.n64_flow6, flow6KeyCodec, flow6Codec);
  const four = new TypedMap(plane.maps.n64_flow4, flow4KeyCodec, flow4Codec);
  const common = { lastNs: monotonicNs(), packets: 0n, bytes: 0n, state, csumDelta: 0 };
  for (const [sport, dport, port] of [
    [A, B, C],
    [C, D, A],
  ] as const) {
    six.update(
      { src, dst4: pool, sport, dport, protocol, prefix: 0 },
      { ...common, createdNs: 1n, pool, port, flags: 0, generation: 0 },
    );
  }
  for (const [sport, dport, port] of [
    [C, B, D],
    [A, D, B],
  ] as const) {
    four.update({ src: pool, dst: pool, sport, dport, protocol }, { ...common, src, port, prefix: 0 });
  }
}

const INGRESS = 1;

/** A signal, the runtime's own say, ends a run early. */
function quickest(plane: Plane, packet: Packet, wanted: Action): number {
  let best = Infinity;
  for (let turn = 0; turn < TURNS; turn++) {
    try {
      const { action, duration } = plane.gate(packet, { ingress: INGRESS, repeat: RUNS });
      if (action !== wanted) throw new Error(`a packet was met otherwise: ${action}`);
      best = Math.min(best, duration);
    } catch (error) {
      if ((error as { code?: string }).code !== 'EINTR') throw error;
    }
  }
  return best;
}

function newFlows(plane: Plane): number {
  const times: number[] = [];
  for (let i = 0; i < NEW_FLOWS; i++) {
    const packet = eth()
      .ip6({ src: `2001:db8:1::${(1 + (i % 40)).toString(16)}`, dst: SERVER6 })
      .udp({ sport: 1024 + Math.floor(i / 40), dport: 53 })
      .payload('x'.repeat(18));
    const { action, duration } = plane.gate(packet);
    if (action !== 'redirect') throw new Error(`a new flow was refused: ${action}`);
    times.push(duration);
  }
  return times.toSorted((a, b) => a - b)[times.length >> 1] as number;
}

const KINDS: Readonly<Record<string, (plane: Plane) => number>> = {
  'UDP, both ways': (plane) => {
    circle(plane, PROTOCOL.UDP, STATE.OPEN_UDP);
    return quickest(
      plane,
      eth().ip6({ src: CIRCLE, dst: CIRCLE }).udp({ sport: A, dport: B }).payload('x'.repeat(18)),
      'redirect',
    );
  },
  'TCP, both ways': (plane) => {
    circle(plane, PROTOCOL.TCP, STATE.ESTABLISHED);
    return quickest(
      plane,
      eth().ip6({ src: CIRCLE, dst: CIRCLE }).tcp({ sport: A, dport: B, flags: TCP.ack }).payload('x'.repeat(18)),
      'redirect',
    );
  },
  'UDP, new flow': newFlows,
  'TCP, dropped': (plane) =>
    quickest(
      plane,
      eth().ip6({ src: '2001:db8:1::1', dst: SERVER6 }).tcp({ sport: 1, dport: 2, flags: TCP.ack }),
      'drop',
    ),
};

const WAYS: Readonly<Record<string, PlaneOptions>> = { masquerade: {}, direct: { uplinkMtu: 1500 } };

function main(objects: readonly string[]): void {
  const shared = { blocks, maxSessions: 65_536, config: { maxBlocksPerPod: 64 } };
  const rows: Record<string, string | number>[] = [];
  const best = new Map<string, number>();
  for (const [way, options] of Object.entries(WAYS)) {
    const planes = objects.map((objectPath) => new Plane({ ...shared, ...options, objectPath }));
    execFileSync('sysctl', ['-qw', 'net.ipv4.ip_forward=1']);
    if (way === 'direct') {
      execFileSync('ip', ['addr', 'add', '192.0.2.1/24', 'dev', 'plane1']);
      execFileSync('ip', ['route', 'add', 'default', 'via', '192.0.2.2']);
      execFileSync('ip', ['neigh', 'add', '192.0.2.2', 'lladdr', '02:00:00:00:00:01', 'dev', 'plane1']);
    }
    for (const [kind, measure] of Object.entries(KINDS)) {
      for (let round = 0; round < ROUNDS; round++) {
        for (const [i, plane] of planes.entries()) {
          plane.reset();
          const name = `${way} ${kind} ${i}`;
          best.set(name, Math.min(best.get(name) ?? Infinity, measure(plane)));
        }
      }
      rows.push({
        way,
        kind,
        ...Object.fromEntries(objects.map((_, i) => [`ns ${i}`, best.get(`${way} ${kind} ${i}`) ?? 0])),
      });
    }
    for (const plane of planes) plane[Symbol.dispose]();
  }
  console.table(rows);
}

const objects = process.argv.slice(2);
main(objects.length > 0 ? objects : [OBJECT]);
