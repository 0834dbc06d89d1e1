// SPDX-License-Identifier: Apache-2.0
// `gate64 uninstall`: takes device, routes, nft table, programs and pinned maps off the node.

import { Command } from 'commander';
import { UninstallError } from '../../host/uninstall-error.ts';
import { configOrDefaults } from '../config.ts';
import type { CliContext } from '../context.ts';

export function uninstallCommand(context: CliContext): Command {
  return new Command('uninstall')
    .summary('remove everything gate64 put on this node')
    .description(
      'Removes everything gate64 put on this node: device, routes, nft table, programs and pinned maps. Running ' +
        'sessions end.',
    )
    .option('-c, --config <file>', 'the configuration file, for nat64.device')
    .action(async (options: { readonly config?: string }) => {
      const { config } = configOrDefaults(options.config, context);
      const say = (done: readonly string[]) => done.forEach((what) => context.stdout.write(`${what}\n`));
      const done = await context.uninstall(config).catch((error: unknown) => {
        if (error instanceof UninstallError) say(error.done);
        throw error;
      });
      say(done);
      context.stdout.write(done.length === 0 ? 'nothing of gate64 was on this node\n' : 'gate64 is off this node\n');
    });
}
