// SPDX-License-Identifier: Apache-2.0
// The configuration for a command that looks at a node which works: a file that has become wrong hides nothing of it.

import type { AcceptedFile } from '../config/accepted.ts';
import type { Config } from '../config/config.ts';
import { loadConfig, loadLastGood } from '../config/load.ts';
import { parseConfig } from '../config/parse.ts';
import { ConfigError } from '../config/problems.ts';
import type { CliContext } from './context.ts';
import { errorText } from './error-text.ts';

export interface ConfigInForce {
  readonly config: Config;
  /** Of the configuration, `file:line:column: …`. */
  readonly warnings: readonly string[];
  /** Why the file is not what `config` is; it was written to stderr. */
  readonly refused: Error | undefined;
  /** Whether the defaults stand in, since nothing is known of what was accepted. */
  readonly isGuess: boolean;
}

/**
 * What the service runs with: also one that was started with a file of another name, where none is named and the usual one
 * is not there. Throws ConfigError when the file is wrong and nothing is known of what was accepted.
 */
export function configInForce(path: string | undefined, context: CliContext): ConfigInForce {
  const { config, file, warnings, refused } = loadLastGood(path, context.accepted);
  const other = file === undefined ? ofAnotherName(context.accepted) : undefined;
  if (other !== undefined) {
    if (other.refused) context.stderr.write(errorText(other.refused));
    return { ...other, warnings: [], isGuess: false };
  }
  if (refused) context.stderr.write(errorText(refused));
  return { config, warnings, refused, isGuess: false };
}

/** The configuration of the node's NAT64; a forwarder for DNS alone may run beside one that has no file. */
function ofAnotherName(accepted: AcceptedFile): Pick<ConfigInForce, 'config' | 'refused'> | undefined {
  const last = accepted.last();
  if (last === undefined) return undefined;
  try {
    const config = parseConfig(last.text, last.file);
    return config.nat64.enabled ? { config, refused: refusalOf(last.file) } : undefined;
  } catch (error) {
    // Another version of gate64 may have accepted it.
    if (error instanceof ConfigError) return undefined;
    throw error;
  }
}

/** What is wrong with the file now; that it is gone is nothing that anybody refused. */
function refusalOf(file: string): ConfigError | undefined {
  try {
    loadConfig(file);
    return undefined;
  } catch (error) {
    return error instanceof ConfigError ? error : undefined;
  }
}

/** As configInForce, for what the defaults are enough for: where the service listens by HTTP, the name of the device. */
export function configOrDefaults(path: string | undefined, context: CliContext): ConfigInForce {
  try {
    return configInForce(path, context);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    context.stderr.write(errorText(error));
    return { config: parseConfig('', error.file), warnings: [], refused: error, isGuess: true };
  }
}
