// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { ConfigWatch } from '../../../src/config/watch.ts';

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe('config/watch', () => {
  let directory: string;
  let file: string;
  let changes: number;
  let running: ConfigWatch | undefined;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'gate64-watch-'));
    file = join(directory, 'gate64.yaml');
    changes = 0;
  });
  afterEach(() => {
    running?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const watch = (loaded: string) => {
    running = new ConfigWatch(file, loaded, () => changes++, 10);
  };

  it('a change between the reading and the first look is seen', async () => {
    writeFileSync(file, 'log: { level: debug }\n');
    watch('log: { level: info }\n');
    await pause(100);
    expect(changes).to.equal(1);
  });

  it('what somebody else has read meanwhile is no change', async () => {
    writeFileSync(file, 'a');
    watch('a');
    writeFileSync(file, 'b');
    running?.note('b');
    await pause(60);
    expect(changes).to.equal(0);
    writeFileSync(file, 'a');
    await pause(100);
    expect(changes, 'back to what was first').to.equal(1);
  });

  it('tells of each change once, of none without one, and not of a file that is away', async () => {
    writeFileSync(file, 'a');
    watch('a');
    await pause(60);
    expect(changes).to.equal(0);
    renameSync(file, `${file}.away`);
    await pause(60);
    renameSync(`${file}.away`, file);
    await pause(60);
    expect(changes).to.equal(0);
    writeFileSync(file, 'b');
    await pause(100);
    expect(changes).to.equal(1);
  });
});
