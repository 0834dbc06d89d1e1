// SPDX-License-Identifier: Apache-2.0
// Reads Prometheus's text format.

import type { Metrics } from '../../../src/telemetry/metrics.ts';

/** All but Node's own: `name{labels}` to value. */
export async function samples(metrics: Metrics): Promise<Map<string, number>> {
  const lines = (await metrics.text()).split('\n').filter((line) => /^(?!nodejs_|process_)\w/.test(line));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

/** The names of those whose name begins so, labels included. */
export function named(values: ReadonlyMap<string, number>, prefix: string): string[] {
  return [...values.keys()].filter((name) => name.startsWith(prefix));
}
