// SPDX-License-Identifier: Apache-2.0
// The command line as a whole: the list of commands, and what becomes of their errors.

import { Command, CommanderError } from 'commander';
import { Gate64Error } from '../errors.ts';
import { gate64Version } from '../telemetry/version.ts';
import { addrCommand } from './commands/addr.ts';
import { bindingsCommand } from './commands/bindings.ts';
import { checkCommand } from './commands/check.ts';
import { doctorCommand } from './commands/doctor.ts';
import { dropsCommand } from './commands/drops.ts';
import { importCommand } from './commands/import.ts';
import { monitorCommand } from './commands/monitor.ts';
import { poolCommand } from './commands/pool.ts';
import { reportCommand } from './commands/report.ts';
import { resolveCommand } from './commands/resolve.ts';
import { runCommand } from './commands/run.ts';
import { sessionsCommand } from './commands/sessions.ts';
import { statusCommand } from './commands/status.ts';
import { traceCommand } from './commands/trace.ts';
import { topCommand } from './commands/top.ts';
import { uninstallCommand } from './commands/uninstall.ts';
import { versionCommand } from './commands/version.ts';
import type { CliContext } from './context.ts';
import { errorText } from './error-text.ts';
import { EXIT_FINE, EXIT_PROBLEM, EXIT_USAGE, ExitCode } from './exit.ts';

const COMMANDS = [
  runCommand,
  checkCommand,
  importCommand,
  doctorCommand,
  statusCommand,
  sessionsCommand,
  bindingsCommand,
  poolCommand,
  dropsCommand,
  monitorCommand,
  topCommand,
  reportCommand,
  traceCommand,
  resolveCommand,
  addrCommand,
  uninstallCommand,
  versionCommand,
];

export function buildProgram(context: CliContext): Command {
  const program = new Command('gate64')
    .description('DNS64 forwarder and NAT64 gateway: lets an IPv6-only network reach IPv4-only services.')
    .version(gate64Version(), '-V, --version')
    .option('--debug', 'print stack traces of errors')
    .addHelpText('after', '\nExit codes: 0 fine, 1 a problem was found, 2 called wrongly.');
  for (const make of COMMANDS) program.addCommand(make(context));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => context.stdout.write(text),
      writeErr: (text) => context.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'gate64: ')),
    });
  }
  return program;
}

/** Runs one command line (without node and script) and returns the exit code; throws nothing. */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  const program = buildProgram(context);
  try {
    await program.parseAsync(args, { from: 'user' });
    return EXIT_FINE;
  } catch (error) {
    // Help and version end in an error too, with code 0; what is left of commander's are usage errors, already told.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_FINE : EXIT_USAGE;
    if (error instanceof ExitCode) return error.exitCode;
    context.stderr.write(errorText(error, program.opts()['debug'] === true));
    return error instanceof Gate64Error && error.code === 'G64_USAGE' ? EXIT_USAGE : EXIT_PROBLEM;
  }
}
