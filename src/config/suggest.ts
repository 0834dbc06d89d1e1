// SPDX-License-Identifier: Apache-2.0
// "Did you mean" for keys of the configuration file.

/**
 * The known key that `key` most likely stands for: the same but for case, "-" and "_"; one that stands elsewhere; or one
 * within a third of its letters. Undefined when none is near.
 */
export function suggestKey(
  key: string,
  siblings: readonly string[],
  everywhere: readonly string[],
): string | undefined {
  const wanted = bare(key);
  const exact =
    siblings.find((name) => bare(name) === wanted) ??
    everywhere.find((name) => bare(name.slice(name.lastIndexOf('.') + 1)) === wanted);
  return exact ?? nearest(key, siblings);
}

function nearest(key: string, names: readonly string[]): string | undefined {
  const limit = Math.max(1, Math.floor(key.length / 3));
  return names
    .map((name) => ({ name, distance: editDistance(bare(key), bare(name)) }))
    .filter(({ distance }) => distance <= limit)
    .sort((a, b) => a.distance - b.distance)[0]?.name;
}

function bare(name: string): string {
  return name.toLowerCase().replaceAll(/[-_.]/g, '');
}

/** Levenshtein's: insertions, deletions and replacements. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replace, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
