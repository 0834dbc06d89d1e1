// SPDX-License-Identifier: Apache-2.0
// The metrics of the service itself, its version and its configuration, and of the node that it leans on.

import type { Gauge } from 'prom-client';
import type { MetricDefinition, Metrics } from './metrics.ts';

export const SERVICE_METRICS = {
  reloadSuccessful: {
    name: 'gate64_config_last_reload_successful',
    type: 'gauge',
    help: 'Whether the last reading of the configuration succeeded: 1, else 0 and the one before is in force.',
    labels: [],
  },
  reloadedAt: {
    name: 'gate64_config_last_reload_success_timestamp_seconds',
    type: 'gauge',
    help: 'When the configuration in force was read, in seconds since the epoch.',
    labels: [],
  },
  buildInfo: {
    name: 'gate64_build_info',
    type: 'gauge',
    help: 'Versions of gate64 and of the Node it runs on; the value is 1.',
    labels: ['version', 'nodejs'],
  },
  tracked: {
    name: 'gate64_node_tracked_flows',
    type: 'gauge',
    help: "Flows in the node's connection tracking, which egress masquerade needs.",
    labels: [],
  },
  trackedMax: {
    name: 'gate64_node_tracked_flows_max',
    type: 'gauge',
    help: "Flows that the node's connection tracking can hold; when it is full, packets of the whole node are dropped.",
    labels: [],
  },
} as const satisfies Record<string, MetricDefinition>;

export class ServiceMetrics {
  readonly #reloadSuccessful: Gauge;
  readonly #reloadedAt: Gauge;

  /** `tracked`: flows in the node's connection tracking, and how many it can hold; undefined where there is none. */
  constructor(metrics: Metrics, version: string, tracked: () => { now: number; max: number } | undefined) {
    this.#reloadSuccessful = metrics.gauge(SERVICE_METRICS.reloadSuccessful);
    this.#reloadedAt = metrics.gauge(SERVICE_METRICS.reloadedAt);
    const [now, max] = [metrics.gauge(SERVICE_METRICS.tracked), metrics.gauge(SERVICE_METRICS.trackedMax)];
    metrics.onScrape({
      into: [now, max],
      read: () => {
        const flows = tracked();
        if (flows === undefined) return;
        now.set(flows.now);
        max.set(flows.max);
      },
    });
    metrics.gauge(SERVICE_METRICS.buildInfo).set({ version, nodejs: process.version }, 1);
  }

  /** Notes the outcome of reading the configuration. */
  configReloaded(successful: boolean, atMs: number = Date.now()): void {
    this.#reloadSuccessful.set(successful ? 1 : 0);
    if (successful) this.#reloadedAt.set(atMs / 1000);
  }
}
