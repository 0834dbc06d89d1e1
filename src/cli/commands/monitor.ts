// SPDX-License-Identifier: Apache-2.0
// `gate64 monitor`: what happens in the data plane, second by second, read from its counters; the service's own events
// are left to the service.

import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import type { DatapathReader, DropRow, PacketCounterRow } from '../../datapath/datapath.ts';
import type { CliContext } from '../context.ts';
import { positiveInteger } from '../arguments.ts';
import { emitLine, outputOption, type OutputOptions } from '../output.ts';
import { bytesText } from '../../model/words.ts';
import { isoTime } from '../render.ts';
import { dropJson } from '../rows.ts';
import { packetText } from '../../nat64/views.ts';

interface MonitorOptions extends OutputOptions {
  readonly drops?: boolean;
  readonly count?: number;
}

const INTERVAL_MS = 1000;

export function monitorCommand(context: CliContext): Command {
  return new Command('monitor')
    .summary('follow traffic and drops until stopped')
    .description(
      'Prints a line a second with packets and bytes each way, and a line for each reason that dropped packets.',
    )
    .option('--drops', 'drops only')
    .option('--count <n>', 'end after so many seconds', positiveInteger)
    .addOption(outputOption())
    .action(async (options: MonitorOptions) => {
      using reader = await context.openReader();
      let before = read(reader);
      for (let i = 0; i < (options.count ?? Infinity) && !context.signal.aborted; i++) {
        await sleep(INTERVAL_MS, undefined, { signal: context.signal }).catch(() => undefined);
        if (context.signal.aborted) break;
        const after = read(reader);
        report(before, after, options, context);
        before = after;
      }
    });
}

interface Reading {
  readonly drops: readonly DropRow[];
  readonly packets: readonly PacketCounterRow[];
}

function read(reader: DatapathReader): Reading {
  return { drops: reader.drops(), packets: reader.packetCounters() };
}

function report(before: Reading, after: Reading, options: MonitorOptions, context: CliContext): void {
  const at = isoTime(context.now());
  if (options.drops !== true) {
    const [out, back] = (['6to4', '4to6'] as const).map((direction) => difference(before, after, direction));
    emitLine(context.stdout, options, { at, type: 'traffic', out, in: back }, () => {
      return `${at}  out ${trafficText(out)}  in ${trafficText(back)}`;
    });
  }
  for (const row of after.drops) {
    const known = before.drops.find((other) => other.reason === row.reason && other.direction === row.direction);
    const more = row.count - (known?.count ?? 0);
    if (more <= 0) continue;
    const last = row.last === undefined ? '' : `  last: ${packetText(row.last)}`;
    emitLine(context.stdout, options, { at, type: 'drop', ...dropJson(row), more }, () => {
      return `${at}  drop ${row.reason} ${row.direction} +${more}${last}`;
    });
  }
}

interface Traffic {
  readonly packets: number;
  readonly bytes: number;
}

function difference(before: Reading, after: Reading, direction: string): Traffic {
  const total = (rows: readonly PacketCounterRow[], key: 'packets' | 'bytes') =>
    rows.filter((row) => row.direction === direction).reduce((sum, row) => sum + row[key], 0);
  return {
    packets: total(after.packets, 'packets') - total(before.packets, 'packets'),
    bytes: total(after.packets, 'bytes') - total(before.packets, 'bytes'),
  };
}

function trafficText(traffic: Traffic | undefined): string {
  return `${traffic?.packets ?? 0} packets ${bytesText(traffic?.bytes ?? 0)}`;
}
