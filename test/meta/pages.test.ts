// SPDX-License-Identifier: Apache-2.0
// The pages of docs/ that follow from code and tests say what code and tests say.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { configKeys } from '../../src/config/keys.ts';
import { DROP_REASONS } from '../../src/model/drops.gen.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { FINDINGS } from '../../src/plan/findings.ts';
import { coverage, deviations, idsIn, KINDS, requirements, sees, testFiles, WITNESSES } from './conformance.ts';
import { METRICS, tableRows } from './lists.ts';
import { PAGES } from './pages.ts';
import { ROOT, read, repositoryFiles } from './repository.ts';

describe('pages made from code', () => {
  for (const [path, page] of Object.entries(PAGES)) {
    it(`${path} is fresh`, () => {
      expect(existsSync(join(ROOT, path)), `${path} is missing: run \`make docs\``).to.equal(true);
      if (read(path) !== page()) expect.fail(`${path} is stale: run \`make docs\` and commit it`);
    });
  }

  it('drop reasons and docs/drops.md name each other', () => {
    expect([...tableRows(read('docs/drops.md')).keys()].toSorted()).to.deep.equal(DROP_REASONS.toSorted());
  });

  it('error codes and docs/errors.md name each other, each with something to do', () => {
    const rows = tableRows(read('docs/errors.md'));
    expect([...rows.keys()].toSorted()).to.deep.equal(Object.keys(ERROR_CODES).toSorted());
    const silent = [...rows].filter(([, cells]) => (cells[1] ?? '') === '').map(([code]) => code);
    expect(silent, 'write what to do into the third column of docs/errors.md').to.deep.equal([]);
  });

  it('metrics and docs/metrics.md name each other', () => {
    expect([...tableRows(read('docs/metrics.md')).keys()].toSorted()).to.deep.equal(
      METRICS.map(({ name }) => name).toSorted(),
    );
  });

  it('configuration keys and docs/configuration.md name each other, each with a meaning', () => {
    const keys = configKeys();
    expect([...tableRows(read('docs/configuration.md')).keys()].toSorted()).to.deep.equal(
      keys.map(({ key }) => key).toSorted(),
    );
    expect(keys.filter(({ description }) => description === '').map(({ key }) => key)).to.deep.equal([]);
  });

  it('every finding is made somewhere', () => {
    const sources = repositoryFiles().filter((path) => /^src\/.*\.ts$/.test(path) && path !== 'src/plan/findings.ts');
    const text = sources.map(read).join('\n');
    expect(Object.keys(FINDINGS).filter((name) => !text.includes(`'${name}'`))).to.deep.equal([]);
  });

  it('every error code is used', () => {
    const sources = repositoryFiles().filter((path) => /^src\/.*\.ts$/.test(path) && path !== 'src/errors.ts');
    const text = sources.map(read).join('\n');
    expect(Object.keys(ERROR_CODES).filter((code) => !new RegExp(`\\b${code}\\b`).test(text))).to.deep.equal([]);
  });
});

describe('requirements', () => {
  const known = new Set(requirements().map(({ id }) => id));

  it('each has an ID of its own, a clause, a level and a short statement', () => {
    expect(known.size).to.equal(requirements().length);
    for (const { id, clause, level, statement } of requirements()) {
      expect([clause, level, statement], id).to.not.include('');
      expect(statement.length, id).to.be.at.most(120);
      expect(idsIn(`'${id}: title'`)).to.deep.equal([id]);
    }
  });

  it('tests and deviations name only requirements that exist', () => {
    const unknown = [...coverage()]
      .filter(([id]) => !known.has(id))
      .map(([id, files]) => `${id} in ${files.join(', ')}`);
    expect(unknown, 'an ID that is not in test/meta/requirements.tsv').to.deep.equal([]);
    expect([...deviations().keys()].filter((id) => !known.has(id))).to.deep.equal([]);
  });

  it('what is not met has a kind and a reason, and no test says that it is built', () => {
    const kinds: readonly string[] = KINDS;
    const wrong = [...deviations()].filter(([, { kind, reason }]) => !kinds.includes(kind) || reason === '');
    expect(wrong).to.deep.equal([]);
    const tested = coverage();
    const both = [...deviations()].filter(([id, { kind }]) => kind !== 'deviation' && tested.has(id));
    expect(both.map(([id]) => id)).to.deep.equal([]);
  });

  it('no test names one that does not see its behaviour', () => {
    const blind = testFiles().filter((path) => !sees(path) && idsIn(read(path)).length > 0);
    expect(blind, 'a test of the packet, the wire or the kernel may name it').to.deep.equal([]);
    // The stand-in of the data plane sees no packet, wherever it stands.
    const fakes = testFiles().filter((path) => /\bfake\.ts'/.test(read(path)) && idsIn(read(path)).length > 0);
    expect(fakes).to.deep.equal([]);
    expect(
      Object.keys(WITNESSES).filter((folder) => !testFiles().some((path) => path.startsWith(folder))),
    ).to.deep.equal([]);
  });

  it('IDs are found in titles and tables, not in comments or skipped tests', () => {
    const source = [
      "it('D6147-5.1.2-a: one', f);",
      'it(`N6146-3.1-a, N6146-3.1-b: ${name}`, f);',
      "it('D6147-5.5-c: D6147-3-a: both', f);",
      "const rows = [{ id: 'X7915-4.1-a', ttl: 1 }, ['N6146-3.5.2.2-01']];",
      "// it('A6052-2.2-a: in a comment')",
      "it.skip('B7857-5-a: skipped', f);",
      "expect(text).to.equal('see U4787-1-a');",
    ].join('\n');
    expect(idsIn(source)).to.deep.equal([
      'D6147-5.1.2-a',
      'N6146-3.1-a',
      'N6146-3.1-b',
      'D6147-5.5-c',
      'D6147-3-a',
      'X7915-4.1-a',
      'N6146-3.5.2.2-01',
    ]);
  });
});
