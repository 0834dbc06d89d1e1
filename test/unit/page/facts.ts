// SPDX-License-Identifier: Apache-2.0
// A service with a data plane whose rows are hostile, as the page's sources give it.

import { parseIp4, parseIp6 } from '../../../src/addr/ip.ts';
import type { DropRow, PodRow } from '../../../src/datapath/datapath.ts';
import type { Usage } from '../../../src/names/usage.ts';
import { usageOf } from '../../../src/nat64/views.ts';
import { gather, type PageDatapath, type PageSources } from '../../../src/page/gather.ts';
import type { PageFacts, Sample } from '../../../src/page/facts.ts';
import type { ServiceStatus } from '../../../src/telemetry/status.ts';
import { blockRow, MemoryReader, sessionRow, type ReaderRows } from '../../helpers/reader.ts';

export const NOW = Date.parse('2026-03-04T05:06:07.000Z');
const POD = parseIp6('2001:db8::5');

export const SERVICE: ServiceStatus = {
  version: '1.2.3',
  pid: 42,
  startedAt: '2026-03-04T03:00:00.000Z',
  draining: false,
  config: { file: '/etc/gate64/gate64.yaml', lastReload: { at: '2026-03-04T05:00:00.000Z', successful: true } },
  dns: {
    enabled: true,
    ready: true,
    reasons: [],
    listen: ['127.0.0.1:5364', '[::1]:5364'],
    upstreams: ['192.0.2.53:53'],
  },
  nat64: { enabled: true, ready: true, reasons: [], egress: 'direct', uplink: 'eth0', attach: 'tcx', adopted: false },
};

export const LONG_NAME = `${'<b>'.padEnd(63, 'a')}.`.repeat(4).slice(0, 255);

/** What nobody's name should be: markup, controls, writing that turns round, halves of characters, the longest. */
export const HOSTILE_NAMES = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(1)>',
  "' onmouseover='alert(1)",
  '</style></script><!--',
  'a\u0000b\u001b[31mc\u009d.example',
  'moc.elpmaxe\u202e.example',
  'zero\u200bwidth.example',
  'half\ud800.example',
  '&lt;kept&gt;',
  LONG_NAME,
];

export class PageReader extends MemoryReader implements PageDatapath {
  pods(): PodRow[] {
    const counts = new Map<string, PodRow>();
    for (const { source } of this.sessions()) {
      const key = Buffer.from(source.v6).toString('hex');
      counts.set(key, { pod: source.v6, sessions: (counts.get(key)?.sessions ?? 0) + 1 });
    }
    return [...counts.values()];
  }
}

const DROPS: readonly DropRow[] = [
  { reason: 'filtered', direction: '4to6', count: 7, last: undefined },
  {
    reason: 'dst_never',
    direction: '6to4',
    count: 12,
    last: {
      at: NOW - 65_000,
      source: '2001:db8::5',
      destination: '64:ff9b::a9fe:a9fe',
      protocol: 6,
      sourcePort: 40_000,
      destinationPort: 80,
      icmpType: null,
      icmpCode: null,
      length: 80,
    },
  },
];

export function fullRows(): ReaderRows {
  const leased = { state: 'leased', holder: POD, since: NOW - 90_000, used: { tcp: 3, udp: 1, icmp: 0 } } as const;
  return {
    sessions: [sessionRow(NOW), sessionRow(NOW, { source: { v6: POD, port: 40_001 }, protocol: 'udp', state: 'open' })],
    blocks: [
      blockRow(leased),
      blockRow({ index: 1, firstPort: 1280 }),
      blockRow({ index: 2, v4: parseIp4('192.0.2.2'), slot: 1, ...leased }),
    ],
    draining: [parseIp4('192.0.2.2')],
    drops: DROPS,
    mapFill: [{ map: 'flow6', entries: 2, maxEntries: 1_048_576 }],
  };
}

export function ended(names: readonly string[] = HOSTILE_NAMES): Usage[] {
  return names.map((name, i) => ({
    pod: `2001:db8::${i + 5}`,
    name,
    destination: '203.0.113.7',
    isGuess: i % 2 === 1,
    sessions: 100 - i,
    bytesOut: 1536 * (i + 1),
    bytesIn: 3_145_728,
    firstAt: NOW - 3_600_000,
    lastAt: NOW - 60_000,
  }));
}

export function sources(changes: Partial<PageSources> = {}): PageSources {
  const reader = new PageReader(fullRows());
  return {
    status: () => SERVICE,
    datapath: () => reader,
    ended: () => ended(),
    running: (row) => usageOf(row, undefined),
    look: () => ({
      at: NOW - 400_000,
      findings: [
        {
          name: 'pool-ports-ephemeral',
          severity: 'warning',
          message: 'the node hands out ports 32768-60999 of <192.0.2.1> to its own programs',
          remedy: 'Reserve them.',
          command: 'sysctl -w net.ipv4.ip_local_reserved_ports=32768-60999',
        },
      ],
    }),
    ...changes,
  };
}

export function samples(count: number): Sample[] {
  return Array.from({ length: count }, (_, i) => ({
    at: new Date(NOW - (count - 1 - i) * 10_000).toISOString(),
    sessions: { tcp: Math.round(40 + 30 * Math.sin(i / 9)), udp: i % 7, icmp: 0 },
  }));
}

export function facts(changes: Partial<PageSources> = {}, count = 200): PageFacts {
  return { ...gather(sources(changes), NOW), samples: samples(count), sampleSeconds: 10 };
}
