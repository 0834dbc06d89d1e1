// SPDX-License-Identifier: Apache-2.0
// `gate64 trace`: the walk of one flow, stage by stage, up to where it breaks; with --live, what becomes of one packet.

import { Command, InvalidArgumentError, Option } from 'commander';
import { formatEndpoint, formatIp4, formatIp6, parseIp6, type Endpoint } from '../../addr/ip.ts';
import type { SessionRow } from '../../datapath/datapath.ts';
import { Gate64Error } from '../../errors.ts';
import type { ProbeResult } from '../../host/probe.ts';
import { PROTOCOLS, type Protocol } from '../../model/binding.ts';
import { endpointArgument, positiveInteger } from '../arguments.ts';
import { configInForce } from '../config.ts';
import type { CliContext, Output } from '../context.ts';
import { defaultServer } from '../default-server.ts';
import { EXIT_PROBLEM, ExitCode } from '../exit.ts';
import { outputOption, type OutputOptions } from '../output.ts';
import { bad, good, wrap } from '../render.ts';
import { namedSession, sessionJson } from '../rows.ts';
import type { Destination } from '../trace/facts.ts';
import { answerStage, dropGrowth, sessionStage, type DropGrowth } from '../trace/live-stages.ts';
import { flowSessions, observe, type FlowKey } from '../trace/observe.ts';
import { ok, type Stage } from '../trace/stage.ts';
import { traceStages } from '../trace/stages.ts';

interface TraceOptions extends OutputOptions {
  readonly config?: string;
  readonly proto: Protocol;
  readonly server?: Endpoint;
  readonly live?: boolean;
  readonly netns?: string;
}

const PROBE_TIMEOUT_MS = 3000;

export function traceCommand(context: CliContext): Command {
  return new Command('trace')
    .summary('walk one flow: where does it stop, and what to do')
    .description(
      'Walks the way of one flow: its name, route, device, policy, port, way out and reply. Says at each stage whether ' +
        'it is fine, stops where it breaks, and says what to do. Changes nothing; --live sends one packet.',
    )
    .argument('<source>', "the pod's IPv6 address", sourceArgument)
    .argument('<destination>', 'a name, an IPv4 address, or an IPv6 address under the prefix')
    .argument('[port]', 'the destination port (default: any)', portArgument)
    .addOption(new Option('--proto <protocol>', 'the protocol').choices(PROTOCOLS).default('tcp'))
    .option('--live', 'send one probe (TCP SYN, UDP datagram, ping) from this node and show what becomes of it')
    .option('--netns <name|pid>', "with --live: send it from this network namespace, a pod's")
    .option(
      '--server <address>',
      'the resolver to ask for a name (default: dns.listen; where DNS runs elsewhere that of /etc/resolv.conf)',
      endpointArgument,
    )
    .option('-c, --config <file>', 'the configuration file')
    .addOption(outputOption())
    .addHelpText(
      'after',
      '\nExit codes: 0 no stage is a problem, 1 one is, 2 called wrongly.\n' +
        'JSON: { source, destination, destination6, protocol, port, stages: [{ stage, verdict, message, remedy, ' +
        'command }], live: { outcome, what, ms, sourcePort, session, dropped } }; verdicts are ok, problem, unknown.',
    )
    .action(async (source: Uint8Array, destination: string, port: number | undefined, options: TraceOptions) => {
      const { config, refused } = configInForce(options.config, context);
      const { proto: protocol } = options;
      if (options.netns !== undefined && options.live !== true)
        throw new Gate64Error('G64_USAGE', '--netns is for --live');
      if (options.live === true && protocol !== 'icmp' && port === undefined) {
        throw new Gate64Error('G64_USAGE', `--live needs a port for ${protocol}`);
      }
      const server = options.server ?? defaultServer(config);
      const facts = await observe({ config, source, destination, protocol, port, server }, context);
      const walked = traceStages(facts);
      // A reply that did not come before says nothing about the next probe.
      const goesOn =
        options.live === true &&
        facts.destination !== undefined &&
        walked.every((stage) => isFine(stage) || stage.stage === 'reply');
      const stages: Stage[] = [];
      const isTable = (options.output ?? (context.stdout.isTerminal ? 'table' : 'json')) === 'table';
      const show = (stage: Stage) => {
        stages.push(stage);
        if (isTable) context.stdout.write(stageText(stage, context.stdout));
      };
      // A probe says by itself what came back.
      for (const stage of walked) if (!goesOn || stage.stage !== 'reply') show(stage);
      const key = { source, protocol, port };
      const live = goesOn
        ? await probeLive({ ...key, destination: facts.destination as Destination }, options.netns, context, show)
        : null;
      if (!isTable) {
        const json = {
          source: formatIp6(source),
          destination: facts.destination === undefined ? null : formatIp4(facts.destination.v4),
          destination6: facts.destination === undefined ? null : formatIp6(facts.destination.v6),
          protocol,
          port: port ?? null,
          stages: stages.map(({ remedy = null, command = null, ...stage }) => ({ ...stage, remedy, command })),
          live,
        };
        context.stdout.write(`${JSON.stringify(json, null, 2)}\n`);
      }
      if (!stages.every(isFine) || refused) throw new ExitCode(EXIT_PROBLEM);
    });
}

