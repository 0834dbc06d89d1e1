// SPDX-License-Identifier: Apache-2.0
// The file that `gate64 import` makes: notes as comments, then the configuration.

import { stringify } from 'yaml';
import type { Merged, PlacedNote } from './merge.ts';

const MAX_WHAT = 100;
const MAX_WHY = 400;

/**
 * One line, whatever the text holds: a foreign file must not write YAML of its own, nor to the terminal. Control and
 * format characters, line separators and halves of surrogate pairs are escaped.
 */
export function oneLine(text: string, max: number): string {
  const escaped = text.slice(0, max).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    return char === '\t' ? ' ' : `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`;
  });
  return text.length > max ? `${escaped}…` : escaped;
}

/** `FILE:LINE: "WHAT": why; what to do instead` */
export function formatNote({ file, line, what, why, instead }: PlacedNote): string {
  const shown = instead === '' ? '' : `; instead: ${oneLine(instead, MAX_WHY)}`;
  return `${oneLine(file, MAX_WHY)}:${line}: "${oneLine(what, MAX_WHAT)}": ${oneLine(why, MAX_WHY)}${shown}`;
}

export function writeConfig({ tree, notes }: Merged, files: readonly string[]): string {
  const part = (title: string, matters: boolean): string[] => {
    const own = notes.filter((note) => note.matters === matters);
    return own.length === 0 ? [] : ['#', `# ${title}`, ...own.map((note) => `#   ${formatNote(note)}`)];
  };
  const head = [
    `# Made by "gate64 import" from ${files.map((file) => oneLine(file, MAX_WHY)).join(', ')}.`,
    ...part('Not carried over, and it matters:', true),
    ...part('Left out without harm:', false),
  ];
  const body = Object.keys(tree).length === 0 ? '' : stringify(tree, { lineWidth: 0 });
  return `${head.join('\n')}\n${body}`;
}
