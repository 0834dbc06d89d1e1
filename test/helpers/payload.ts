// SPDX-License-Identifier: Apache-2.0
// Files to download: large, different at every place that matters, cheap to make.

import { createHash, randomBytes } from 'node:crypto';
import { closeSync, createReadStream, existsSync, ftruncateSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const MIB = 1024 * 1024;
/** Random bytes at the head of every MiB; the rest is a hole in the file, which reads as zeros. */
const FILLED = 64 * 1024;

/** Makes `root`/`name` with `mib` MiB; a checksum over it changes with every lost, doubled or misplaced segment. */
export function makeFile(root: string, name: string, mib: number): string {
  mkdirSync(root, { recursive: true });
  const path = join(root, name);
  if (existsSync(path)) return path;
  const file = openSync(path, 'w', 0o644);
  ftruncateSync(file, mib * MIB);
  for (let i = 0; i < mib; i++) writeSync(file, randomBytes(FILLED), 0, FILLED, i * MIB);
  closeSync(file);
  return path;
}

export async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
