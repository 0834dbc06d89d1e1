// SPDX-License-Identifier: Apache-2.0
// `gate64 report`: which pods still need which IPv4-only names, those with the most sessions first.

import { Command, Option } from 'commander';
import type { SessionRow } from '../../datapath/datapath.ts';
import { usageOf } from '../../nat64/views.ts';
import { mergeUsage, type Usage } from '../../names/usage.ts';
import { durationArgument } from '../arguments.ts';
import type { CliContext, Output } from '../context.ts';
import { renderCsv } from '../csv.ts';
import { bytesText, durationText } from '../../model/words.ts';
import { isoTime, renderTable, shorten, type Column } from '../render.ts';
import { namedSession, seconds } from '../rows.ts';

interface ReportOptions {
  readonly since?: number;
  readonly output?: 'table' | 'json' | 'csv';
}

export function reportCommand(context: CliContext): Command {
  return new Command('report')
    .summary('list which pods still need which IPv4-only names')
    .description(
      'Lists which pods went by NAT64 to which names, with their sessions and bytes since the record began, those with ' +
        'the most sessions first. Where no name is known, the IPv4 address stands.',
    )
    .option('--since <duration>', 'only what was used in the last 30m, 12h, 7d …', durationArgument)
    .addOption(
      new Option('-o, --output <format>', 'table, json or csv (default: table on a terminal, else json)').choices([
        'table',
        'json',
        'csv',
      ]),
    )
    .action(async (options: ReportOptions) => {
      using reader = await context.openReader();
      const now = context.now();
      const from = options.since === undefined ? -Infinity : now - options.since * 1000;
      const rows = usageRows(reader.sessions(), context, now).filter(({ lastAt }) => lastAt >= from);
      const { stdout } = context;
      switch (options.output ?? (stdout.isTerminal ? 'table' : 'json')) {
        case 'csv':
          return stdout.write(csv(rows));
        case 'json':
          return stdout.write(`${JSON.stringify(rows.map(usageJson), null, 2)}\n`);
        default:
          return stdout.write(renderTable(columns(now, stdout), rows, stdout, 'no pod has used NAT64'));
      }
    });
}

/** Of sessions that have ended, as the service keeps them, and of those that run. */
function usageRows(sessions: readonly SessionRow[], context: CliContext, now: number): Usage[] {
  const names = context.readNames();
  return mergeUsage(
    context.readUsage(),
    sessions.map((row) => usageOf(row, namedSession(row, names, now).name)),
  );
}

function usageJson(row: Usage) {
  return {
    pod: row.pod,
    name: row.name ?? null,
    nameGuessed: row.isGuess,
    destination: row.destination,
    sessions: row.sessions,
    bytesOut: row.bytesOut,
    bytesIn: row.bytesIn,
    firstSeenAt: isoTime(row.firstAt),
    lastSeenAt: isoTime(row.lastAt),
  };
}

/** The columns are the keys of the JSON. */
const CSV_COLUMNS = [
  'pod',
  'name',
  'nameGuessed',
  'destination',
  'sessions',
  'bytesOut',
  'bytesIn',
  'firstSeenAt',
  'lastSeenAt',
] as const satisfies readonly (keyof ReturnType<typeof usageJson>)[];

function csv(rows: readonly Usage[]): string {
  const cells = rows.map(usageJson).map((row) =>
    CSV_COLUMNS.map((key) => {
      const value = row[key] ?? '';
      return typeof value === 'boolean' ? String(value) : value;
    }),
  );
  return renderCsv(CSV_COLUMNS, cells);
}

function columns(now: number, output: Output): Column<Usage>[] {
  return [
    { title: 'POD', text: (row) => row.pod },
    { title: 'NAME', text: (row) => nameText(row, output) },
    { title: 'SESSIONS', text: (row) => String(row.sessions), align: 'right' },
    { title: 'OUT', text: (row) => bytesText(row.bytesOut), align: 'right', rank: 2 },
    { title: 'IN', text: (row) => bytesText(row.bytesIn), align: 'right', rank: 2 },
    { title: 'LAST USED', text: (row) => `${durationText(seconds(now - row.lastAt))} ago`, align: 'right', rank: 1 },
  ];
}

function nameText({ name, destination, isGuess }: Usage, output: Output): string {
  return name === undefined ? destination : shorten(name, output) + (isGuess ? '?' : '');
}
