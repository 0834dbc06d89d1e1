// SPDX-License-Identifier: Apache-2.0
// `gate64 check`: reads the configuration and says what is wrong with it, without touching anything else.

import { Command } from 'commander';
import { loadConfig, type LoadedConfig } from '../../config/load.ts';
import { ConfigError } from '../../config/problems.ts';
import type { CliContext } from '../context.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';
import { outputOption, type OutputOptions } from '../output.ts';

interface CheckOptions extends OutputOptions {
  readonly config?: string;
}

export function checkCommand(context: CliContext): Command {
  return new Command('check')
    .summary('check the configuration file')
    .description('Checks the configuration file; each problem is a line "file:line:column: what was expected".')
    .option('-c, --config <file>', 'the file (default: /etc/gate64/gate64.yaml)')
    .addOption(outputOption('default: lines, in a pipe too'))
    .action((options: CheckOptions) => {
      // The lines are for editors and CI logs, so they stay lines in a pipe; JSON only when asked for.
      if (options.output === 'json') checkAsJson(options, context);
      else checkAsLines(loadConfig(options.config), context);
    });
}

function checkAsLines(loaded: LoadedConfig, context: CliContext): void {
  for (const warning of loaded.warnings) context.stderr.write(`${warning}\n`);
  context.stdout.write(`${loaded.file ?? 'no configuration file, the defaults'}: ok\n`);
}

function checkAsJson(options: CheckOptions, context: CliContext): void {
  const write = (value: object) => context.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  try {
    const { file, warnings } = loadConfig(options.config);
    write({ file: file ?? null, valid: true, problems: [], warnings });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    write({ file: error.file, valid: false, problems: error.problems, warnings: [] });
    throw new ExitCode(EXIT_PROBLEM);
  }
}
