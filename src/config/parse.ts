// SPDX-License-Identifier: Apache-2.0
// YAML text to Config. Every problem is found in one pass and carries the line and column where it stands.

import { LineCounter, isAlias, isMap, isNode, isPair, isScalar, isSeq, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import type { Config } from './config.ts';
import { configKeys, keysAt } from './keys.ts';
import { ConfigError, inOrder, keyName, showValue, type ConfigProblem, type Finding } from './problems.ts';
import { checkRules } from './rules.ts';
import { configSchema } from './schema.ts';
import { suggestKey } from './suggest.ts';
import { isMapping, valueAt } from './tree.ts';

export interface ParseResult {
  readonly config: Config;
  /** What is accepted but should be known. */
  readonly warnings: readonly ConfigProblem[];
}

/** `fileName` only names the file in problems. Throws ConfigError. */
export function parseConfig(text: string, fileName: string): Config {
  return parseWithWarnings(text, fileName).config;
}

export function parseWithWarnings(text: string, fileName: string): ParseResult {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    logLevel: 'error',
    strict: true,
    uniqueKeys: true,
  });
  // One slip makes several errors further on; the first is the one to mend.
  const syntax = [...document.errors].sort((a, b) => a.pos[0] - b.pos[0])[0];
  if (syntax !== undefined) {
    const problem = { ...positionOf(lines, syntax.pos[0]), message: syntaxMessage(syntax.message) };
    throw new ConfigError('G64_CONFIG_SYNTAX', fileName, [problem], { cause: syntax });
  }

  const raw = withoutEmptySections(readTree(document, fileName));
  const { result, problems, warnings } = judge(raw);
  const locate = (finding: Finding): ConfigProblem => ({
    ...positionOf(lines, offsetOf(document, finding.path, finding.atKey === true)),
    message: finding.message,
  });
  if (!result.success || problems.length > 0) {
    throw new ConfigError('G64_CONFIG_INVALID', fileName, problems.map(locate), { cause: result.error });
  }
  return { config: result.data, warnings: inOrder(warnings.map(locate)) };
}

/** What schema and rules find wrong with a tree as a file would hold it. */
export function problemsOf(raw: unknown): readonly Finding[] {
  return judge(raw).problems;
}

function judge(raw: unknown) {
  const result = configSchema.safeParse(raw);
  const rules = checkRules(raw);
  const schemaFindings = result.success ? [] : result.error.issues.flatMap((issue) => findings(issue, raw, []));
  return { result, problems: [...firstPerPath(schemaFindings), ...rules.errors], warnings: rules.warnings };
}

function readTree(document: Document, fileName: string): unknown {
  try {
    // The default limit of aliases stands: a file of a few lines cannot unfold into gigabytes.
    return document.toJS() ?? {};
  } catch (cause) {
    const message = `${cause instanceof Error ? cause.message : String(cause)}; expected YAML without such aliases`;
    throw new ConfigError('G64_CONFIG_SYNTAX', fileName, [{ line: 1, column: 1, message }], { cause });
  }
}

/** The words of the YAML parser, without the position it appends and the closing stop. */
function syntaxMessage(message: string): string {
  const line = message.split('\n', 1)[0] ?? message;
  if (line.includes('multiple documents')) return 'another YAML document starts; expected one in the file';
  return `this is not YAML: ${line.replace(/[.:]$/, '')}; expected a mapping of keys such as "prefix: 64:ff9b::/96"`;
}

/** A section whose keys are all commented out reads as null and means its defaults. */
function withoutEmptySections(raw: unknown): unknown {
  if (!isMapping(raw)) return raw;
  const sections = [['dns'], ['nat64'], ['http'], ['log'], ['dns', 'cache'], ['nat64', 'timeouts']] as const;
  const copy: Record<string, unknown> = { ...raw };
  for (const [outer, inner] of sections) {
    const value = copy[outer];
    if (inner === undefined) {
      if (value === null) copy[outer] = {};
    } else if (isMapping(value) && value[inner] === null) {
      copy[outer] = { ...value, [inner]: {} };
    }
  }
  return copy;
}

/** One zod issue as findings; a union tells of the branch that the value has the shape of. */
function findings(issue: z.core.$ZodIssue, raw: unknown, parent: readonly PropertyKey[]): Finding[] {
  const path = [...parent, ...issue.path];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key));
  if (issue.code === 'invalid_union') {
    const branch = issue.errors.find((issues) => issues.length > 0 && !issues.some(isShapeMismatch));
    if (branch !== undefined) return branch.flatMap((inner) => findings(inner, raw, path));
  }
  const value = valueAt(raw, path);
  const name = keyName(path);
  if (path.length === 0) return [{ path, message: `${showValue(value)} is not a mapping of keys such as "prefix: …"` }];
  if (value === undefined) return [{ path, message: `${name} is missing; expected ${issue.message}` }];
  return [{ path, message: `${name}: ${showValue(value)} is not ${issue.message}` }];
}

function isShapeMismatch(issue: z.core.$ZodIssue): boolean {
  return issue.path.length === 0 && (issue.code === 'invalid_type' || issue.code === 'invalid_union');
}

function unknownKey(path: readonly PropertyKey[], key: string): Finding {
  const siblings = keysAt(path);
  const everywhere = configKeys().map((known) => known.key);
  const suggestion = suggestKey(key, siblings, everywhere);
  const name = keyName([...path, key]);
  const expected = suggestion === undefined ? `expected one of ${siblings.join(', ')}` : `did you mean ${suggestion}?`;
  return { path: [...path, key], atKey: true, message: `${name} is not a known key; ${expected}` };
}

/** Several bounds of one value break at once; the first says it. */
function firstPerPath(all: readonly Finding[]): Finding[] {
  const seen = new Set<string>();
  return all.filter((finding) => {
    const name = keyName(finding.path);
    return !seen.has(name) && seen.add(name) !== undefined;
  });
}

function positionOf(lines: LineCounter, offset: number): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line: Math.max(1, line), column: Math.max(1, col) };
}

/** Where a path stands in the text: its value, its key when there is no value, or the nearest thing that exists. */
function offsetOf(document: Document, path: readonly PropertyKey[], atKey: boolean): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    const last = depth === path.length - 1;
    if (isSeq(node)) {
      node = node.items[Number(part)];
    } else if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part),
      );
      if (pair === undefined) return offset;
      offset = startOf(pair.key) ?? offset;
      if (last && atKey) return offset;
      node = pair.value;
      if (isScalar(node) && node.value === null) return offset;
    } else {
      return offset;
    }
    offset = startOf(node) ?? offset;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}
