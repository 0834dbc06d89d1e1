// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Makes src/model/drops.gen.ts from the X-macro of drop.h. `make types` runs it; --check tells whether it is fresh.

import { readFileSync } from 'node:fs';
import { emit } from './emit.ts';

const source = readFileSync(new URL('../drop.h', import.meta.url), 'utf8');
const list = source.slice(source.indexOf('#define N64_DROP_REASONS'), source.indexOf('enum n64_drop'));
const rows: { label: string; text: string }[] = [];
for (const [, label, strings] of list.matchAll(
  /X\([A-Z0-9_]+,\s*([a-z0-9_]+),([\s\\]*(?:"(?:[^"\\]|\\.)*"[\s\\]*)+)\)/g,
)) {
  const text = [...(strings as string).matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, part]) => part).join('');
  rows.push({ label: label as string, text });
}
if (rows.length !== [...list.matchAll(/\bX\([A-Z]/g)].length)
  throw new Error('drop.h: an entry has an unexpected form');

const quote = (text: string) => `'${text.replaceAll("'", "\\'")}'`;
emit(
  '../../src/model/drops.gen.ts',
  'bpf/drop.h',
  [
    '/** Index of a reason in the counters is its index here plus one: zero means passed. */',
    'export const DROP_REASONS = [',
    ...rows.map(({ label }) => `  ${quote(label)},`),
    '] as const;',
    '',
    'export type DropReason = (typeof DROP_REASONS)[number];',
    '',
    '/** What happened, and what to do where there is something to do. */',
    'export const DROP_TEXTS: Readonly<Record<DropReason, string>> = {',
    ...rows.map(({ label, text }) => `  ${label}: ${quote(text)},`),
    '};',
  ].join('\n'),
);
