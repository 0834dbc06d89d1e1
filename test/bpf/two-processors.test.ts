// SPDX-License-Identifier: Apache-2.0
// Two processors at the same bindings at the same moment, and user space that sweeps, takes blocks back and offers them
// again: whatever happens, maps agree with each other and nothing is left. GATE64_HAMMER_SECONDS says for how long.

import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { formatIp4, parseIp4 } from '../../src/addr/ip.ts';
import { BPFFS } from '../../src/datapath/pins.ts';
import { flow4Codec, flow4KeyCodec, flow6Codec, flow6KeyCodec, STATE } from '../../src/model/layout.gen.ts';
import { TypedMap } from '../../src/libbpf/mod.ts';
import { disagreements } from '../helpers/map-checker.ts';
import { eth, TCP } from '../helpers/packet.ts';
import { expectSound, Plane, POD, POOL, PREFIX, SERVER, SERVER6 } from './plane.ts';
import type { Hammer, InStep } from './two-processors.worker.ts';

const SECONDS = Number(process.env['GATE64_HAMMER_SECONDS'] ?? 5);
const GATE = `${BPFFS}/two-processors`;
const WORKER = new URL('two-processors.worker.ts', import.meta.url);

const POOL4 = [parseIp4(POOL), parseIp4(POOL) + 1];
const SIZE = 16;
const FIRST = 40000;
const BLOCKS = [0, 1, 2, 3, 4, 5].map((index) => {
  const slot = index % 2;
  return { index, slot, v4: POOL4[slot] as number, firstPort: FIRST + SIZE * Math.floor(index / 2), size: SIZE };
});
const PODS = [1, 2, 3, 4, 5];
const SERVERS = [SERVER, '198.51.100.8'];
/** What is made runs out and is made again while it is still being deleted. */
const TIMEOUT_MS: Readonly<Record<number, number>> = {
  [STATE.OPEN_UDP]: 20,
  [STATE.OPEN_ICMP]: 20,
  [STATE.V4_INIT]: 25,
  [STATE.V6_INIT]: 25,
  [STATE.ESTABLISHED]: 50,
  [STATE.V4_FIN_RCV]: 40,
  [STATE.V6_FIN_RCV]: 40,
  [STATE.BOTH_FIN_RCV]: 10,
  [STATE.TRANS]: 10,
};
const TIMEOUT_NS = Array.from({ length: STATE.STATES }, (_, state) => BigInt(TIMEOUT_MS[state] ?? 0) * 1_000_000n);
const IDLE_BLOCK_MS = 20;
const HOLD_DOWN_MS = 60;
const FLAGS = [TCP.syn, TCP.syn, TCP.syn, TCP.ack, TCP.fin | TCP.ack, TCP.fin | TCP.ack, TCP.rst];

/** Frames of both directions about (pod, port) with one port of each server. */
function framesAbout(pod: number, port: number, remote: number): Uint8Array[] {
  return SERVERS.flatMap((server) => {
    const out = eth().ip6({ src: `2001:db8:1::${pod}`, dst: `${PREFIX}${server}` });
    const outgoing = [
      ...FLAGS.map((flags) => out.tcp({ sport: port, dport: remote, flags })),
      out.udp({ sport: port, dport: remote }),
      out.udp({ sport: port, dport: remote }),
      out.echo6(port),
    ];
    // A pod gets the port that it has itself, if that is free.
    const incoming = POOL4.flatMap((v4) => {
      const back = eth().ip4({ src: server, dst: formatIp4(v4) });
      const answer = TCP.syn | TCP.ack;
      return [
        ...[...FLAGS, answer].map((flags) => back.tcp({ sport: remote, dport: port, flags })),
        back.udp({ sport: remote, dport: port }),
        back.echo4(port, 1, true),
      ];
    });
    return [...outgoing, ...incoming].map((packet) => packet.build());
  });
}

const TUPLES = PODS.flatMap((pod) =>
  Array.from({ length: 20 }, (_, i) => FIRST + 2 * i).flatMap((port) =>
    [53, 80].map((remote) => framesAbout(pod, port, remote)),
  ),
);

