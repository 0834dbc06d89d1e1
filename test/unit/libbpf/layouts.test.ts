// SPDX-License-Identifier: Apache-2.0
// Every struct layout of the binding against the C compiler's, from the installed headers.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { layouts } from '../../../src/libbpf/layouts.ts';

// Padding and bit fields have no address of their own in C.
const nameless = new Set(['pad', 'bits']);

/** One line `struct.member offset size` per member and `struct size` per struct, printed by a compiled C program. */
function compiledLayouts(directory: string): Map<string, string> {
  const lines: string[] = [];
  for (const { c, type, members } of layouts) {
    lines.push(`printf("${c} %zu\\n", sizeof(struct ${c}));`);
    for (const name of Object.keys(type.members ?? {})) {
      if (nameless.has(name)) continue;
      const member = members?.[name] ?? name;
      lines.push(
        `printf("${c}.${name} %zu %zu\\n", offsetof(struct ${c}, ${member}), sizeof(((struct ${c} *)0)->${member}));`,
      );
    }
  }
  const source = `#include <stddef.h>
#include <stdio.h>
#include <linux/bpf.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
int main(void)
{
	${lines.join('\n\t')}
	return 0;
}
`;
  const program = join(directory, 'layouts');
  execFileSync('clang', ['-x', 'c', '-', '-o', program], { input: source });
  const printed = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
  return new Map(printed.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
}

describe('libbpf: struct layouts', () => {
  let directory: string;
  let compiled: Map<string, string>;

  before(function () {
    this.timeout(20_000);
    directory = mkdtempSync(join(tmpdir(), 'libbpf-layouts-'));
    compiled = compiledLayouts(directory);
  });
  after(() => rmSync(directory, { recursive: true }));

  for (const { c, type, whole } of layouts) {
    it(`libbpf: struct ${c} is laid out as the compiler lays it out`, () => {
      const ours = new Map(
        Object.entries(type.members ?? {})
          .filter(([name]) => !nameless.has(name))
          .map(([name, member]) => [`${c}.${name}`, `${member.offset} ${member.type.size}`]),
      );
      expect(ours.size).to.be.above(1);
      const theirs = new Map([...ours.keys()].map((name) => [name, compiled.get(name)]));
      expect(ours).to.deep.equal(theirs);
      const size = Number(compiled.get(c));
      if (whole) expect(type.size).to.equal(size);
      else expect(type.size).to.be.at.most(size);
    });
  }
});
