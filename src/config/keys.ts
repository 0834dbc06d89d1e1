// SPDX-License-Identifier: Apache-2.0
// The one list of configuration keys, read off the schema; docs/configuration.md has an entry for each, which a test
// keeps so.

import { jsonSchema } from './schema.ts';

export interface ConfigKey {
  /** Dotted; keys of list entries as `nat64.pool[].ports`. */
  readonly key: string;
  readonly description: string;
  /** Undefined when there is none. */
  readonly default: unknown;
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
  readonly description?: string;
  readonly default?: unknown;
}

/** Every key that holds a value, in the order of the schema; sections such as `dns` are not keys of their own. */
export function configKeys(): ConfigKey[] {
  return walk(jsonSchema(), '');
}

/** The keys that may stand in the mapping at `path`, which may lead through lists by number. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  let node: SchemaNode | undefined = jsonSchema();
  for (const part of path) node = typeof part === 'number' ? node?.items : node?.properties?.[String(part)];
  return Object.keys(node?.properties ?? {});
}

function walk(node: SchemaNode, at: string): ConfigKey[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const key = at === '' ? name : `${at}.${name}`;
    const own = { key, description: child.description ?? '', default: child.default };
    if (child.properties !== undefined) return walk(child, key);
    return [own, ...(child.items?.properties === undefined ? [] : walk(child.items, `${key}[]`))];
  });
}
