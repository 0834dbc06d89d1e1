// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
// Writes a generated file, or with --check says whether the one that is there is what would be written.

import { readFileSync, writeFileSync } from 'node:fs';

export function emit(path: string, from: string, body: string): void {
  const url = new URL(path, import.meta.url);
  const text = `// SPDX-License-Identifier: Apache-2.0\n// Made by \`make types\` from ${from}; not edited by hand.\n\n${body}\n`;
  if (process.argv.includes('--check')) {
    if (readFileSync(url, 'utf8') !== text) {
      console.error(`${path.replace(/^(\.\.\/)+/, '')} is stale: run \`make types\``);
      process.exitCode = 1;
    }
    return;
  }
  writeFileSync(url, text);
}
