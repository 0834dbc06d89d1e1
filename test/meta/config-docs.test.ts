// SPDX-License-Identifier: Apache-2.0
// The published schema is that of the code, and every configuration in a page of docs/ or in the README is one that
// gate64 accepts.

import { expect } from 'chai';
import { isMap, isSeq, parseDocument } from 'yaml';
import { configKeys } from '../../src/config/keys.ts';
import { parseConfig } from '../../src/config/parse.ts';
import { SCHEMA_FILE, schemaText } from './config-schema.ts';
import { read, repositoryFiles } from './repository.ts';

/** Fenced blocks of a page that are a configuration: YAML whose top level is a mapping of gate64's sections. */
function configurations(page: string): string[] {
  const blocks = [...read(page).matchAll(/^```yaml\n(.*?)^```$/gms)].map((match) => match[1] ?? '');
  const sections = new Set(configKeys().map(({ key }) => key.split('.', 1)[0]));
  return blocks.filter((text) => {
    const { contents } = parseDocument(text);
    return isMap(contents) && contents.items.some((item) => sections.has(String(item.key)));
  });
}

/** Dotted keys of a YAML text, entries of lists as `list[].key`. */
function keysOf(node: unknown, at = ''): string[] {
  if (isSeq(node)) return node.items.flatMap((item) => (isMap(item) ? keysOf(item, `${at}[]`) : []));
  if (!isMap(node)) return [];
  return node.items.flatMap(({ key, value }) => {
    const name = at === '' ? String(key) : `${at}.${String(key)}`;
    return [name, ...keysOf(value, name)];
  });
}

describe('configuration pages', () => {
  const pages = repositoryFiles().filter((path) => /^(README|docs\/.*)\.?(md)?$/.test(path) && path.endsWith('.md'));

  it(`${SCHEMA_FILE} is fresh`, async () => {
    if (read(SCHEMA_FILE) !== (await schemaText())) expect.fail(`run: node test/meta/config-schema.ts`);
  });

  for (const page of pages) {
    const texts = configurations(page);
    if (texts.length === 0) continue;
    it(`${page}: its ${texts.length} configurations are accepted`, () => {
      for (const text of texts) parseConfig(text, page);
    });
  }

  it('the first one of docs/configuration.md names every key and is the defaults', () => {
    const [first] = configurations('docs/configuration.md');
    const named = new Set(keysOf(parseDocument(first ?? '').contents));
    const missing = configKeys()
      .map(({ key }) => key)
      .filter((key) => !named.has(key) && !key.startsWith('nat64.static[]'));
    expect(missing).to.deep.equal([]);
    const { pool, ...nat64 } = parseConfig(first ?? '', 'docs/configuration.md').nat64;
    const { pool: defaultPool, ...defaultNat64 } = parseConfig('', 'defaults').nat64;
    expect(nat64).to.deep.equal(defaultNat64);
    expect(pool.map((entry) => ({ ...entry, portsGiven: false }))).to.deep.equal(defaultPool);
    for (const section of ['prefixes', 'dns', 'http', 'log'] as const) {
      expect(parseConfig(first ?? '', 'x')[section]).to.deep.equal(parseConfig('', 'x')[section]);
    }
  });
});
