// SPDX-License-Identifier: Apache-2.0
// The syntax that Corefile and named.conf share: statements of words, each with a block in braces or none.

import type { Reading } from './reading.ts';

export interface Statement {
  readonly line: number;
  readonly words: readonly string[];
  /** undefined: no block stood behind the words. */
  readonly block: Statement[] | undefined;
}

export interface Token {
  readonly line: number;
  readonly kind: 'word' | 'open' | 'close' | 'end';
  readonly text: string;
}

/** No configuration of either kind nests as deep. */
const MAX_DEPTH = 16;

interface Level {
  readonly into: Statement[];
  words: string[];
  line: number;
}

/** Statements out of tokens; braces that do not match and blocks too deep are noted as lost. Does not recurse. */
export function statements(tokens: Iterable<Token>, reading: Reading): Statement[] {
  const top: Statement[] = [];
  const levels: Level[] = [{ into: top, words: [], line: 1 }];
  let skipped = 0;
  let line = 1;
  const flush = (level: Level, block: Statement[] | undefined): void => {
    if (level.words.length > 0 || block !== undefined) level.into.push({ line: level.line, words: level.words, block });
    level.words = [];
  };
  for (const token of tokens) {
    line = token.line;
    const level = levels.at(-1) as Level;
    if (skipped > 0) {
      if (token.kind === 'open') skipped++;
      if (token.kind === 'close') skipped--;
    } else if (token.kind === 'word') {
      if (level.words.length === 0) level.line = token.line;
      level.words.push(token.text);
    } else if (token.kind === 'end') {
      flush(level, undefined);
    } else if (token.kind === 'open') {
      if (levels.length > MAX_DEPTH) {
        reading.lost(token.line, '{', `blocks nest deeper than ${MAX_DEPTH}`, 'write what is in it by hand');
        skipped = 1;
        continue;
      }
      const block: Statement[] = [];
      if (level.words.length === 0) level.line = token.line;
      flush(level, block);
      levels.push({ into: block, words: [], line: token.line });
    } else if (levels.length === 1) {
      flush(level, undefined);
      reading.lost(token.line, '}', 'no block is open here', 'look whether the file is whole');
    } else {
      flush(level, undefined);
      levels.pop();
    }
  }
  if (levels.length > 1 || skipped > 0) {
    reading.lost(line, 'the end of the file', 'a block is still open', 'look whether the file is whole');
  }
  while (levels.length > 0) flush(levels.pop() as Level, undefined);
  return top;
}
