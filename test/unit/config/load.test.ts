// SPDX-License-Identifier: Apache-2.0
// Which file is read, and what is said when it cannot be.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadConfig } from '../../../src/config/load.ts';
import { ConfigError } from '../../../src/config/problems.ts';
import { Gate64Error } from '../../../src/errors.ts';

describe('configuration: file', () => {
  let folder = '';
  before(() => (folder = mkdtempSync(join(tmpdir(), 'gate64-config-'))));
  after(() => rmSync(folder, { recursive: true }));

  function written(name: string, text: string): string {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  }

  function failure(path: string | undefined, defaultFile?: string): Gate64Error {
    try {
      loadConfig(path, defaultFile);
    } catch (error) {
      if (error instanceof Gate64Error) return error;
      throw error;
    }
    throw new Error('it was read');
  }

  it('the named one is read', () => {
    const path = written('named.yaml', 'log: { level: debug }\nnat64: { timeouts: { tcpTransitory: 10 } }\n');
    const loaded = loadConfig(path);
    expect(loaded.config.log.level).to.equal('debug');
    expect(loaded.file).to.equal(path);
    expect(loaded.warnings).to.have.length(1);
    expect(loaded.warnings[0]).to.match(/^.*named\.yaml:2:37: nat64\.timeouts\.tcpTransitory: 10 is below 240/);
  });

  it('without a name, the usual place', () => {
    const path = written('usual.yaml', 'log: { level: warn }\n');
    expect(loadConfig(undefined, path)).to.deep.include({ file: path });
    expect(loadConfig(undefined, path).config.log.level).to.equal('warn');
  });

  it('without either, the defaults', () => {
    const loaded = loadConfig(undefined, join(folder, 'absent.yaml'));
    expect(loaded.file).to.equal(undefined);
    expect(loaded.config.nat64.egress).to.equal('masquerade');
  });

  it('a named one that does not exist is an error', () => {
    const error = failure(join(folder, 'absent.yaml'));
    expect(error.code).to.equal('G64_CONFIG_UNREADABLE');
    expect(error.message).to.equal(`${join(folder, 'absent.yaml')}: there is no such file`);
    expect(error.hint).to.include('-c FILE');
    expect(error.cause).to.be.instanceOf(Error);
  });

  it('a folder is an error, in the usual place too', () => {
    mkdirSync(join(folder, 'sub.yaml'));
    expect(failure(join(folder, 'sub.yaml')).message).to.match(/it is a directory; expected a file$/);
    expect(failure(undefined, join(folder, 'sub.yaml')).code).to.equal('G64_CONFIG_UNREADABLE');
  });

  it('problems carry the path as it was given', () => {
    const path = written('wrong.yaml', 'nope: 1\n');
    const error = failure(path);
    expect(error).to.be.instanceOf(ConfigError);
    expect(error.message.startsWith(`${path}:1:1: nope is not a known key`)).to.equal(true);
  });
});
