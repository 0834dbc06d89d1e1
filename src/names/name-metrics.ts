// SPDX-License-Identifier: Apache-2.0
// Metrics by name, of the names that carried most: as many as telemetry.namesInMetrics says, so that pods which ask for
// many names make no more series than that.

import type { MetricDefinition, Metrics } from '../telemetry/metrics.ts';
import type { UsageTable } from './usage.ts';

export const NAME_METRICS = {
  bytes: {
    name: 'gate64_nat64_name_bytes_total',
    type: 'counter',
    help: 'Bytes of sessions that have ended, by the name that pods asked for and direction, of the names with the most bytes (telemetry.namesInMetrics).',
    labels: ['name', 'direction'],
  },
  sessions: {
    name: 'gate64_nat64_name_sessions_total',
    type: 'counter',
    help: 'Sessions that have ended, by the name that pods asked for, of the names with the most bytes (telemetry.namesInMetrics).',
    labels: ['name'],
  },
} as const satisfies Record<string, MetricDefinition>;

interface Sum {
  bytesOut: number;
  bytesIn: number;
  sessions: number;
}

/** Registers them; they are read from `usage` at each scrape. `limit`: names at most; 0 is none. */
export function exposeNames(metrics: Metrics, usage: UsageTable, limit: () => number): void {
  const bytes = metrics.counter(NAME_METRICS.bytes);
  const sessions = metrics.counter(NAME_METRICS.sessions);
  metrics.onScrape({
    into: [bytes, sessions],
    read: () => {
      if (limit() === 0) return;
      for (const [name, sum] of busiest(usage, limit())) {
        bytes.inc({ name, direction: '6to4' }, sum.bytesOut);
        bytes.inc({ name, direction: '4to6' }, sum.bytesIn);
        sessions.inc({ name }, sum.sessions);
      }
    },
  });
}

/** Sessions without a name are in none. */
function busiest(usage: UsageTable, limit: number): [string, Sum][] {
  const sums = new Map<string, Sum>();
  for (const row of usage.rows()) {
    if (row.name === undefined) continue;
    const sum = sums.get(row.name) ?? { bytesOut: 0, bytesIn: 0, sessions: 0 };
    sum.bytesOut += row.bytesOut;
    sum.bytesIn += row.bytesIn;
    sum.sessions += row.sessions;
    sums.set(row.name, sum);
  }
  const total = ([, sum]: [string, Sum]) => sum.bytesOut + sum.bytesIn;
  return [...sums].sort((a, b) => total(b) - total(a)).slice(0, limit);
}
