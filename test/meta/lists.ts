// SPDX-License-Identifier: Apache-2.0
// The pages of docs/ that list what the code lists: drop reasons and error codes.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { DROP_REASONS, DROP_TEXTS } from '../../src/datapath/drops.gen.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { ROOT, read } from './repository.ts';

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

/** The rows of the tables of a page whose first cell is in backticks: that name, and the other cells. */
export function tableRows(page: string): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const line of page.split('\n')) {
    const cells = line.split(/(?<!\\)\|/).map((text) => text.trim());
    const name = /^`(\w+)`$/.exec(cells[1] ?? '')?.[1];
    if (name !== undefined) rows.set(name, cells.slice(2, -1));
  }
  return rows;
}

export function dropsPage(): string {
  return [
    '# Why a packet was dropped',
    '',
    'Made by `make docs` from bpf/drop.h; not edited by hand. `gate64 drops` counts by these reasons,',
    '`gate64 drops --explain` prints the texts, and the metric `gate64_nat64_drops_total` has them as label `reason`.',
    'A packet that is not gate64’s to translate is passed on untouched and counted nowhere here.',
    '',
    '| reason | what happened, and what to do |',
    '| --- | --- |',
    ...DROP_REASONS.map((reason) => `| \`${reason}\` | ${cell(DROP_TEXTS[reason])} |`),
    '',
  ].join('\n');
}

/** The page of error codes; what to do about each is written by hand in its third column, which stays. */
export function errorsPage(): string {
  const written = existsSync(join(ROOT, 'docs/errors.md')) ? tableRows(read('docs/errors.md')) : undefined;
  return [
    '# Error codes',
    '',
    'Every error of gate64 has one of these codes, stable from release to release; logs and `-o json` carry it as `code`.',
    '`make docs` takes codes and meanings from src/errors.ts; the third column is written here.',
    '',
    '| code | meaning | what to do |',
    '| --- | --- | --- |',
    ...Object.entries(ERROR_CODES).map(
      ([code, meaning]) => `| \`${code}\` | ${cell(meaning)} | ${written?.get(code)?.[1] ?? ''} |`,
    ),
    '',
  ].join('\n');
}
