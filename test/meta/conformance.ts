// SPDX-License-Identifier: Apache-2.0
// Reads which RFC requirements the tests carry out. A test names one by starting its title with the requirement's ID
// (`it('D6147-5.1.2-a: …')`); a table of cases may hold the IDs as strings.

import { read, repositoryFiles } from './repository.ts';

export interface Requirement {
  id: string;
  clause: string;
  level: string;
  statement: string;
}

const ID = String.raw`[A-Z]\d{4}-[0-9][0-9A-Za-z.]*(?:-[0-9a-z]+)?`;

/** RFC by the digits of an ID, with what it is about. */
const RFCS: Readonly<Record<string, string>> = {
  '1812': 'Requirements for IPv4 routers',
  '2473': 'IPv6 tunnelling',
  '4443': 'ICMPv6',
  '4787': 'NAT behaviour for UDP',
  '5382': 'NAT behaviour for TCP',
  '5508': 'NAT behaviour for ICMP',
  '6052': 'IPv4-embedded IPv6 addresses',
  '6146': 'Stateful NAT64',
  '6147': 'DNS64',
  '6791': 'Source of translated ICMPv6 errors',
  '6877': '464XLAT',
  '6888': 'Carrier-grade NAT',
  '7050': 'Discovery of the prefix',
  '7857': 'Updates to NAT behaviour',
  '7915': 'IP/ICMP translation algorithm',
  '8200': 'IPv6',
  '8201': 'IPv6 path MTU discovery',
  '8215': 'Local-use prefix 64:ff9b:1::/48',
  '8781': 'PREF64 in router advertisements',
  '8880': 'ipv4only.arpa',
  '9872': 'Recommendations for discovering the prefix',
};

function rows(path: string): string[][] {
  const lines = read(path).split('\n').slice(1);
  return lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split('\t'));
}

export function requirements(): Requirement[] {
  return rows('test/meta/requirements.tsv').map((cells) => {
    const [id, clause, level, statement] = cells;
    if (
      cells.length !== 4 ||
      id === undefined ||
      clause === undefined ||
      level === undefined ||
      statement === undefined
    ) {
      throw new Error(`test/meta/requirements.tsv: expected four cells, got: ${cells.join(' | ')}`);
    }
    return { id, clause, level, statement };
  });
}

/** Why a requirement is deliberately not met or not ours, by ID. */
export function deviations(): Map<string, string> {
  return new Map(rows('test/meta/deviations.tsv').map(([id, reason]) => [id ?? '', reason ?? '']));
}

/** IDs that stand at the start of a string of `source`, several joined by comma, colon or `and`; skipped tests do not count. */
export function idsIn(source: string): string[] {
  const live = source
    .replaceAll(/\.skip\(\s*(['"`])(?:\\.|(?!\1)[\s\S])*\1/g, '')
    .replaceAll(/^\s*(?:\/\/|\*).*$/gm, '');
  const list = new RegExp(String.raw`['"\x60](${ID}(?:(?:, | and |: )${ID})*)(?=:|['"\x60])`, 'g');
  return [...live.matchAll(list)].flatMap(([, ids]) => (ids as string).match(new RegExp(ID, 'g')) ?? []);
}

/** The test files that name each ID. */
export function coverage(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  const files = repositoryFiles().filter((path) => /^test\/(?:unit|bpf|netns)\/.*\.ts$/.test(path));
  for (const path of files) {
    for (const id of new Set(idsIn(read(path)))) found.set(id, [...(found.get(id) ?? []), path]);
  }
  return found;
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

export function conformancePage(): string {
  const all = requirements();
  const tests = coverage();
  const reasons = deviations();
  const numbers = [...new Set(all.map(({ id }) => id.slice(1, 5)))].toSorted();
  const lines = [
    '# Conformance',
    '',
    'Made by `make docs` from the titles of the tests, test/meta/requirements.tsv and test/meta/deviations.tsv; not edited',
    'by hand. A requirement is covered when at least one test carries its ID. † marks behaviour that the RFC states without',
    'a keyword of RFC 2119. Statements are abridged: the RFC’s own words rule.',
    '',
    '| RFC | about | requirements | covered | deviations | not yet |',
    '| --- | --- | --- | --- | --- | --- |',
  ];
  const counts = (rfc: Requirement[]) => {
    const covered = rfc.filter(({ id }) => tests.has(id)).length;
    const deviating = rfc.filter(({ id }) => !tests.has(id) && reasons.has(id)).length;
    return `${rfc.length} | ${covered} | ${deviating} | ${rfc.length - covered - deviating}`;
  };
  for (const number of numbers) {
    const rfc = all.filter(({ id }) => id.slice(1, 5) === number);
    lines.push(`| [${number}](#rfc-${number}) | ${RFCS[number] ?? ''} | ${counts(rfc)} |`);
  }
  lines.push(`| all | | ${counts(all)} |`);
  for (const number of numbers) {
    lines.push(
      '',
      `## RFC ${number}`,
      '',
      '| ID | clause | level | statement | covered by |',
      '| --- | --- | --- | --- | --- |',
    );
    for (const { id, clause, level, statement } of all.filter((row) => row.id.slice(1, 5) === number)) {
      const files = (tests.get(id) ?? []).map((path) => `[${path.slice('test/'.length)}](../${path})`);
      const reason = reasons.get(id);
      if (reason !== undefined) files.push(`deviation: ${cell(reason)}`);
      lines.push(
        `| ${id} | ${cell(clause)} | ${cell(level)} | ${cell(statement)} | ${files.join(', ') || 'not yet'} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
