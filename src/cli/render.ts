// SPDX-License-Identifier: Apache-2.0
// Tables and values for people: plain ASCII, numbers to the right, colour on terminals only.

import { styleText } from 'node:util';
import type { Output } from './context.ts';

export interface Column<T> {
  readonly title: string;
  readonly text: (row: T) => string;
  readonly align?: 'left' | 'right';
  /** Columns with a rank are left out when the terminal is too narrow, the highest rank first. */
  readonly rank?: number;
}

const GAP = '  ';

/** A table with a line of titles; a line in words when there are no rows. */
export function renderTable<T>(
  columns: readonly Column<T>[],
  rows: readonly T[],
  output: Output,
  empty: string,
): string {
  if (rows.length === 0) return `${empty}\n`;
  const cells = rows.map((row) => columns.map((column) => column.text(row)));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((line) => line[i]?.length ?? 0)),
  );
  const kept = columnsThatFit(columns, widths, output.width);
  const line = (texts: readonly string[]) =>
    kept
      .map((i) => pad(texts[i] ?? '', widths[i] ?? 0, columns[i]?.align))
      .join(GAP)
      .trimEnd();
  const titles = bold(line(columns.map((column) => column.title)), output);
  const left = columns.filter((_, i) => !kept.includes(i)).map((column) => column.title);
  const note = left.length === 0 ? [] : [dim(`(no room for ${left.join(', ')}; -o json has all)`, output)];
  return [titles, ...cells.map(line), ...note].join('\n') + '\n';
}

function columnsThatFit<T>(columns: readonly Column<T>[], widths: readonly number[], room: number): number[] {
  const kept = columns.map((_, i) => i);
  const total = () => kept.reduce((sum, i) => sum + (widths[i] ?? 0), (kept.length - 1) * GAP.length);
  while (total() > room) {
    const next = kept
      .filter((i) => columns[i]?.rank !== undefined)
      .sort((a, b) => (columns[b]?.rank ?? 0) - (columns[a]?.rank ?? 0))[0];
    if (next === undefined) break;
    kept.splice(kept.indexOf(next), 1);
  }
  return kept;
}

function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  return align === 'right' ? text.padStart(width) : text.padEnd(width);
}

/** On a terminal a name of up to this many columns: of a longer one the end, which says whose it is. */
const NAME_WIDTH = 40;

export function shorten(name: string, output: Output): string {
  return name.length <= NAME_WIDTH || output.width === Infinity ? name : `...${name.slice(3 - NAME_WIDTH)}`;
}

/** `name  value` lines, the values in one column. */
export function renderPairs(pairs: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length));
  return pairs.map(([name, value]) => `${name.padEnd(width)}${GAP}${value}`.trimEnd() + '\n').join('');
}

export function bold(text: string, output: Output): string {
  return output.colour ? styleText('bold', text, { validateStream: false }) : text;
}

export function dim(text: string, output: Output): string {
  return output.colour ? styleText('dim', text, { validateStream: false }) : text;
}

export function good(text: string, output: Output): string {
  return output.colour ? styleText('green', text, { validateStream: false }) : text;
}

export function bad(text: string, output: Output): string {
  return output.colour ? styleText('red', text, { validateStream: false }) : text;
}

/** Milliseconds since the epoch → ISO 8601, to the second where it has no fraction. */
export function isoTime(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** Breaks text at spaces. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
