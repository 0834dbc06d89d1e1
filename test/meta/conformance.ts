// SPDX-License-Identifier: Apache-2.0
// Reads which RFC requirements the tests carry out. A test names one by starting its title with the requirement's ID
// (`it('D6147-5.1.2-a: …')`); a table of cases may hold the IDs as strings. Only tests count that see the behaviour itself.

import { read, repositoryFiles } from './repository.ts';

export interface Requirement {
  id: string;
  clause: string;
  level: string;
  statement: string;
}

const ID = String.raw`[A-Z]\d{4}-[0-9A-Zs][0-9A-Za-z.]*(?:-[0-9a-z]+)?`;

/** Where a test that names a requirement may stand, and what it sees of it there. */
export const WITNESSES: Readonly<Record<string, string>> = {
  'test/bpf/': 'packets that the kernel’s programs took and gave',
  'test/netns/': 'what the kernel and other hosts see of the running service',
  'test/unit/dns/': 'octets on the wire of the running DNS half',
  'test/unit/addr/': 'the mapping of addresses, which is the behaviour',
  'test/unit/config/': 'the bounds and defaults of settings, which is what is in force',
};

export const sees = (path: string): boolean => Object.keys(WITNESSES).some((folder) => path.startsWith(folder));

/** Why no test names a requirement, or why one that does is not all of it. */
export const KINDS = ['deviation', 'not built', 'not ours'] as const;
export type Kind = (typeof KINDS)[number];

export interface Reason {
  kind: string;
  reason: string;
}

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

/** What is not met as the RFC says, by ID: met otherwise on purpose, not built, or not for gate64 to meet. */
export function deviations(): Map<string, Reason> {
  return new Map(
    rows('test/meta/deviations.tsv').map(([id, kind, reason]) => [
      id ?? '',
      { kind: kind ?? '', reason: reason ?? '' },
    ]),
  );
}

/** IDs that stand at the start of a string of `source`, several joined by comma, colon or `and`; skipped tests do not count. */
export function idsIn(source: string): string[] {
  const live = source
    .replaceAll(/\.skip\(\s*(['"`])(?:\\.|(?!\1)[\s\S])*\1/g, '')
    .replaceAll(/^\s*(?:\/\/|\*).*$/gm, '');
  const list = new RegExp(String.raw`['"\x60](${ID}(?:(?:, | and |: )${ID})*)(?=:|['"\x60])`, 'g');
  return [...live.matchAll(list)].flatMap(([, ids]) => (ids as string).match(new RegExp(ID, 'g')) ?? []);
}

/** Everything that may name an ID, this folder apart. */
export const testFiles = (): string[] =>
  repositoryFiles().filter((path) => /^test\/.*\.ts$/.test(path) && !path.startsWith('test/meta/'));

/** The test files that name each ID, of those that see the behaviour. */
export function coverage(): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const path of testFiles().filter(sees)) {
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
    'by hand. † marks behaviour that the RFC states without a keyword of RFC 2119. Statements are abridged: the RFC’s own',
    'words rule. Each requirement counts once:',
    '',
    '- covered: at least one test carries its ID, and sees the behaviour itself:',
    ...Object.entries(WITNESSES).map(([folder, what]) => `  - \`${folder}\`: ${what}`),
    '- deviation: met otherwise, on purpose; the reason stands in its row.',
    '- not built: gate64 does not do it; what is missing stands in its row.',
    '- not ours: it is for somebody else to meet, or superseded.',
    '- no test yet: built, as far as is known, but no test shows it.',
    '',
    '| RFC | about | requirements | covered | deviation | not built | not ours | no test yet |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
  ];
  const counts = (rfc: Requirement[]) => {
    const rest = rfc.filter(({ id }) => !tests.has(id));
    const byKind = KINDS.map((kind) => rest.filter(({ id }) => reasons.get(id)?.kind === kind).length);
    const untested = rest.filter(({ id }) => !reasons.has(id)).length;
    return [rfc.length, rfc.length - rest.length, ...byKind, untested].join(' | ');
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
      if (reason !== undefined) files.push(`${reason.kind}: ${cell(reason.reason)}`);
      lines.push(
        `| ${id} | ${cell(clause)} | ${cell(level)} | ${cell(statement)} | ${files.join(', ') || 'no test yet'} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}
