// SPDX-License-Identifier: Apache-2.0
// `gate64 top`: which pods, names and destinations carry most now, from the pinned maps, also while the service is down.

import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import type { DatapathReader, SessionRow } from '../../datapath/datapath.ts';
import type { NameFound } from '../../names/name-table.ts';
import { TrafficReading, type Traffic, type TrafficBy } from '../../nat64/traffic.ts';
import { durationArgument, positiveInteger } from '../arguments.ts';
import type { CliContext, Output } from '../context.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { bytesText } from '../../model/words.ts';
import { isoTime, renderTable, shorten, type Column } from '../render.ts';
import { namedSession } from '../rows.ts';

const BY = ['pods', 'names', 'destinations'] as const satisfies readonly TrafficBy[];
const ORDERS = ['bytes', 'new'] as const;
const DEFAULT_INTERVAL_SECONDS = 2;
const DEFAULT_LIMIT = 20;

/** To the upper left; what is right of a line, and below the last one, is cleared, so that nothing flickers. */
const HOME = '\u001b[H';
const CLEAR_ALL = '\u001b[2J';
const CLEAR_LINE = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';

interface TopOptions extends OutputOptions {
  readonly by?: TrafficBy;
  readonly sort: (typeof ORDERS)[number];
  readonly interval: number;
  readonly limit: number;
}

export function topCommand(context: CliContext): Command {
  return new Command('top')
    .summary('show which pods, names and destinations carry most now')
    .description(
      'Shows bytes and new sessions a second by pod, name and destination, the busiest first, anew each interval until ' +
        'stopped. Into a pipe or as JSON, those of one interval. What sessions carried that ended meanwhile is not in it.',
    )
    .addOption(new Option('--by <what>', 'sums of pods, names or destinations alone').choices(BY))
    .addOption(new Option('--sort <order>', 'by bytes or by new sessions').choices(ORDERS).default('bytes'))
    .option(
      '--interval <duration>',
      'time between two readings, a second at least: 2s, 1m …',
      durationArgument,
      DEFAULT_INTERVAL_SECONDS,
    )
    .option('--limit <n>', 'show at most so many', positiveInteger, DEFAULT_LIMIT)
    .addOption(outputOption())
    .action(async (options: TopOptions) => {
      const { stdout, signal } = context;
      const isLive = stdout.isTerminal && options.output !== 'json';
      using reader = await context.openReader();
      let before = reading(reader, context);
      if (isLive) stdout.write(CLEAR_ALL);
      for (;;) {
        await sleep(Math.max(1, options.interval) * 1000, undefined, { signal }).catch(() => undefined);
        if (signal.aborted) return;
        const after = reading(reader, context);
        const rows = after.since(before, namesNow(context), options.by, options.sort);
        const shown = rows.slice(0, options.limit);
        const seconds = after.secondsSince(before);
        if (isLive) stdout.write(screen(table(shown, rows.length, options, stdout)));
        else emit(stdout, options, json(shown, seconds, context), () => table(shown, rows.length, options, stdout));
        if (!isLive) return;
        before = after;
      }
    });
}

function reading(reader: DatapathReader, context: CliContext): TrafficReading {
  return new TrafficReading(reader.sessions(), context.now(), performance.now());
}

/** As the file of names is now. */
function namesNow(context: CliContext): (row: SessionRow) => NameFound | undefined {
  const names = context.readNames();
  const now = context.now();
  return (row) => namedSession(row, names, now).name;
}

function screen(text: string): string {
  return `${HOME}${text.replaceAll('\n', `${CLEAR_LINE}\n`)}${CLEAR_BELOW}`;
}

function json(rows: readonly Traffic[], seconds: number, context: CliContext) {
  const round = (value: number) => Math.round(value * 100) / 100;
  return {
    at: isoTime(context.now()),
    intervalSeconds: round(seconds),
    rows: rows.map((row) => ({
      pod: row.pod ?? null,
      name: row.name ?? null,
      nameGuessed: row.isGuess,
      destination: row.destination ?? null,
      bytesOutPerSecond: round(row.bytesOutPerSecond),
      bytesInPerSecond: round(row.bytesInPerSecond),
      newSessionsPerSecond: round(row.newSessionsPerSecond),
      sessions: row.sessions,
    })),
  };
}

function table(rows: readonly Traffic[], all: number, { by }: TopOptions, output: Output): string {
  const rest = all > rows.length ? `${rows.length} of ${all}; --limit ${all} shows all\n` : '';
  return renderTable(columns(by, output), rows, output, 'no sessions') + rest;
}

function columns(by: TrafficBy | undefined, output: Output): Column<Traffic>[] {
  const what: Readonly<Record<TrafficBy, Column<Traffic>>> = {
    pods: { title: 'POD', text: (row) => row.pod ?? '-' },
    names: { title: 'NAME', text: (row) => nameText(row, by, output) },
    destinations: { title: 'DESTINATION', text: (row) => row.destination ?? '-', ...(by === undefined && { rank: 3 }) },
  };
  const rate = (bytes: number) => `${bytesText(Math.round(bytes))}/s`;
  return [
    ...(by === undefined ? BY : [by]).map((each) => what[each]),
    { title: 'OUT', text: (row) => rate(row.bytesOutPerSecond), align: 'right' },
    { title: 'IN', text: (row) => rate(row.bytesInPerSecond), align: 'right' },
    { title: 'NEW/S', text: (row) => row.newSessionsPerSecond.toFixed(1), align: 'right', rank: 1 },
    { title: 'SESSIONS', text: (row) => String(row.sessions), align: 'right', rank: 2 },
  ];
}

/** A guess has a question mark; without a name, by names, the address stands. */
function nameText({ name, destination, isGuess }: Traffic, by: TrafficBy | undefined, output: Output): string {
  if (name === undefined) return by === 'names' ? (destination ?? '-') : '-';
  return shorten(name, output) + (isGuess ? '?' : '');
}
