// SPDX-License-Identifier: Apache-2.0
// Looking into a value of unknown shape, such as a file that has just been read.

export type Path = readonly PropertyKey[];

/** A mapping, not a list. */
export function isMapping(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What stands at `path` in mappings and lists; undefined when nothing does. */
export function valueAt(root: unknown, path: Path): unknown {
  return path.reduce<unknown>((value, part) => {
    if (Array.isArray(value)) return typeof part === 'number' ? value[part] : undefined;
    return isMapping(value) ? value[part] : undefined;
  }, root);
}
