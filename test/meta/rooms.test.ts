// SPDX-License-Identifier: Apache-2.0
// Keeps the import order of the rooms: the one rule that lets each be read, tested and replaced alone.

import { posix } from 'node:path';
import { expect } from 'chai';
import { read, repositoryFiles } from './repository.ts';
import { NO_ROOMS, circlesIn, complaint, relativeImports, roomOf } from './rooms.ts';

describe('rooms', () => {
  const sources = repositoryFiles().filter((path) => path.startsWith('src/') && path.endsWith('.ts'));

  it('every source file belongs to a room', () => {
    const strays = sources.filter((path) => roomOf(path.slice('src/'.length)) === undefined);
    expect(strays, 'add a room to test/meta/rooms.ts and docs/architecture.md, or move the file').to.deep.equal([]);
    expect(sources.length).to.be.greaterThan(0);
    expect(sources.filter((path) => NO_ROOMS.some((folder) => path.startsWith(`src/${folder}/`)))).to.deep.equal([]);
  });

  it('imports point down the list of rooms only', () => {
    const wrong: string[] = [];
    for (const path of sources) {
      const from = roomOf(path.slice('src/'.length));
      if (from === undefined) continue;
      for (const specifier of relativeImports(read(path))) {
        const target = posix.join(posix.dirname(path), specifier);
        if (!target.startsWith('src/')) {
          // package.json and the published schema are data; the sources of bpf/ and of tests are not.
          if (!target.endsWith('.json')) wrong.push(`${path}: '${specifier}' leaves src/`);
          continue;
        }
        const to = roomOf(target.slice('src/'.length));
        const problem = to === undefined ? `'${specifier}' is in no room` : complaint(from, to);
        if (problem !== undefined) wrong.push(`${path}: ${problem}`);
      }
    }
    expect(wrong).to.deep.equal([]);
  });

  it('only src/libbpf and src/sockets load native code', () => {
    const others = sources.filter(
      (path) => !/^src\/(?:libbpf|sockets)\//.test(path) && /\bfrom 'koffi'/.test(read(path)),
    );
    expect(others).to.deep.equal([]);
  });

  it('no import leads back to where it started, types counted too', () => {
    const imports = new Map(
      sources.map((path) => [
        path,
        relativeImports(read(path)).map((specifier) => posix.join(posix.dirname(path), specifier)),
      ]),
    );
    expect(circlesIn(imports)).to.deep.equal([]);
  });

  it('no file written by hand is longer than 500 lines', () => {
    const written = repositoryFiles().filter(
      (path) => /^(?:src|bpf|test)\//.test(path) && !/\.gen\.ts$|\.tsv$|\.json$|\/go\.sum$/.test(path),
    );
    const long = written.map((path) => [path, read(path).split('\n').length - 1] as const).filter(([, n]) => n > 500);
    expect(long).to.deep.equal([]);
  });

  it('the rules themselves tell right from wrong', () => {
    expect(complaint('cli', 'datapath')).to.equal(undefined);
    expect(complaint('datapath', 'libbpf')).to.equal(undefined);
    expect(complaint('addr', 'errors.ts')).to.equal(undefined);
    expect(complaint('dns', 'nat64')).to.be.a('string');
    expect(complaint('nat64', 'dns')).to.be.a('string');
    expect(complaint('nat64', 'libbpf')).to.be.a('string');
    expect(complaint('libbpf', 'errors.ts')).to.be.a('string');
    expect(complaint('dns', 'sockets')).to.equal(undefined);
    expect(complaint('sockets', 'libbpf')).to.be.a('string');
    expect(complaint('config', 'service.ts')).to.be.a('string');
    const graph = { a: ['b', 'd'], b: ['c', 'e.json'], c: ['a'], d: ['d'] };
    expect(circlesIn(new Map(Object.entries(graph)))).to.deep.equal(['a → b → c → a', 'd → d']);
    expect(
      circlesIn(
        new Map([
          ['a', ['b', 'c']],
          ['b', ['c']],
          ['c', []],
        ]),
      ),
    ).to.deep.equal([]);
    const source =
      "import type { A } from '../a.ts';\nexport * from \"./b.ts\";\nawait import('./c.ts');\nimport './d.ts';";
    expect(relativeImports(source)).to.deep.equal(['../a.ts', './b.ts', './c.ts', './d.ts']);
  });
});