/** Runs a worker to its end; gives how many packets it sent. */
async function ended(worker: Worker): Promise<number> {
  // Both may come in one turn of the event loop.
  const [[runs]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')]);
  return runs as number;
}

/** What the ledger does: blocks that were taken back rest, then they are offered. */
class Keeper {
  readonly #plane: Plane;
  readonly #resting = new Map<number, number>();

  constructor(plane: Plane) {
    this.#plane = plane;
  }

  turn(): { ended: number; returned: number } {
    const { datapath } = this.#plane;
    const { endedCount, returned } = datapath.sweep(IDLE_BLOCK_MS);
    const now = performance.now();
    for (const { index } of returned) this.#resting.set(index, now);
    for (const [index, since] of this.#resting) {
      if (now - since < HOLD_DOWN_MS) continue;
      this.#resting.delete(index);
      datapath.offerBlock(index);
    }
    return { ended: endedCount, returned: returned.length };
  }
}

describe('two processors', function () {
  this.timeout(SECONDS * 2000 + 30_000);

  for (const filtering of ['addressDependent', 'endpointIndependent'] as const) {
    it(`N6146-3.1-b: at the same bindings for ${SECONDS / 2} s (${filtering}): maps agree, nothing is left`, async () => {
      using plane = new Plane({
        pool: POOL4.map((v4, slot) => ({ v4, slot, shared: false, draining: false })),
        blocks: BLOCKS,
        config: { slots: 2, maxBlocksPerPod: 2, filtering, inboundRefresh: 'always', timeoutNs: TIMEOUT_NS },
      });
      using stack = new DisposableStack();
      stack.defer(() => rmSync(GATE, { force: true }));
      plane.pinGate(GATE);
      const keeper = new Keeper(plane);
      const shared = new Int32Array(new SharedArrayBuffer(8));
      const workers = [1, 2].map((thread) => {
        const workerData: Hammer = { program: GATE, tuples: TUPLES, seed: Math.imul(Date.now(), thread), shared };
        return new Worker(WORKER, { workerData, trackUnmanagedFds: false });
      });
      const done = Promise.all(workers.map(ended));
      const sum = { ended: 0, returned: 0 };
      const turn = () => {
        const { ended: sessions, returned } = keeper.turn();
        sum.ended += sessions;
        sum.returned += returned;
      };
      for (const end = performance.now() + SECONDS * 500; performance.now() < end; await sleep(3)) turn();
      Atomics.store(shared, 1, 1);
      const runs = await done;
      const found = disagreements(plane.maps);
      for (const end = performance.now() + 500; performance.now() < end; await sleep(10)) turn();
      const left = disagreements(plane.maps);
      const entries = (['n64_flow6', 'n64_flow4', 'n64_bib6', 'n64_bib4', 'n64_peer', 'n64_pods'] as const).map(
        (name) => [name, [...plane.maps[name].keys()].length] as const,
      );
      const states = plane.datapath
        .blocks()
        .map(({ index, state, used }) => `${index} ${state} ${used.tcp + used.udp + used.icmp}`);
      expect(found, 'while sessions are there').to.deep.equal([]);
      expect(left, 'when all have run out').to.deep.equal([]);
      expect(entries.filter(([, count]) => count > 0)).to.deep.equal([]);
      expect(states).to.deep.equal(BLOCKS.map(({ index }) => `${index} offered 0`));
      expect(Math.min(...runs), 'packets').to.be.above(1000);
      expect(sum.ended, 'sessions that the sweep ended').to.be.above(100);
      expect(sum.returned, 'blocks taken back').to.be.above(5);
    });
  }

  it('N6146-3.5.2.2-21: N6146-3.5.2.2-24: the FINs of both ends at the same moment are seen as two, of every connection', async () => {
    const pairs = 2000;
    using plane = new Plane();
    using stack = new DisposableStack();
    stack.defer(() => rmSync(GATE, { force: true }));
    plane.pinGate(GATE);
    const port = FIRST + 1;
    const out = (i: number, flags: number) =>
      eth()
        .ip6({ src: POD, dst: SERVER6 })
        .tcp({ sport: port, dport: 1000 + i, flags })
        .build();
    const back = (i: number, flags: number) =>
      eth()
        .ip4({ src: SERVER, dst: POOL })
        .tcp({ sport: 1000 + i, dport: port, flags })
        .build();
    for (let i = 0; i < pairs; i++) {
      expectSound(plane.gate(out(i, TCP.syn)));
      expectSound(plane.gate(back(i, TCP.syn | TCP.ack)));
    }
    const shared = new Int32Array(new SharedArrayBuffer(8));
    const fin = TCP.fin | TCP.ack;
    const frames = [out, back].map((make) => Array.from({ length: pairs }, (_, i) => make(i, fin)));
    const workers = frames.map((own, mine) => {
      const workerData: InStep = { program: GATE, frames: own, mine, other: 1 - mine, shared };
      return new Worker(WORKER, { workerData, trackUnmanagedFds: false });
    });
    await Promise.all(workers.map(ended));
    const states = [
      ...new TypedMap(plane.maps.n64_flow6, flow6KeyCodec, flow6Codec).entries(),
      ...new TypedMap(plane.maps.n64_flow4, flow4KeyCodec, flow4Codec).entries(),
    ].map(([, { state }]) => state);
    expect(states).to.have.length(2 * pairs);
    expect(states.filter((state) => state !== STATE.BOTH_FIN_RCV)).to.deep.equal([]);
    expect(disagreements(plane.maps)).to.deep.equal([]);
  });
});
