// SPDX-License-Identifier: Apache-2.0
// Finds and reads the configuration file: `-c FILE`, else /etc/gate64/gate64.yaml, else the defaults.

import { readFileSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import type { Config } from './config.ts';
import { parseWithWarnings } from './parse.ts';
import { formatProblem } from './problems.ts';

export const DEFAULT_FILE = '/etc/gate64/gate64.yaml';

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read; undefined: the defaults. */
  readonly file: string | undefined;
  /** What stood in the file; undefined: the defaults. */
  readonly text: string | undefined;
  /** `file:line:column: …`, ready to print. */
  readonly warnings: readonly string[];
}

/**
 * Throws ConfigError for what is in the file, Gate64Error G64_CONFIG_UNREADABLE when it cannot be read. A file that was
 * named must exist; the default one need not.
 */
export function loadConfig(path: string | undefined, defaultFile: string = DEFAULT_FILE): LoadedConfig {
  const file = path ?? defaultFile;
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    const code = errorCode(cause);
    if (path === undefined && code === 'ENOENT') {
      return { config: parseWithWarnings('', file).config, file: undefined, text: undefined, warnings: [] };
    }
    throw new Gate64Error('G64_CONFIG_UNREADABLE', `${file}: ${unreadable(code, cause)}`, {
      cause,
      hint: 'name a YAML file that can be read with -c FILE; docs/configuration.md describes its keys',
    });
  }
  const { config, warnings } = parseWithWarnings(text, file);
  return { config, file, text, warnings: warnings.map((warning) => formatProblem(file, warning)) };
}

function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error && 'code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

function unreadable(code: string | undefined, cause: unknown): string {
  if (code === 'ENOENT') return 'there is no such file';
  if (code === 'EACCES') return 'no permission to read it';
  if (code === 'EISDIR') return 'it is a directory; expected a file';
  return `it cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`;
}
