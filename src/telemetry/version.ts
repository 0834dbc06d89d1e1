// SPDX-License-Identifier: Apache-2.0
// gate64's version: that of the package.json above this file, run from sources and from dist/ alike.

import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Such as "0.1.0"; throws when no package.json lies above, which means a broken installation. */
export function gate64Version(): string {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    const manifest: unknown = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
    if (isGate64(manifest)) return manifest.version;
    if (dirname(folder) === folder) throw new Error(`no package.json of gate64 above ${import.meta.dirname}`);
  }
}

function isGate64(manifest: unknown): manifest is { version: string } {
  if (typeof manifest !== 'object' || manifest === null || !('name' in manifest && 'version' in manifest)) return false;
  return manifest.name === 'gate64' && typeof manifest.version === 'string';
}
