// SPDX-License-Identifier: Apache-2.0
// Lines into a pipe whose reader takes its time.

import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { isPipe, PipeSink } from '../../../src/telemetry/pipe-sink.ts';
import { eventually } from '../../helpers/processes.ts';

const LINE = `${'x'.repeat(99)}\n`;

describe('telemetry/pipe-sink', () => {
  const folder = mkdtempSync(join(tmpdir(), 'gate64-pipe-'));
  const path = join(folder, 'pipe');
  let reader: number;
  let writer: number;
  let text: string;
  let lost: number[];
  let sink: PipeSink;

  before(() => execFileSync('mkfifo', [path]));
  after(() => rmSync(folder, { recursive: true }));
  beforeEach(() => {
    reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    writer = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    text = '';
    lost = [];
    const onLost = (lines: number) => {
      lost.push(lines);
      sink.write(`lost ${lines}\n`);
    };
    sink = new PipeSink({ fd: writer, bufferedOctets: 10_000, onLost });
  });
  afterEach(() => {
    closeSync(writer);
    try {
      closeSync(reader);
    } catch {
      // A test has closed it.
    }
  });

  /** Takes what is in the pipe. */
  function read(): string {
    const buffer = Buffer.alloc(65_536);
    try {
      text += buffer.toString('latin1', 0, readSync(reader, buffer));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
    }
    return text;
  }

  it('is for pipes', () => {
    expect(isPipe(writer)).to.equal(true);
    const file = openSync(join(folder, 'file'), 'w');
    expect(isPipe(file)).to.equal(false);
    closeSync(file);
    expect(isPipe(-1)).to.equal(false);
  });

  it('writes at once while there is room', () => {
    for (let i = 0; i < 10; i++) sink.write(LINE);
    expect(read()).to.equal(LINE.repeat(10));
    expect(lost).to.deep.equal([]);
  });

  it('keeps what the buffer holds of a stuck pipe, loses the rest, and says how much when it flows again', async () => {
    const started = performance.now();
    for (let i = 0; i < 20_000; i++) sink.write(LINE);
    expect(performance.now() - started, 'nobody waited').to.be.below(2000);
    await eventually('all that was kept', () => (read().includes('lost') ? true : undefined));
    const lines = text.split('\n').slice(0, -1);
    const kept = lines.filter((line) => line === LINE.trimEnd()).length;
    expect(kept, 'pipe and buffer').to.be.within(600, 800);
    expect(lines.length, 'no line is cut').to.equal(kept + 1);
    expect(lost).to.deep.equal([20_000 - kept]);
  });

  it('at the end of the process tries what waits, for a moment', () => {
    for (let i = 0; i < 20_000; i++) sink.write(LINE);
    const started = performance.now();
    sink.end();
    expect(performance.now() - started).to.be.within(100, 1000);
    const before = read().length;
    sink.end();
    expect(read().length).to.be.above(before);
  });

  it('a reader that has gone ends nothing', () => {
    closeSync(reader);
    for (let i = 0; i < 10; i++) sink.write(LINE);
    sink.end();
  });
});
