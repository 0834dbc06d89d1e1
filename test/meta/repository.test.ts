// SPDX-License-Identifier: Apache-2.0
// What must hold for the repository as a whole: licences, packages, paths, commands that the README promises.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ROOT, read, repositoryFiles } from './repository.ts';

const files = repositoryFiles();
const code = files.filter((path) => /\.(?:ts|c|h|go|sh)$/.test(path) || path === 'Makefile' || path === '.ci/run');

/** The targets of `make` commands in the code of a Markdown page: fenced blocks and backticks, not prose. */
function makeTargetsIn(page: string): string[] {
  const snippets = [...page.matchAll(/```[a-z]*\n([\s\S]*?)```|`([^`\n]+)`/g)].map(
    ([, block, inline]) => block ?? inline,
  );
  return snippets.flatMap((snippet) =>
    [...(snippet ?? '').matchAll(/(?:^|[;&|]|\$)[ \t]*(?:sudo )?make((?: [\w=./-]+)+)/gm)].flatMap(([, words]) =>
      (words ?? '').split(' ').filter((word) => /^[a-z][a-z0-9-]*$/.test(word)),
    ),
  );
}

describe('repository', () => {
  it('every source file starts with its licence', () => {
    const wrong = code.filter((path) => {
      const [first, second] = read(path).split('\n');
      const line = first?.startsWith('#!') === true ? second : first;
      // bpf/ is loaded into the kernel, whose GPL-only helpers ask for a GPL-compatible licence.
      const licence = path.startsWith('bpf/') ? '(?:GPL-2.0-only OR Apache-2.0|Apache-2.0)' : 'Apache-2.0';
      return !new RegExp(`^(?://|/\\*|#) SPDX-License-Identifier: ${licence}(?: \\*/)?$`).test(line ?? '');
    });
    expect(wrong).to.deep.equal([]);
  });

  it('every BPF source may use GPL-only helpers', () => {
    const sources = files.filter((path) => /^bpf\/.*\.[ch]$/.test(path));
    expect(sources.filter((path) => !read(path).includes('GPL-2.0-only OR Apache-2.0'))).to.deep.equal([]);
  });

  it('no test is exclusive', () => {
    const only = new RegExp(String.raw`\b(?:it|describe|context|suite|test)\.onl${'y'}\(`);
    expect(files.filter((path) => /^test\/.*\.ts$/.test(path) && only.test(read(path)))).to.deep.equal([]);
  });

  it('packages are pinned exactly', () => {
    const { dependencies, devDependencies } = JSON.parse(read('package.json')) as Record<
      string,
      Record<string, string>
    >;
    const loose = Object.entries({ ...dependencies, ...devDependencies }).filter(([, v]) => !/^\d+\.\d+\.\d+$/.test(v));
    expect(loose).to.deep.equal([]);
  });

  it('the lock file names packages and checksums, no place to fetch from', () => {
    const lock = JSON.parse(read('package-lock.json')) as { packages: Record<string, Record<string, unknown>> };
    const entries = Object.entries(lock.packages).filter(([path]) => path !== '');
    expect(entries.length).to.be.greaterThan(0);
    expect(entries.filter(([, entry]) => 'resolved' in entry).map(([path]) => path)).to.deep.equal([]);
    expect(entries.filter(([, entry]) => typeof entry['integrity'] !== 'string').map(([path]) => path)).to.deep.equal(
      [],
    );
  });

  it('no file holds a path of one machine', () => {
    // Put together from parts, so that this file does not name what it looks for.
    const personal = new RegExp(String.raw`(?<![\w.-])/(?:home/[a-z]|Users/[A-Za-z]|root/|wor${'k'}/|tmp/bash_)`);
    const wrong: string[] = [];
    for (const path of files.filter((name) => !/\.(?:png|gz|zip|bin|pcap|o)$/.test(name))) {
      for (const [index, line] of read(path).split('\n').entries()) {
        if (personal.test(line)) wrong.push(`${path}:${index + 1}: ${line.trim()}`);
      }
    }
    expect(wrong).to.deep.equal([]);
  });

  it('scripts can be executed as they are', () => {
    const scripts = files.filter((path) => /(?:\.sh|^\.ci\/run)$/.test(path));
    expect(scripts).to.include('test/helpers/sandbox.sh');
    expect(scripts.filter((path) => (statSync(join(ROOT, path)).mode & 0o111) === 0)).to.deep.equal([]);
    expect(scripts.filter((path) => !read(path).startsWith('#!'))).to.deep.equal([]);
  });

  it('every make target that the documents name exists and is explained', () => {
    const makefile = read('Makefile');
    const targets = new Set([...makefile.matchAll(/^([a-z][a-z0-9-]*):.*## /gm)].map(([, name]) => name as string));
    const wrong: string[] = [];
    for (const path of files.filter((name) => name.endsWith('.md'))) {
      for (const name of makeTargetsIn(read(path))) if (!targets.has(name)) wrong.push(`${path}: make ${name}`);
    }
    expect(wrong).to.deep.equal([]);
    // The names that others rely on.
    for (const name of [
      'help',
      'deps',
      'bpf',
      'types',
      'build',
      'demo',
      'test',
      'test-unit',
      'test-bpf',
      'test-netns',
      'lint',
      'fmt',
      'bench',
      'manifests',
      'install',
      'clean',
    ]) {
      expect(targets, name).to.include(name);
    }
  });

  it('make commands are found in code, not in prose', () => {
    const page =
      'make sure\n`sudo make demo`, `make V=1 lint`, `remake x`\n```sh\n$ make deps build # all\ncd x && make test\n```\n';
    expect(makeTargetsIn(page)).to.deep.equal(['demo', 'lint', 'deps', 'build', 'test']);
  });

  it('src/launcher, Makefile and package.json agree on the command', () => {
    const { bin } = JSON.parse(read('package.json')) as { bin: Record<string, string> };
    expect(bin).to.deep.equal({ gate64: 'dist/gate64' });
    expect(read('Makefile')).to.include('dist/gate64: src/launcher/gate64.sh');
  });
});
