// SPDX-License-Identifier: Apache-2.0
// The ring buffer reader on real events, in this process and (for its end) in another. Needs root.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { BpfMap, BpfObject, RingBuffer } from '../../../src/libbpf/mod.ts';
import { compile } from './compile.ts';

const packet = Buffer.alloc(64);

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await sleep(5);
}

describe('libbpf: ring buffer', function () {
  let directory: string;
  let fixture: string;
  let object: BpfObject;

  before(function () {
    if (process.getuid?.() !== 0) this.skip();
    directory = mkdtempSync(join(tmpdir(), 'libbpf-test-'));
    fixture = compile('fixture', directory);
  });
  after(() => {
    if (directory) rmSync(directory, { recursive: true });
  });
  beforeEach(() => {
    using inner = BpfMap.create({ type: 'hash', keySize: 4, valueSize: 8, maxEntries: 16 });
    object = BpfObject.open(fixture);
    object.map('outer').setInnerMap(inner);
    object.setVariable('start', Buffer.alloc(4)).load();
  });
  afterEach(() => object.close());

  const fire = (times: number): void => {
    object.program('notify').testRun(packet, { repeat: times });
  };

  for (const wake of ['poll', 'timer'] as const) {
    it(`libbpf: every record arrives once and in order over many turns of the ring (${wake})`, async () => {
      const sequence: number[] = [];
      fire(2); // before there is a reader
      using ring = new RingBuffer(
        object.map('events'),
        (records) => {
          for (const record of records) {
            expect(record).to.have.length(8);
            expect(record.readUInt32LE(0)).to.equal(packet.length);
            sequence.push(record.readUInt32LE(4));
          }
        },
        { wake, timerMs: 2 },
      );
      // 1000 records and 1000 thrown away ones are 48 kB of the ring's 64.
      for (let round = 1; round <= 10; round++) {
        fire(1000);
        await until(() => sequence.length === 2 + round * 1000);
      }
      expect(sequence).to.deep.equal(Array.from({ length: 10_002 }, (_, i) => i));
      ring.close();
      fire(1);
      await sleep(20);
      expect(sequence).to.have.length(10_002);
      expect(() => ring.consume()).to.throw('closed');
    });
  }

  it('libbpf: an event wakes the reader at once, and promises made in the callback go on', async () => {
    let arrived = 0;
    let waiting: (() => void) | undefined;
    using _ring = new RingBuffer(object.map('events'), () => {
      arrived++;
      waiting?.();
    });
    await sleep(10);
    let best = Infinity;
    for (let i = 0; i < 20; i++) {
      const woken = new Promise<void>((resolve) => (waiting = resolve));
      const from = performance.now();
      fire(1);
      await woken;
      best = Math.min(best, performance.now() - from);
    }
    expect(arrived).to.equal(20);
    expect(best).to.be.below(5);
  });

  it('libbpf: a full ring that is read by hand gives what fitted', () => {
    const sequence: number[] = [];
    using ring = new RingBuffer(object.map('events'), (records) => {
      for (const record of records) sequence.push(record.readUInt32LE(4));
    });
    fire(5000);
    expect(ring.consume()).to.equal(sequence.length);
    expect(sequence.length).to.be.within(1300, 1400);
    expect(sequence).to.deep.equal(sequence.map((_, i) => i));
  });

  it('libbpf: a reader closed by its own callback stops there', async () => {
    let calls = 0;
    const ring: RingBuffer = new RingBuffer(object.map('events'), () => {
      calls++;
      ring.close();
    });
    fire(3);
    await until(() => calls > 0);
    fire(3);
    await sleep(20);
    expect(calls).to.equal(1);
  });

  it('libbpf: only a ring buffer can be read as one', () => {
    expect(() => new RingBuffer(object.map('flows'), () => {})).to.throw(TypeError, 'ring buffer');
  });

  const runChild = (mode: string): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, [join(import.meta.dirname, 'ringbuf.child.ts'), fixture, mode], {
      timeout: 3000,
      encoding: 'utf8',
    });

  it("libbpf: an unref'ed reader lets the process end, an open one keeps it", () => {
    const ended = runChild('unref');
    expect([ended.status, ended.stdout]).to.deep.equal([0, 'got 1\nexit\n'], String(ended.stderr));
    const killed = runChild('keep');
    expect(killed.signal).to.equal('SIGTERM');
  });

  it("libbpf: what comes to an unref'ed reader when the process ends is no fault", () => {
    const ended = runChild('late');
    expect([ended.status, ended.stdout], String(ended.stderr)).to.deep.equal([0, 'got 1\nexit\n']);
  });

  it('libbpf: an error thrown in the callback is an uncaught exception', () => {
    const ended = runChild('throw');
    expect(ended.status).to.equal(7);
    expect(ended.stdout).to.equal('uncaught thrown in callback\n');
  });
});