function isFine({ verdict }: Stage): boolean {
  return verdict !== 'problem';
}

async function probeLive(key: FlowKey, netns: string | undefined, context: CliContext, show: (stage: Stage) => void) {
  using reader = await context.openReader();
  const { protocol, source, destination } = key;
  const dropsBefore = reader.drops();
  const read = () => reader.sessions({ sources: [{ v6: source, length: 128 }], protocol });
  const known = flowSessions(read(), key);
  const growth = () => dropGrowth(dropsBefore, reader.drops());
  let sourcePort = 0;
  const find = (rows: readonly SessionRow[]) =>
    flowSessions(rows, key).find((row) => protocol === 'icmp' || row.source.port === sourcePort);
  const request = {
    protocol,
    source: formatIp6(source),
    destination: formatIp6(destination.v6),
    port: key.port ?? 0,
    timeoutMs: PROBE_TIMEOUT_MS,
    netns,
  };
  const words = { tcp: 'TCP SYN', udp: 'UDP datagram', icmp: 'ICMPv6 echo request' }[protocol];
  const from = netns === undefined ? 'from this node' : `from the namespace ${netns}`;
  let after: SessionRow | undefined;
  let dropped: DropGrowth[] = [];
  const result: ProbeResult = await context.probe(request, async (port) => {
    sourcePort = port;
    show(
      ok('probe', `${words} sent ${from}${port === 0 ? '' : ` by ${formatEndpoint({ host: request.source, port })}`}`),
    );
    await settle();
    after = find(read());
    dropped = growth();
    show(sessionStage(after, dropped));
  });
  after = find(read()) ?? after;
  dropped = growth();
  const before =
    after && known.find((row) => row.source.port === after?.source.port && row.createdAt === after.createdAt);
  show(answerStage(result, { before, after }, dropped));
  return {
    ...result,
    sourcePort,
    session: after === undefined ? null : sessionJson(namedSession(after, undefined, context.now()), context.now()),
    dropped,
  };
}

/** Long enough for the data plane to have seen a packet that was just sent. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 50));
}

const NAME_WIDTH = 8;
const MAX_WIDTH = 110;

function stageText({ stage, verdict, message, remedy, command }: Stage, output: Output): string {
  const paint = { ok: good, problem: bad, unknown: (text: string) => text }[verdict];
  const indent = ' '.repeat(NAME_WIDTH + 9);
  const width = Math.max(30, Math.min(MAX_WIDTH, output.width) - indent.length);
  const lines = wrap(message, width).join(`\n${indent}`);
  const todo = remedy === undefined ? '' : `${indent}to do: ${wrap(remedy, width - 7).join(`\n${indent}       `)}\n`;
  const run = command === undefined ? '' : `${indent}run: ${command}\n`;
  return `${stage.padEnd(NAME_WIDTH)} ${paint(verdict.padEnd(7), output)} ${lines}\n${todo}${run}`;
}

function sourceArgument(text: string): Uint8Array {
  try {
    return parseIp6(text);
  } catch {
    throw new InvalidArgumentError(`"${text}" is not an IPv6 address`);
  }
}

function portArgument(text: string): number {
  const port = positiveInteger(text);
  if (port > 65535) throw new InvalidArgumentError(`"${text}" is not a port`);
  return port;
}
