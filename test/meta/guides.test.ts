// SPDX-License-Identifier: Apache-2.0
// The pages that are written by hand name only what is there: files, headings, keys, findings, reasons, metrics, commands.

import { existsSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect } from 'chai';
import { isMap, parseDocument } from 'yaml';
import { ProcessContext } from '../../src/cli/context.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { configKeys, type ConfigKey } from '../../src/config/keys.ts';
import { DROP_REASONS } from '../../src/model/drops.gen.ts';
import { FINDINGS } from '../../src/plan/findings.ts';
import { METRICS, tableRows } from './lists.ts';
import { ROOT, read, repositoryFiles } from './repository.ts';

const pages = repositoryFiles().filter((path) => /^(?:README|manifests\/README|docs\/[\w-]+)\.md$/.test(path));

/** Text of fenced blocks, and of backticks in prose. */
function codeOf(page: string): string[] {
  return [...page.matchAll(/```[a-z]*\n([\s\S]*?)```|`([^`\n]+)`/g)].map(([, block, inline]) => block ?? inline ?? '');
}

const withoutBlocks = (page: string) => page.replaceAll(/```[\s\S]*?```/g, '');

/** Of links in prose: text and target. */
function linksOf(page: string): { text: string; target: string }[] {
  return [...withoutBlocks(page).matchAll(/\[([^\]\n]+|[^\]]+\n[^\]]+)\]\(([^)\s]+)\)/g)].map(([, text, target]) => ({
    text: text ?? '',
    target: target ?? '',
  }));
}

/** As GitHub makes them of headings. */
function anchorsOf(page: string): Set<string> {
  const headings = [...withoutBlocks(page).matchAll(/^#+ (.*)$/gm)].map(([, text]) => text ?? '');
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replaceAll(/[^\w\- ]/g, '')
        .replaceAll(' ', '-'),
    ),
  );
}

const HELM_PAGES = ['manifests/README.md', 'docs/quick-start.md'];

const wrongIn = (page: string, list: readonly string[]) => list.map((text) => `${page}: ${text}`);

describe('pages written by hand', () => {
  it('link to files and headings that are there', () => {
    const wrong = pages.flatMap((page) =>
      linksOf(read(page)).flatMap(({ target }) => {
        if (/^[a-z]+:/.test(target)) return [];
        const [path = '', anchor] = target.split('#');
        const file = path === '' ? page : normalize(join(dirname(page), path));
        if (!existsSync(join(ROOT, file))) return `${page}: ${target}`;
        return anchor === undefined || anchorsOf(read(file)).has(anchor) ? [] : `${page}: ${target}`;
      }),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('are all found from README', () => {
    const linked = new Set(linksOf(read('README.md')).map(({ target }) => target.split('#')[0]));
    expect(pages.filter((page) => page !== 'README.md' && !linked.has(page))).to.deep.equal([]);
  });

  it('what is linked to the lists of findings and drop reasons stands in them', () => {
    const lists: Record<string, readonly string[]> = { findings: Object.keys(FINDINGS), drops: DROP_REASONS };
    const wrong = pages.flatMap((page) =>
      linksOf(read(page)).flatMap(({ text, target }) => {
        const list = lists[/(?:^|\/)(\w+)\.md$/.exec(target)?.[1] ?? ''];
        const name = /^`(.*)`$/.exec(text)?.[1];
        return list === undefined || name === undefined || list.includes(name) ? [] : `${page}: ${name}`;
      }),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('name every finding that does not speak for itself', () => {
    const page = read('docs/troubleshooting.md') + read('docs/coexistence.md') + read('docs/security.md');
    const rare = ['pool-too-large', 'pool-overlaps', 'uplink-not-ethernet', 'uplink-without-address'];
    expect(Object.keys(FINDINGS).filter((name) => !rare.includes(name) && !page.includes(name))).to.deep.equal([]);
  });

  it('name keys, metrics, commands and files that there are', () => {
    const keys = configKeys().map(({ key }) => key);
    const chart = parseDocument(read('manifests/helm/gate64/values.yaml'));
    const isKey = (page: string, name: string) =>
      keys.some((key) => key === name || key.startsWith(`${name}.`)) ||
      // Pages that tell of the chart name its values too.
      (HELM_PAGES.includes(page) && chart.hasIn(name.split('.')));
    const metrics = new Set<string>(METRICS.map(({ name }) => name));
    const commands = new Map(
      buildProgram(new ProcessContext()).commands.map((command) => [
        command.name(),
        new Set(['--help', ...command.options.flatMap(({ long }) => long ?? [])]),
      ]),
    );
    const isCommand = (name: string, rest: string) =>
      [...rest.matchAll(/(?<= )--[a-z]+/g)].every(([option]) => commands.get(name)?.has(option) === true) &&
      (commands.has(name) || name === 'help');
    const wrong = pages.flatMap((page) =>
      codeOf(read(page)).flatMap((code) => [
        ...wrongIn(
          page,
          [...code.matchAll(/(?<![\w./-])(?:dns|nat64|http|log)(?:\.[a-z]\w*)+(?!\w*\.\w|[\w/-])/g)]
            .map(([name]) => name)
            .filter((name) => !/\.(?:md|ts|yaml|example|c)$/.test(name) && !isKey(page, name)),
        ),
        ...wrongIn(
          page,
          [...code.matchAll(/\bgate64_\w+/g)].map(([name]) => name).filter((name) => !metrics.has(name)),
        ),
        ...wrongIn(
          page,
          [...code.matchAll(/(?:^|sudo |-- )gate64 ([a-z]+)([^#|&;\n]*)/gm)]
            .filter(([, name = '', rest = '']) => !isCommand(name, rest))
            .map(([text]) => text),
        ),
        ...wrongIn(
          page,
          [...code.matchAll(/(?<![\w/.-])manifests\/[\w./-]+/g)]
            .map(([path]) => path)
            .filter((path) => !existsSync(join(ROOT, path))),
        ),
      ]),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('have no YAML that no test reads', () => {
    const sections = new Set(configKeys().map(({ key }) => key.split('.', 1)[0]));
    const wrong = pages.flatMap((page) =>
      [...read(page).matchAll(/^([ \t]*)```ya?ml\n([\s\S]*?)```/gm)]
        .filter(([block, indent, text]) => {
          const { contents } = parseDocument(text ?? '');
          const isOurs = isMap(contents) && contents.items.every((item) => sections.has(String(item.key)));
          // config-docs.test.ts reads those that begin a line and are called yaml, config-manifests.test.ts the kustomization.
          if (page === 'manifests/README.md' && /^kind: Kustomization$/m.test(text ?? '')) return false;
          return indent !== '' || !block.startsWith('```yaml\n') || !isOurs;
        })
        .map(([block]) => `${page}: ${block.slice(0, 60)}`),
    );
    expect(wrong).to.deep.equal([]);
  });

  it('the security model has every key that limits something, with its default', () => {
    const isLimit = ({ key, default: value }: ConfigKey) =>
      typeof value === 'number' ||
      (value === 'auto' && !['nat64.uplink', 'dns.listener'].includes(key) && !key.startsWith('log.')) ||
      /\.(?:allow|deny|destinations|filtering|checkSources|inboundRefresh|admit|endDenied|pageHosts)\w*$/.test(key);
    const rows = tableRows(read('docs/security.md'));
    const expected = configKeys().filter(isLimit);
    expect(expected.map(({ key }) => key)).to.include.members(['nat64.maxSessions', 'nat64.deny', 'dns.maxRate']);
    for (const { key, default: value } of expected) {
      expect(rows.get(key)?.[0], key).to.equal(`\`${JSON.stringify(value)}\``);
    }
    expect([...rows.keys()].filter((key) => !configKeys().some((one) => one.key === key))).to.deep.equal([]);
  });
});
