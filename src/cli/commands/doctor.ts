// SPDX-License-Identifier: Apache-2.0
// `gate64 doctor`: what is wrong with this node, and the command that mends it; whether the service that runs is ready.

import { Command } from 'commander';
import { formatEndpoint, type Endpoint } from '../../addr/ip.ts';
import type { Config } from '../../config/config.ts';
import { Gate64Error } from '../../errors.ts';
import type { Examination } from '../../host/examine.ts';
import { FINDINGS, type Finding } from '../../plan/findings.ts';
import { endpointArgument } from '../arguments.ts';
import { configOrDefaults } from '../config.ts';
import type { CliContext, Output } from '../context.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';
import { fix, type Fix } from '../fix.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { bad, good } from '../render.ts';
import { resolverFindings } from '../resolver-findings.ts';

interface DoctorOptions extends OutputOptions {
  readonly config?: string;
  readonly fix?: boolean;
  readonly server?: Endpoint;
}

/** What the JSON has of the service. */
interface ServiceAnswer {
  readonly at: string;
  readonly running: boolean;
  /** Null while none runs, or it does not answer. */
  readonly ready: boolean | null;
  /** What it says of each half, or why it does not answer; empty while none runs. */
  readonly says: readonly string[];
}

const NO_NAT64 = 'nat64.enabled is false, and DNS alone asks nothing of the node';

const NO_CONFIG = 'its configuration is wrong, and none is known that was accepted before';

export function doctorCommand(context: CliContext): Command {
  return new Command('doctor')
    .summary('show what is wrong with this node, and what mends it')
    .description(
      'Looks at the node as the service does at its start, asks each upstream over UDP and TCP, and shows every finding with what to do about it, as a shell ' +
        'command ("run:") where there is one. Asks the service whether it is ready, if one runs; else tries to listen where it would. Changes nothing without --fix.',
    )
    .option(
      '-c, --config <file>',
      'the configuration file (default: /etc/gate64/gate64.yaml, else that of the service)',
    )
    .option(
      '--fix',
      'run the commands that touch nothing but what is of gate64 or a sysctl that it documents, then look again',
    )
    .option(
      '--server <address>',
      'the resolver that pods ask, such as CoreDNS, with or without a port: whether it forwards to gate64',
      endpointArgument,
    )
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExit codes: 0 no finding is an error (warnings and the service do not count), 1 one is, 2 called wrongly; with --fix as after the second look.\n' +
        'JSON: { healthy, unseen, findings: [{ name, severity, code, message, remedy, command }], ' +
        'service: { at, running, ready, says }, ran: [{ name, command, exit, says }] }',
    )
    .action(async (options: DoctorOptions) => {
      const { config, warnings, refused, isGuess } = configOrDefaults(options.config, context);
      for (const warning of warnings) context.stderr.write(`${warning}\n`);
      const look = () => (isGuess ? { findings: [], unseen: NO_CONFIG } : examine(config, context));
      const before = options.fix === true ? await look() : undefined;
      const ran = before === undefined ? [] : await fix(before.findings, context);
      const { server } = options;
      const [node, upstreams, resolver, service] = await Promise.all([
        before === undefined || ran.length > 0 ? look() : before,
        isGuess ? [] : context.checkUpstreams(config),
        isGuess || server === undefined ? [] : resolverFindings(server, config, context),
        ask(context, config.http.listen),
      ]);
      const listen = isGuess || service.running ? [] : await context.checkListen(config);
      const first = refused === undefined ? [] : [refusedFinding(refused)];
      const seen = { ...node, findings: [...first, ...node.findings, ...listen, ...upstreams, ...resolver] };
      const isSick = seen.findings.some(({ severity }) => severity === 'error');
      const json = {
        healthy: seen.findings.length === 0 && service.ready !== false && !(service.running && service.ready === null),
        unseen: seen.unseen ?? null,
        findings: seen.findings.map(findingJson),
        service,
        ran,
      };
      emit(context.stdout, options, json, () =>
        [
          ...ran.flatMap((one) => fixLines(one, context.stdout)),
          ...nodeLines(seen, context.stdout),
          ...serviceLines(service, context.stdout),
          '',
        ].join('\n'),
      );
      if (isSick) throw new ExitCode(EXIT_PROBLEM);
    });
}

function examine(config: Config, context: CliContext): Promise<Examination> | Examination {
  return config.nat64.enabled ? context.examine(config) : { findings: [], unseen: NO_NAT64 };
}

function refusedFinding({ message }: Error): Finding {
  const remedy = 'mend the file; the service takes it within seconds, without a restart';
  return { name: 'configuration-refused', severity: 'error', message: message.replaceAll('\n', '; '), remedy };
}

async function ask(context: CliContext, listen: Endpoint): Promise<ServiceAnswer> {
  const at = formatEndpoint(listen);
  try {
    const answer = await context.fetchReadiness(listen);
    if (answer === undefined) return { at, running: false, ready: null, says: [] };
    return { at, running: true, ready: answer.ready, says: answer.says };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return { at, running: true, ready: null, says: [error.message] };
  }
}

function findingJson({ name, severity, message, remedy, command }: Finding): object {
  return { name, severity, code: FINDINGS[name].code, message, remedy: remedy ?? null, command: command ?? null };
}

function fixLines({ name, command, exit, says }: Fix, output: Output): string[] {
  const how =
    exit === 0 ? good('done', output) : bad(exit === null ? 'failed' : `failed with exit code ${exit}`, output);
  return [`ran for ${name}: ${command}: ${how}`, ...says.map((line) => `  ${line}`)];
}

function nodeLines({ findings, unseen }: Examination, output: Output): string[] {
  const lines = findings.flatMap(({ name, severity, message, remedy, command }) => [
    `${severity === 'error' ? bad(severity, output) : severity}: ${name}: ${message}`,
    ...(remedy === undefined ? [] : [`  to do: ${remedy}`]),
    ...(command === undefined ? [] : [`  run: ${command}`]),
  ]);
  if (unseen !== undefined) return [...lines, `the node was not looked at: ${unseen}`];
  return lines.length > 0 ? lines : [good('nothing is wrong with this node', output)];
}

function serviceLines({ at, running, ready, says }: ServiceAnswer, output: Output): string[] {
  if (!running) return [`no service runs: nothing answers at ${at}`];
  if (ready === true) return [`the service at ${at} is ${good('ready', output)}`];
  const what = ready === null ? 'does not answer' : 'is not ready';
  return [`the service at ${at} ${bad(what, output)}:`, ...says.map((line) => `  ${line}`)];
}
