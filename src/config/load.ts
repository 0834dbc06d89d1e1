// SPDX-License-Identifier: Apache-2.0
// Finds and reads the configuration file: `-c FILE`, else /etc/gate64/gate64.yaml, else the defaults.

import { readFileSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import type { AcceptedFile } from './accepted.ts';
import type { Config } from './config.ts';
import { parseWithWarnings } from './parse.ts';
import { ConfigError, formatProblem } from './problems.ts';

export const DEFAULT_FILE = '/etc/gate64/gate64.yaml';

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read; undefined: the defaults. */
  readonly file: string | undefined;
  /** What stood in the file; undefined: the defaults. */
  readonly text: string | undefined;
  /** `file:line:column: …`, ready to print. */
  readonly warnings: readonly string[];
  /** Why the file is not what `config` is: that is what was accepted before. */
  readonly refused?: Error;
}

interface FileText {
  readonly file: string;
  /** Undefined: there is none, and none has to be. */
  readonly text: string | undefined;
}

/**
 * Throws ConfigError for what is in the file, Gate64Error G64_CONFIG_UNREADABLE when it cannot be read. A file that was
 * named must exist; the default one need not.
 */
export function loadConfig(path: string | undefined, defaultFile: string = DEFAULT_FILE): LoadedConfig {
  return parseFile(readText(path, defaultFile));
}

/** As loadConfig, but what was accepted before, where it is kept, stands in for a file with problems. */
export function loadLastGood(
  path: string | undefined,
  accepted: AcceptedFile,
  defaultFile: string = DEFAULT_FILE,
): LoadedConfig {
  const read = readText(path, defaultFile);
  try {
    return parseFile(read);
  } catch (error) {
    const before = error instanceof ConfigError ? loadAccepted(read, error, accepted) : undefined;
    if (before === undefined) throw error;
    return before;
  }
}

/** What was accepted before in place of `refused`; undefined where it is not kept, or is the same or no good any more. */
export function loadAccepted(
  { file, text }: Pick<LoadedConfig, 'file' | 'text'>,
  refused: Error,
  accepted: AcceptedFile,
): LoadedConfig | undefined {
  const before = file === undefined ? undefined : accepted.read(file);
  if (file === undefined || before === undefined || before === text) return undefined;
  try {
    return { ...parseFile({ file, text: before }), text, refused };
  } catch (error) {
    // Another version of gate64 may have accepted it.
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

function readText(path: string | undefined, defaultFile: string): FileText {
  const file = path ?? defaultFile;
  try {
    return { file, text: readFileSync(file, 'utf8') };
  } catch (cause) {
    const code = errorCode(cause);
    if (path === undefined && code === 'ENOENT') return { file, text: undefined };
    throw new Gate64Error('G64_CONFIG_UNREADABLE', `${file}: ${unreadable(code, cause)}`, {
      cause,
      hint: 'name a YAML file that can be read with -c FILE; docs/configuration.md describes its keys',
    });
  }
}

function parseFile({ file, text }: FileText): LoadedConfig {
  const { config, warnings } = parseWithWarnings(text ?? '', file);
  if (text === undefined) return { config, file: undefined, text, warnings: [] };
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
