// SPDX-License-Identifier: Apache-2.0
// `gate64 run`: the service, in the foreground.

import { Command } from 'commander';
import { loadLastGood } from '../../config/load.ts';
import type { CliContext } from '../context.ts';
import { ExitCode } from '../exit.ts';

export function runCommand(context: CliContext): Command {
  return new Command('run')
    .summary('run the service in the foreground')
    .description(
      'Runs the DNS64 forwarder and the NAT64 in the foreground. SIGTERM and SIGINT drain and end it, SIGHUP and ' +
        'SIGUSR1 read the configuration anew. The data plane stays in place when it ends; `uninstall` removes it. ' +
        'While the configuration is wrong, the one that was accepted last is in force.',
    )
    .option('-c, --config <file>', 'the configuration file (default: /etc/gate64/gate64.yaml, else the defaults)')
    .action(async (options: { readonly config?: string }) => {
      const loaded = loadLastGood(options.config, context.accepted);
      for (const warning of loaded.warnings) context.stderr.write(`${warning}\n`);
      const exitCode = await context.runService(loaded);
      if (exitCode !== 0) throw new ExitCode(exitCode);
    });
}
