// SPDX-License-Identifier: Apache-2.0
// One foreign text through the whole of src/import/: the tree that came out, and its notes as text.

import { parse } from 'yaml';
import { importTexts } from '../../../src/import/import.ts';
import type { Kind } from '../../../src/import/reading.ts';
import { formatNote } from '../../../src/import/write.ts';

export interface Outcome {
  readonly tree: unknown;
  /** Those that matter. */
  readonly lost: string[];
  readonly asides: string[];
  readonly text: string;
}

export function imported(kind: Kind, text: string, name: string = kind): Outcome {
  return importedAll([{ name, text, kind }]);
}

export function importedAll(texts: Parameters<typeof importTexts>[0]): Outcome {
  const { text, notes } = importTexts(texts);
  const of = (matters: boolean) => notes.filter((note) => note.matters === matters).map(formatNote);
  return { tree: parse(text), lost: of(true), asides: of(false), text };
}
