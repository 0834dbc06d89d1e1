// SPDX-License-Identifier: Apache-2.0
// Configurations of other software to one of gate64: recognise, read, merge, write.

import { readBind } from './bind.ts';
import { readCorefile } from './corefile.ts';
import { readJool } from './jool.ts';
import { assertConfig, merge, type PlacedNote } from './merge.ts';
import type { Kind, Reading } from './reading.ts';
import { readTayga } from './tayga.ts';
import { readUnbound } from './unbound.ts';
import { writeConfig } from './write.ts';

export interface ForeignText {
  readonly name: string;
  readonly text: string;
  readonly kind: Kind;
}

export interface Imported {
  /** A whole gate64.yaml, which the parser of the configuration has taken. */
  readonly text: string;
  readonly notes: readonly PlacedNote[];
}

const READERS: Readonly<Record<Kind, (text: string) => Reading>> = {
  corefile: readCorefile,
  jool: readJool,
  tayga: readTayga,
  unbound: readUnbound,
  bind: readBind,
};

export function importTexts(texts: readonly ForeignText[]): Imported {
  // Windows line ends and a byte order mark are no part of any of the formats.
  const plain = (text: string) => text.replace(/^\uFEFF/, '').replaceAll('\r\n', '\n');
  const files = texts.map(({ name, text, kind }) => ({ name, reading: READERS[kind](plain(text)) }));
  const merged = merge(files);
  const text = writeConfig(
    merged,
    texts.map(({ name }) => name),
  );
  assertConfig(text);
  return { text, notes: merged.notes };
}
