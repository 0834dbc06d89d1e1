// SPDX-License-Identifier: Apache-2.0
// Closed connections give way where a pod finds no port, with nobody who sweeps; open ones never do.

import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { eth, TCP } from '../helpers/packet.ts';
import { disagreements } from '../helpers/map-checker.ts';
import { expectSound, Plane, POD, POOL, PREFIX, SERVER, SERVER6, type PlaneOptions } from './plane.ts';

const POD2 = '2001:db8:1::20';
const SIZE = 16;
/** CLOSED_LEAST of bpf/closed.h, and a tick of the clock. */
const LEAST_MS = 2150;
const { syn, ack, fin, rst } = TCP;

const blocks = (count: number) =>
  Array.from({ length: count }, (_, index) => ({
    index,
    slot: 0,
    v4: 0xcb007105,
    firstPort: 40000 + SIZE * index,
    size: SIZE,
  }));
const options = { blocks: blocks(2), config: { maxBlocksPerPod: 1 } };

/** The pool's port of a connection; undefined where it was refused. */
function opened(plane: Plane, sport: number, { src = POD, dst = SERVER6 } = {}): number | undefined {
  const outcome = plane.gate(eth().ip6({ src, dst }).tcp({ sport, dport: 80, flags: syn }));
  if (outcome.l3[0] !== 0x45) return undefined;
  expectSound(outcome);
  return new DataView(outcome.l3.buffer, outcome.l3.byteOffset).getUint16(20);
}

function back(plane: Plane, port: number, flags: number): void {
  expectSound(plane.gate(eth().ip4({ src: SERVER, dst: POOL }).tcp({ sport: 80, dport: port, flags })));
}

function out(plane: Plane, sport: number, flags: number): void {
  expectSound(plane.gate(eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport, dport: 80, flags })));
}

/** All ports of the pod's block; gives the pool's port of each. */
function fill(plane: Plane, first: number): number[] {
  return Array.from({ length: SIZE }, (_, i) => {
    const port = opened(plane, first + i) as number;
    back(plane, port, syn | ack);
    return port;
  });
}

function close(plane: Plane, sport: number, port: number): void {
  out(plane, sport, fin | ack);
  back(plane, port, fin | ack);
}

/** With a data plane of its own: its programs know of no connection before. */
async function withOwn(own: PlaneOptions, act: (plane: Plane) => Promise<void>): Promise<void> {
  using plane = new Plane(own);
  await act(plane);
  expect(disagreements(plane.maps)).to.deep.equal([]);
}

describe('closed connections without a sweep', function () {
  this.timeout(30_000);

  it('N6146-4-e: give way after two seconds, the oldest first, each once', async () => {
    await withOwn(options, async (plane) => {
      const ports = fill(plane, 1000);
      expect(opened(plane, 2000), 'all are open').to.equal(undefined);
      close(plane, 1005, ports[5] as number);
      await sleep(300);
      close(plane, 1003, ports[3] as number);
      expect(opened(plane, 2000), 'closed a moment ago').to.equal(undefined);
      await sleep(LEAST_MS);
      expect(opened(plane, 2000)).to.equal(ports[5]);
      expect(opened(plane, 2001)).to.equal(ports[3]);
      expect(opened(plane, 2002), 'none is closed any more').to.equal(undefined);
      const states = plane.datapath.sessions().map(({ source, state }) => `${source.port} ${state}`);
      expect(states).to.have.length(SIZE);
      expect(states.filter((text) => /^100[35] /.test(text))).to.deep.equal([]);
      expect(states.filter((text) => text.endsWith('established'))).to.have.length(SIZE - 2);
    });
  });

  it('one that was reset gives way too, one half closed does not, and what came back to life does not', async () => {
    await withOwn(options, async (plane) => {
      const ports = fill(plane, 1000);
      back(plane, ports[1] as number, rst);
      back(plane, ports[2] as number, rst);
      out(plane, 1002, ack);
      out(plane, 1003, fin | ack);
      await sleep(LEAST_MS);
      expect(opened(plane, 2000)).to.equal(ports[1]);
      expect(opened(plane, 2001)).to.equal(undefined);
    });
  });

  it('of another pod do not, nor does their pod get theirs', async () => {
    await withOwn(options, async (plane) => {
      const ports = fill(plane, 1000);
      const other = opened(plane, 1000, { src: POD2 });
      expect(other).to.not.equal(undefined);
      close(plane, 1000, ports[0] as number);
      await sleep(LEAST_MS);
      for (let i = 1; i < SIZE; i++) expect(opened(plane, 1000 + i, { src: POD2 })).to.not.equal(undefined);
      expect(opened(plane, 3000, { src: POD2 })).to.equal(undefined);
      expect(opened(plane, 2000)).to.equal(ports[0]);
    });
  });

  it('make room below nat64.maxSessionsPerPod, too', async () => {
    await withOwn({ config: { maxSessionsPerPod: 4 } }, async (plane) => {
      const server = (n: number) => `${PREFIX}198.51.100.${n}`;
      for (let n = 1; n <= 3; n++) expect(opened(plane, 1000, { dst: server(n) })).to.not.equal(undefined);
      const port = opened(plane, 1000) as number;
      expect(opened(plane, 1000, { dst: server(20) })).to.equal(undefined);
      back(plane, port, syn | ack);
      close(plane, 1000, port);
      await sleep(LEAST_MS);
      expect(opened(plane, 1000, { dst: server(20) })).to.equal(port);
      expect(opened(plane, 1000, { dst: server(21) })).to.equal(undefined);
    });
  });

  it('the sweep and a new connection that take the same leave maps that agree', async () => {
    await withOwn(options, async (plane) => {
      for (let round = 0; round < 3; round++) {
        const ports = fill(plane, 1000 + 100 * round);
        for (const [i, port] of ports.entries()) close(plane, 1000 + 100 * round + i, port);
        await sleep(LEAST_MS);
        for (let i = 0; i < SIZE / 2; i++) expect(opened(plane, 5000 + 100 * round + i)).to.not.equal(undefined);
        plane.datapath.setClosingTimes([{ ms: 1 }]);
        plane.datapath.sweep(60_000);
        expect(plane.datapath.sessions()).to.have.length(SIZE / 2);
        plane.age(400);
        plane.datapath.sweep(60_000);
        plane.datapath.setClosingTimes([]);
        expect(plane.datapath.sessions()).to.have.length(0);
      }
    });
  });
});
