// SPDX-License-Identifier: Apache-2.0
// `gate64 pool`: the pool's addresses, how full they are, and who holds which block of ports (RFC 6888 REQ-3, REQ-4).

import { Command } from 'commander';
import { formatIp4, formatIp6 } from '../../addr/ip.ts';
import type { BlockRow } from '../../datapath/datapath.ts';
import { poolUsage, type AddressUsage } from '../../nat64/views.ts';
import type { CliContext } from '../context.ts';
import { emit, outputOption, type OutputOptions } from '../output.ts';
import { durationText } from '../../model/words.ts';
import { renderTable, type Column } from '../render.ts';
import { blockJson, seconds } from '../rows.ts';

export function poolCommand(context: CliContext): Command {
  return new Command('pool')
    .summary('show pool addresses, blocks of ports and who holds them')
    .description('Shows the addresses of the pool, how full they are, and which pod holds which block of ports.')
    .addOption(outputOption())
    .action(async (options: OutputOptions) => {
      using reader = await context.openReader();
      const blocks = reader.blocks().sort((a, b) => a.v4 - b.v4 || a.firstPort - b.firstPort);
      const addresses = poolUsage(blocks);
      const leased = blocks.filter((block) => block.state === 'leased');
      const json = { addresses: addresses.map(addressJson), blocks: blocks.map(blockJson) };
      emit(context.stdout, options, json, () => {
        const now = context.now();
        return [
          renderTable(ADDRESS_COLUMNS, addresses, context.stdout, 'the pool is empty'),
          renderTable(blockColumns(now), leased, context.stdout, 'no pod holds a block'),
        ].join('\n');
      });
    });
}

function addressJson(usage: AddressUsage) {
  return { address: formatIp4(usage.v4), ports: usage.ports, blocks: usage.blocks };
}

const ADDRESS_COLUMNS: readonly Column<AddressUsage>[] = [
  { title: 'ADDRESS', text: (row) => formatIp4(row.v4) },
  { title: 'PORTS', text: (row) => String(row.ports.total), align: 'right' },
  { title: 'TCP', text: (row) => String(row.ports.used.tcp), align: 'right' },
  { title: 'UDP', text: (row) => String(row.ports.used.udp), align: 'right' },
  { title: 'ICMP', text: (row) => String(row.ports.used.icmp), align: 'right' },
  { title: 'FREE BLOCKS', text: (row) => String(row.blocks.offered), align: 'right' },
  { title: 'LEASED', text: (row) => String(row.blocks.leased), align: 'right' },
  { title: 'RESTING', text: (row) => String(row.blocks.resting), align: 'right', rank: 2 },
  { title: 'RETIRED', text: (row) => String(row.blocks.retired), align: 'right', rank: 1 },
];

function blockColumns(now: number): Column<BlockRow>[] {
  return [
    { title: 'POD', text: (row) => (row.holder === undefined ? '-' : formatIp6(row.holder)) },
    { title: 'BLOCK', text: (row) => `${formatIp4(row.v4)}:${row.firstPort}-${row.firstPort + row.size - 1}` },
    {
      title: 'FOR',
      text: (row) => (row.since === undefined ? '-' : durationText(seconds(now - row.since))),
      align: 'right',
    },
    { title: 'TCP', text: (row) => String(row.used.tcp), align: 'right', rank: 1 },
    { title: 'UDP', text: (row) => String(row.used.udp), align: 'right', rank: 1 },
    { title: 'ICMP', text: (row) => String(row.used.icmp), align: 'right', rank: 1 },
  ];
}
