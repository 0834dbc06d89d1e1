// SPDX-License-Identifier: Apache-2.0
// Settings of several foreign files to one configuration that the schema and the rules take. What contradicts an earlier
// file or is refused is left out and becomes a note.

import { formatPrefix64, parsePrefix64 } from '../addr/rfc6052.ts';
import { parseConfig, problemsOf } from '../config/parse.ts';
import { showValue, type Finding } from '../config/problems.ts';
import { LIST_KEYS, type Note, type Reading, type Setting, type SettingKey } from './reading.ts';

export interface ForeignFile {
  readonly name: string;
  readonly reading: Reading;
}

export interface PlacedNote extends Note {
  readonly file: string;
}

export interface Merged {
  /** As the YAML file is to hold it. */
  readonly tree: Record<string, unknown>;
  /** By file, in the order given, and line. */
  readonly notes: readonly PlacedNote[];
}

interface Placed extends Setting {
  readonly file: string;
}

type Kept = Map<SettingKey, Placed[]>;

/** Lists that the files add to; of any other key the first file that has it decides. */
const ADDED_TO: readonly SettingKey[] = [
  'dns.allowClients',
  'dns.excludeAaaa',
  'nat64.pool',
  'nat64.deny',
  'nat64.static',
];

const isList = (key: SettingKey): boolean => (LIST_KEYS as readonly SettingKey[]).includes(key);

export function merge(files: readonly ForeignFile[]): Merged {
  const notes: PlacedNote[] = files.flatMap(({ name, reading }) =>
    reading.allNotes().map((note) => ({ ...note, file: name })),
  );
  const kept: Kept = new Map();
  for (const { name, reading } of files) {
    const own: Kept = new Map();
    for (const setting of reading.settings) addWithin(own, { ...settled(setting), file: name }, notes);
    for (const [key, placed] of own) addFile(kept, key, placed, notes);
  }
  for (const [key, placed] of withDefaults(kept)) kept.set(key, placed);
  dropRefused(kept, notes);
  const order = files.map(({ name }) => name);
  notes.sort((a, b) => order.indexOf(a.file) - order.indexOf(b.file) || a.line - b.line);
  return { tree: treeOf(kept), notes };
}

/** Prefixes in one spelling, so that files are seen to agree. */
function settled(setting: Setting): Setting {
  if (setting.key !== 'prefix') return setting;
  try {
    return { ...setting, value: formatPrefix64(parsePrefix64(String(setting.value))) };
  } catch {
    return setting;
  }
}

function addWithin(own: Kept, placed: Placed, notes: PlacedNote[]): void {
  const there = own.get(placed.key) ?? [];
  if (there.some(({ value }) => same(value, placed.value))) return;
  if (there.length > 0 && !isList(placed.key)) notes.push(conflict(placed.key, there, [placed]));
  else own.set(placed.key, [...there, placed]);
}

function addFile(kept: Kept, key: SettingKey, placed: Placed[], notes: PlacedNote[]): void {
  const there = kept.get(key);
  if (there === undefined) kept.set(key, placed);
  else if (ADDED_TO.includes(key)) {
    kept.set(key, [...there, ...placed.filter(({ value }) => !there.some((other) => same(value, other.value)))]);
  } else if (!same(valuesOf(there), valuesOf(placed))) notes.push(conflict(key, there, placed));
}

const valuesOf = (placed: readonly Placed[]): unknown[] => placed.map(({ value }) => value);
const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

function conflict(key: SettingKey, first: readonly Placed[], second: readonly Placed[]): PlacedNote {
  const show = (placed: readonly Placed[]) =>
    placed
      .slice(0, 4)
      .map(({ value }) => showValue(value))
      .join(', ');
  const [at, other] = [first[0] as Placed, second[0] as Placed];
  return {
    file: other.file,
    line: other.line,
    what: `${key}: ${show(second)}`,
    why: `it contradicts ${at.file}:${at.line}, ${show(first)}, which stands`,
    instead: `decide which is right, and set ${key}`,
    matters: true,
  };
}

/** What is written replaces a default that has to stay: networks that count as absent always (RFC 6147 5.1.4). */
function withDefaults(kept: Kept): Kept {
  const excluded = kept.get('dns.excludeAaaa');
  const [first] = excluded ?? [];
  const mapped = '::ffff:0:0/96';
  if (excluded === undefined || first === undefined || excluded.some(({ value }) => value === mapped)) return new Map();
  return new Map([['dns.excludeAaaa', [{ ...first, value: mapped }, ...excluded]]]);
}

/** Until nothing is refused; every turn leaves something out. */
function dropRefused(kept: Kept, notes: PlacedNote[]): void {
  for (;;) {
    const refused = new Map<Placed, Finding>();
    for (const finding of problemsOf(treeOf(kept))) {
      for (const placed of meantBy(kept, finding)) if (!refused.has(placed)) refused.set(placed, finding);
    }
    if (refused.size === 0) return;
    for (const [{ file, line, key, value }, { message }] of refused) {
      const what = `${key}: ${showValue(value)}`;
      notes.push({ file, line, what, why: message, instead: `set ${key} by hand`, matters: true });
    }
    for (const [key, placed] of kept) {
      const rest = placed.filter((one) => !refused.has(one));
      if (rest.length === 0) kept.delete(key);
      else kept.set(key, rest);
    }
  }
}

function meantBy(kept: Kept, finding: Finding): Placed[] {
  for (const [key, placed] of kept) {
    const path = key.split('.');
    if (!path.every((part, i) => part === finding.path[i])) continue;
    const index = finding.path[path.length];
    if (isList(key) && typeof index === 'number') return placed.slice(index, index + 1);
    // There are too many: the later ones go.
    return isList(key) ? placed.slice(Math.min(placed.length - 1, placed.length >> 1)) : placed;
  }
  throw new Error(`nothing was carried to what is refused: ${finding.message}`);
}

function treeOf(kept: Kept): Record<string, unknown> {
  const tree: Record<string, unknown> = {};
  const keys = [...kept.keys()].sort((a, b) => KEY_ORDER(a) - KEY_ORDER(b));
  for (const key of keys) {
    const path = key.split('.');
    const values = valuesOf(kept.get(key) ?? []);
    let into = tree;
    for (const part of path.slice(0, -1)) into = (into[part] ??= {}) as Record<string, unknown>;
    into[path.at(-1) as string] = isList(key) && !(key === 'prefix' && values.length === 1) ? values : values[0];
  }
  return tree;
}

/** Sections as docs/configuration.md has them: the prefix, DNS, NAT64. */
const KEY_ORDER = (key: SettingKey): number => ['prefix', 'dns', 'nat64'].indexOf(key.split('.')[0] as string);

/** Throws ConfigError where the text is not a configuration, which would be a defect of this room. */
export function assertConfig(text: string): void {
  parseConfig(text, 'gate64.yaml');
}
