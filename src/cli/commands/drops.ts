// SPDX-License-Identifier: Apache-2.0
// `gate64 drops`: why packets were refused, how many, and the last one of each kind.

import { Command } from 'commander';
import type { DropRow } from '../../datapath/datapath.ts';
import { packetText } from '../../nat64/views.ts';
import { DROP_TEXTS } from '../../model/drops.gen.ts';
import type { CliContext } from '../context.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { durationText } from '../../model/words.ts';
import { renderTable, wrap, type Column } from '../render.ts';
import { dropJson, seconds } from '../rows.ts';

interface DropsOptions extends OutputOptions {
  readonly explain?: boolean;
}

export function dropsCommand(context: CliContext): Command {
  return new Command('drops')
    .summary('show why packets were refused')
    .description('Shows the reasons packets were refused for, how many, and the last packet of each.')
    .option('--explain', 'say what each reason means and what to do')
    .addOption(outputOption())
    .action(async (options: DropsOptions) => {
      using reader = await context.openReader();
      const rows = reader.drops();
      const explain = options.explain === true;
      const json = rows.map((row) => ({
        ...dropJson(row),
        ...(explain ? { explanation: DROP_TEXTS[row.reason] } : {}),
      }));
      emit(context.stdout, options, json, () => {
        const table = renderTable(columns(context.now()), rows, context.stdout, 'no packet was refused');
        return explain && rows.length > 0 ? `${table}\n${explanations(rows, context.stdout.width)}` : table;
      });
    });
}

const MAX_TEXT_WIDTH = 100;
const INDENT = '    ';

function explanations(rows: readonly DropRow[], terminalWidth: number): string {
  const width = Math.max(20, Math.min(MAX_TEXT_WIDTH, terminalWidth) - INDENT.length);
  return [...new Set(rows.map((row) => row.reason))]
    .map((reason) => [reason, ...wrap(DROP_TEXTS[reason], width).map((line) => INDENT + line)].join('\n') + '\n')
    .join('');
}

function columns(now: number): Column<DropRow>[] {
  return [
    { title: 'REASON', text: (row) => row.reason },
    { title: 'DIRECTION', text: (row) => row.direction },
    { title: 'COUNT', text: (row) => String(row.count), align: 'right' },
    {
      title: 'LAST SEEN',
      text: ({ last }) => (last === undefined ? '-' : `${durationText(seconds(now - last.at))} ago`),
      align: 'right',
      rank: 1,
    },
    { title: 'LAST PACKET', text: ({ last }) => (last === undefined ? '-' : packetText(last)), rank: 2 },
  ];
}
