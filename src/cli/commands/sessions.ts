// SPDX-License-Identifier: Apache-2.0
// `gate64 sessions`: the session table (RFC 6146 §3.2), the most recently used first.

import { Command, Option } from 'commander';
import { ip6InNet, parseIp4, parseIp6 } from '../../addr/ip.ts';
import { extractWithAny } from '../../addr/rfc6052.ts';
import type { Config } from '../../config/config.ts';
import { PROTOCOLS, type Protocol } from '../../model/binding.ts';
import { type SessionRow, type SessionState } from '../../datapath/datapath.ts';
import { Gate64Error } from '../../errors.ts';
import type { NameTable } from '../../names/name-table.ts';
import { filterSessions, type SessionFilter } from '../../nat64/views.ts';
import { endpointArgument, ip6NetArgument, netArgument, positiveInteger } from '../arguments.ts';
import { configInForce } from '../config.ts';
import type { CliContext, Output } from '../context.ts';
import { defaultServer } from '../default-server.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { bytesText, durationText } from '../../model/words.ts';
import { renderTable, shorten, type Column } from '../render.ts';
import { namedSession, seconds, sessionJson, text4, text6, type NamedSession } from '../rows.ts';

const STATES = [
  'open',
  'v4Init',
  'v6Init',
  'established',
  'v4FinReceived',
  'v6FinReceived',
  'bothFinReceived',
  'transitory',
] as const satisfies readonly SessionState[];

interface SessionsOptions extends OutputOptions {
  readonly config?: string;
  readonly src?: ReturnType<typeof ip6NetArgument>;
  readonly dst?: ReturnType<typeof netArgument>;
  readonly proto?: Protocol;
  readonly state?: SessionState;
  readonly name?: string;
  readonly server?: ReturnType<typeof endpointArgument>;
  readonly limit?: number;
}

export function sessionsCommand(context: CliContext): Command {
  return new Command('sessions')
    .summary('list the sessions')
    .description('Lists the sessions, the most recently used first.')
    .option('--src <cidr>', "the pod's IPv6 address or network", ip6NetArgument)
    .option('--dst <cidr>', 'the destination: an IPv4 network, or an IPv6 one as pods write it', netArgument)
    .addOption(new Option('--proto <protocol>', 'the protocol').choices(PROTOCOLS))
    .addOption(new Option('--state <state>', 'the state').choices(STATES))
    .option('--name <name>', 'the name that the pod asked for, or *.SUFFIX')
    .option(
      '--server <address>',
      'with --name: also what this resolver answers for it now (without names of its own on the node: as resolve)',
      endpointArgument,
    )
    .option('--limit <n>', 'list at most so many', positiveInteger)
    .option('-c, --config <file>', 'the configuration file')
    .addOption(outputOption())
    .action(async (options: SessionsOptions) => {
      const names = context.readNames();
      const isNamed = options.name === undefined ? undefined : await nameFilter(options.name, options, names, context);
      using reader = await context.openReader();
      const now = context.now();
      const filter = filterOf({ ...options, limit: undefined });
      const rows = filterSessions(reader.sessions(filter), filter)
        .map((row) => namedSession(row, names, now))
        .filter((row) => isNamed?.(row) ?? true);
      const shown = rows.slice(0, options.limit);
      emit(
        context.stdout,
        options,
        shown.map((row) => sessionJson(row, now)),
        () =>
          renderTable(columns(now, context.stdout), shown, context.stdout, 'no sessions') +
          (shown.length < rows.length
            ? `${shown.length} of ${rows.length} sessions; --limit ${rows.length} lists all\n`
            : ''),
      );
    });
}

type FilterOptions = Omit<SessionsOptions, 'limit'> & { readonly limit: undefined };

/** By the names that are kept, and by what a resolver says where one is named or nothing is kept. */
async function nameFilter(
  name: string,
  options: SessionsOptions,
  names: NameTable | undefined,
  context: CliContext,
): Promise<(row: NamedSession) => boolean> {
  const matches = nameMatcher(name);
  const asks = !name.startsWith('*.') && (options.server !== undefined || names === undefined);
  const destinations = asks ? await destinationsOf(name, options, context) : new Set<number>();
  return (row) => (row.name !== undefined && matches(row.name.name)) || destinations.has(row.destination.v4);
}

/** DNS names are compared without case (RFC 4343) and without the final dot. */
function nameMatcher(pattern: string): (name: string) => boolean {
  const wanted = pattern.toLowerCase().replace(/(?<=[^.])\.$/, '');
  return wanted.startsWith('*.') ? (name) => name.endsWith(wanted.slice(1)) : (name) => name === wanted;
}

function filterOf(options: FilterOptions): SessionFilter {
  const { src, dst, proto, state } = options;
  const destinations = dst?.family === 4 ? [dst.net] : undefined;
  const where = (row: SessionRow) => dst?.family !== 6 || ip6InNet(row.destination6, dst.net);
  return {
    where,
    ...(src === undefined ? {} : { sources: [src] }),
    ...(destinations === undefined ? {} : { destinations }),
    ...(proto === undefined ? {} : { protocol: proto }),
    ...(state === undefined ? {} : { state }),
  };
}

/** The IPv4 addresses behind a name: its A records, and what its AAAA records embed. */
async function destinationsOf(name: string, options: SessionsOptions, context: CliContext): Promise<Set<number>> {
  const { config } = configInForce(options.config, context);
  const server = options.server ?? defaultServer(config);
  const { prefixes } = config;
  const [a, aaaa] = await Promise.all([context.lookup(server, name, 'A'), context.lookup(server, name, 'AAAA')]);
  const embedded = aaaa.records.flatMap(({ address }) => extractText(address, prefixes));
  const found = new Set([...a.records.map(({ address }) => parseIp4(address)), ...embedded]);
  if (found.size === 0) {
    throw new Gate64Error('G64_DNS_UPSTREAM', `"${name}" leads to no IPv4 address`, {
      hint: `gate64 resolve ${name} shows what the resolver answers`,
    });
  }
  return found;
}

function extractText(address: string, prefixes: Config['prefixes']): number[] {
  const found = extractWithAny(prefixes, parseIp6(address));
  return found === undefined ? [] : [found.v4];
}

function columns(now: number, output: Output): Column<NamedSession>[] {
  return [
    { title: 'PROTO', text: (row) => row.protocol },
    { title: 'STATE', text: (row) => row.state },
    { title: 'SOURCE', text: (row) => text6(row.source) },
    { title: 'POOL', text: (row) => text4(row.pool) },
    { title: 'DESTINATION', text: (row) => text4(row.destination) },
    { title: 'NAME', text: (row) => nameText(row.name, output), rank: 1 },
    { title: 'IDLE', text: (row) => durationText(seconds(now - row.lastSeenAt)), align: 'right', rank: 3 },
    { title: 'EXPIRES', text: (row) => durationText(seconds(row.expiresAt - now)), align: 'right', rank: 2 },
    { title: 'OUT', text: (row) => bytesText(row.bytesOut), align: 'right', rank: 4 },
    { title: 'IN', text: (row) => bytesText(row.bytesIn), align: 'right', rank: 4 },
  ];
}

/** A guess has a question mark. */
function nameText(found: NamedSession['name'], output: Output): string {
  if (found === undefined) return '-';
  return shorten(found.name, output) + (found.isGuess ? '?' : '');
}
