// SPDX-License-Identifier: Apache-2.0
// What the meta tests read: the files that belong to the repository, and their text.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '../..');

/** Paths from the root, `/` between folders: tracked files and those not yet tracked but not ignored either. */
export function repositoryFiles(): string[] {
  const list = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '-z'], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return [...new Set(list.split('\0'))].filter((path) => path !== '' && existsSync(join(ROOT, path))).toSorted();
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}
