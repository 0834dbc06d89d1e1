// SPDX-License-Identifier: Apache-2.0
// The pages of docs/ that list what the code lists: drop reasons, error codes, metrics, configuration keys.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { configKeys } from '../../src/config/keys.ts';
import { DROP_REASONS, DROP_TEXTS } from '../../src/model/drops.gen.ts';
import { DNS_METRICS } from '../../src/dns/metrics.ts';
import { ERROR_CODES } from '../../src/errors.ts';
import { NAME_METRICS } from '../../src/names/name-metrics.ts';
import { NAT64_METRICS } from '../../src/nat64/metrics.ts';
import { FINDINGS } from '../../src/plan/findings.ts';
import type { MetricDefinition } from '../../src/telemetry/metrics.ts';
import { SERVICE_METRICS } from '../../src/telemetry/service-metrics.ts';
import { ROOT, read } from './repository.ts';

/** Each half's own. */
export const METRICS: readonly MetricDefinition[] = [DNS_METRICS, NAT64_METRICS, NAME_METRICS, SERVICE_METRICS].flatMap(
  (metrics): MetricDefinition[] => Object.values(metrics),
);

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');

/** The rows of the tables of a page whose first cell is in backticks: that name, and the other cells. */
export function tableRows(page: string): Map<string, string[]> {
  const rows = new Map<string, string[]>();
  for (const line of page.split('\n')) {
    const cells = line.split(/(?<!\\)\|/).map((text) => text.trim());
    const name = /^`([\w.[\]-]+)`$/.exec(cells[1] ?? '')?.[1];
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

/** The page of findings; what to do about one depends on the node, and stands with the finding itself. */
export function findingsPage(): string {
  return [
    '# What may be wrong with a node',
    '',
    'Made by `make docs` from src/plan/findings.ts; not edited by hand. gate64 looks for these at its start and at every',
    'reload. One that keeps it from working ends the start, or has the reload refused, with the error code; any other is a',
    'warning in the log, with its name as `finding` and what to do about it as `hint`. `gate64 doctor` shows them at any time.',
    '',
    '| finding | error code | meaning |',
    '| --- | --- | --- |',
    ...Object.entries(FINDINGS).map(([name, { code, meaning }]) => `| \`${name}\` | \`${code}\` | ${cell(meaning)} |`),
    '',
  ].join('\n');
}

export function metricsPage(): string {
  return [
    '# Metrics',
    '',
    'Made by `make docs` from src/dns/metrics.ts, src/nat64/metrics.ts, src/names/name-metrics.ts and',
    'src/telemetry/service-metrics.ts; not edited by hand. They stand at `/metrics` of `http.listen`, beside the default metrics of Node and of the process.',
    '',
    '| metric | type | labels | meaning |',
    '| --- | --- | --- | --- |',
    ...METRICS.map(({ name, type, labels, help }) => {
      const names = labels.map((label) => `\`${label}\``).join(', ');
      return `| \`${name}\` | ${type} | ${names} | ${cell(help)} |`;
    }),
    '',
  ].join('\n');
}

const KEYS_BEGIN = '<!-- keys: made by `make docs` from src/config/schema.ts -->';
const KEYS_END = '<!-- end of keys -->';

/** The page of the configuration: written by hand but for the table of keys between its two marks. */
export function configurationPage(): string {
  const written = existsSync(join(ROOT, 'docs/configuration.md')) ? read('docs/configuration.md') : undefined;
  const begin = written?.indexOf(KEYS_BEGIN) ?? -1;
  const end = written?.indexOf(KEYS_END) ?? -1;
  if (written !== undefined && (begin < 0 || end < begin)) {
    throw new Error(`docs/configuration.md: expected the marks ${KEYS_BEGIN} and ${KEYS_END} around its table of keys`);
  }
  const table = [
    KEYS_BEGIN,
    '',
    '| key | default | meaning |',
    '| --- | --- | --- |',
    ...configKeys().map(({ key, default: value, description }) => {
      return `| \`${key}\` | ${value === undefined ? '' : `\`${JSON.stringify(value)}\``} | ${cell(description)} |`;
    }),
    '',
    '',
  ].join('\n');
  const before = written?.slice(0, begin) ?? '# Configuration\n\n';
  return `${before}${table}${written?.slice(end) ?? `${KEYS_END}\n`}`;
}
