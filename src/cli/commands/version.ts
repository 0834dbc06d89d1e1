// SPDX-License-Identifier: Apache-2.0
// `gate64 version`: versions of gate64, of Node and of the kernel, as bug reports want them.

import { release } from 'node:os';
import { Command } from 'commander';
import { gate64Version } from '../../telemetry/version.ts';
import type { CliContext } from '../context.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { renderPairs } from '../render.ts';

export function versionCommand(context: CliContext): Command {
  return new Command('version')
    .summary('print the version')
    .description('Prints the versions of gate64, Node.js and the kernel.')
    .addOption(outputOption())
    .action((options: OutputOptions) => {
      const versions = { gate64: gate64Version(), nodejs: process.versions.node, kernel: release() };
      emit(context.stdout, options, versions, () => renderPairs(Object.entries(versions)));
    });
}
