// SPDX-License-Identifier: Apache-2.0
// What the Dockerfile and the parts of the Debian package name is there and agrees with the code. They are built and run by
// `make test-packaging`.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parseConfig } from '../../src/config/parse.ts';
import { COMMANDS } from '../../src/host/exec.ts';
import { ROOT, read } from './repository.ts';

const { version } = JSON.parse(read('package.json')) as { version: string };
/** Packages that every package of the commands comes from, and libbpf. */
const PACKAGES = [...new Set(Object.values(COMMANDS).map((command) => command.package)), 'libbpf1'];

describe('image', () => {
  const text = read('Dockerfile');
  const last = text.slice(text.lastIndexOf('\nFROM '));

  it('is built from the checkout alone: what it copies is there, none of it is built before', () => {
    const copied = [...text.matchAll(/^COPY (?!--from)(.*) \S+$/gm)].flatMap((match) => (match[1] ?? '').split(' '));
    const admitted = read('.dockerignore')
      .split('\n')
      .filter((line) => line.startsWith('!'))
      .map((line) => line.slice(1));
    expect(admitted.toSorted()).to.deep.equal([...new Set(copied)].toSorted());
    expect(copied.filter((path) => !existsSync(join(ROOT, path)))).to.deep.equal([]);
    expect(copied).not.to.include('dist');
  });

  it('names its version, and runs gate64 as nobody', () => {
    expect(text).to.include(`gate64:${version}`);
    expect(last).to.include(`org.opencontainers.image.version="${version}"`);
    expect(last).to.match(/^USER 65532:65532$/m);
    expect(last).to.match(/^ENTRYPOINT \["gate64"\]$/m);
  });

  it('has the packages of the commands that gate64 calls', () => {
    const installed = /apt-get install -y --no-install-recommends (.*) \\/.exec(last)?.[1]?.split(' ');
    expect(installed).to.include.members(PACKAGES);
  });
});

describe('Debian package', () => {
  it('depends on the packages of the commands that gate64 calls', () => {
    const depends = /^Depends: (.*)$/m.exec(read('manifests/debian/control.in'))?.[1]?.split(', ');
    expect(depends?.map((entry) => entry.split(' ', 1)[0])).to.include.members(PACKAGES);
  });

  it('brings a configuration that is the defaults, and whose commented lines hold', () => {
    const text = read('manifests/debian/gate64.yaml');
    expect(parseConfig(text, 'gate64.yaml')).to.deep.equal(parseConfig('', 'gate64.yaml'));
    parseConfig(text.replaceAll(/^# (?=(?: {2})*[a-z]\w*:)/gm, ''), 'gate64.yaml');
  });
});
