// SPDX-License-Identifier: Apache-2.0
// What was accepted last stands in for a file that is wrong, and for no other.

import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AcceptedFile } from '../../../src/config/accepted.ts';
import { loadLastGood } from '../../../src/config/load.ts';
import { ConfigError } from '../../../src/config/problems.ts';

describe('configuration: accepted last', () => {
  let folder = '';
  let file = '';
  let accepted: AcceptedFile;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'gate64-accepted-'));
    file = join(folder, 'gate64.yaml');
    accepted = new AcceptedFile(join(folder, 'run/accepted.yaml'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  const GOOD = 'log: { level: debug }\nnat64: { timeouts: { tcpTransitory: 10 } }\n';

  it('is kept word by word, for its owner alone, and removed', () => {
    expect(accepted.read(file)).to.equal(undefined);
    accepted.write(file, 'first');
    writeFileSync(`${accepted.path}.new`, 'cut off', { mode: 0o644 });
    accepted.write(file, GOOD);
    expect(accepted.read(file)).to.equal(GOOD);
    expect(statSync(accepted.path).mode & 0o777).to.equal(0o600);
    expect(existsSync(`${accepted.path}.new`)).to.equal(false);
    expect(accepted.remove()).to.equal(true);
    expect(existsSync(accepted.path)).to.equal(false);
    expect(accepted.remove()).to.equal(false);
  });

  it('is not taken for another file', () => {
    accepted.write(file, GOOD);
    expect(accepted.read(`${file}.other`)).to.equal(undefined);
  });

  it('says of which file it was', () => {
    expect(accepted.last()).to.equal(undefined);
    accepted.write(file, GOOD);
    expect(accepted.last()).to.deep.equal({ file, text: GOOD });
    writeFileSync(accepted.path, 'something else\n');
    expect(accepted.last()).to.equal(undefined);
  });

  it('stands in for a file that is wrong, with the reason and with warnings at their lines', () => {
    accepted.write(file, GOOD);
    writeFileSync(file, 'nonsense: 1\n');
    const { config, text, warnings, refused } = loadLastGood(file, accepted);
    expect(config.log.level).to.equal('debug');
    expect(text, 'what the watch compares with').to.equal('nonsense: 1\n');
    expect(warnings[0]).to.include(`${file}:2:37: `);
    expect(refused?.message).to.include(`${file}:1:1: `);
  });

  it('does not stand in for a right file', () => {
    accepted.write(file, GOOD);
    writeFileSync(file, 'log: { level: warn }\n');
    const { config, refused } = loadLastGood(file, accepted);
    expect([config.log.level, refused]).to.deep.equal(['warn', undefined]);
  });

  it('a wrong file is refused where nothing was accepted, or what was is wrong too', () => {
    writeFileSync(file, 'nonsense: 1\n');
    expect(() => loadLastGood(file, accepted)).to.throw(ConfigError, /gate64\.yaml:1:1: /);
    accepted.write(file, 'nonsense: 2\n');
    expect(() => loadLastGood(file, accepted)).to.throw(ConfigError, /gate64\.yaml:1:1: /);
    expect(readFileSync(file, 'utf8')).to.equal('nonsense: 1\n');
  });
});
