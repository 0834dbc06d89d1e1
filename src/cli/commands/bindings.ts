// SPDX-License-Identifier: Apache-2.0
// `gate64 bindings`: the binding information base (RFC 6146 §3.1).

import { Command } from 'commander';
import { formatIp6 } from '../../addr/ip.ts';
import type { BindingRow } from '../../datapath/datapath.ts';
import type { CliContext } from '../context.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { durationText } from '../../model/words.ts';
import { renderTable, type Column } from '../render.ts';
import { bindingJson, seconds, text4, text6 } from '../rows.ts';

export function bindingsCommand(context: CliContext): Command {
  return new Command('bindings')
    .summary('list which pod port has which pool port')
    .description('Lists the bindings: which port of which pod has which port of the pool.')
    .addOption(outputOption())
    .action(async (options: OutputOptions) => {
      using reader = await context.openReader();
      const rows = reader.bindings().sort(bySource);
      const now = context.now();
      emit(context.stdout, options, rows.map(bindingJson), () =>
        renderTable(columns(now), rows, context.stdout, 'no bindings'),
      );
    });
}

function bySource(a: BindingRow, b: BindingRow): number {
  return (
    formatIp6(a.source.v6).localeCompare(formatIp6(b.source.v6)) ||
    a.protocol.localeCompare(b.protocol) ||
    a.source.port - b.source.port
  );
}

function columns(now: number): Column<BindingRow>[] {
  return [
    { title: 'PROTO', text: (row) => row.protocol },
    { title: 'SOURCE', text: (row) => text6(row.source) },
    { title: 'POOL', text: (row) => text4(row.pool) },
    { title: 'SESSIONS', text: (row) => String(row.sessions), align: 'right' },
    { title: 'KIND', text: (row) => (row.isStatic ? 'static' : 'dynamic'), rank: 2 },
    { title: 'AGE', text: (row) => durationText(seconds(now - row.createdAt)), align: 'right', rank: 1 },
  ];
}
