// SPDX-License-Identifier: Apache-2.0
// A thread that runs the program on packets while another does the same: at random, most of them about one tuple that all
// threads are at, or in step with the other, a packet each at the same moment.

import { parentPort, workerData } from 'node:worker_threads';
import { BpfProgram } from '../../src/libbpf/mod.ts';

export interface Hammer {
  readonly program: string;
  /** Frames by the tuple that they are about. */
  readonly tuples: readonly (readonly Uint8Array[])[];
  readonly seed: number;
  /** Two counters: packets so far, which say what tuple is the turn's, and whether it is over. */
  readonly shared: Int32Array;
}

export interface InStep {
  readonly program: string;
  readonly frames: readonly Uint8Array[];
  /** Of this thread and of the other: how far each is. */
  readonly mine: number;
  readonly other: number;
  readonly shared: Int32Array;
}

/** For so many packets all are at one tuple. */
const TURN = 24;
/** Of 256 packets, about any tuple at all. */
const ASTRAY = 48;

/** xorshift32 */
function* random(seed: number): Generator<number, never> {
  let x = seed | 1;
  for (;;) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    yield x >>> 0;
  }
}

function scatter(turn: number): number {
  const h = Math.imul(turn ^ (turn >>> 15), 0x2c1b3c6d);
  return (h ^ (h >>> 12)) >>> 0;
}

function hammer(program: BpfProgram, { tuples, seed, shared }: Hammer): number {
  const numbers = random(seed);
  let runs = 0;
  while (Atomics.load(shared, 1) === 0) {
    const turn = Math.floor((Atomics.add(shared, 0, 1) >>> 0) / TURN);
    const astray = numbers.next().value % 256 < ASTRAY;
    const frames = tuples[(astray ? numbers.next().value : scatter(turn)) % tuples.length] as readonly Uint8Array[];
    program.testRun(frames[numbers.next().value % frames.length] as Uint8Array);
    runs++;
  }
  return runs;
}

function inStep(program: BpfProgram, { frames, mine, other, shared }: InStep): number {
  frames.forEach((frame, i) => {
    Atomics.store(shared, mine, i + 1);
    while (Atomics.load(shared, other) < i + 1);
    program.testRun(frame);
  });
  return frames.length;
}

const work = workerData as Hammer | InStep;
using program = BpfProgram.openPinned(work.program);
parentPort?.postMessage('tuples' in work ? hammer(program, work) : inStep(program, work));
