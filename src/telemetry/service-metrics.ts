// SPDX-License-Identifier: Apache-2.0
// The metrics of the service itself: its version and its configuration.

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
} as const satisfies Record<string, MetricDefinition>;

export class ServiceMetrics {
  readonly #reloadSuccessful: Gauge;
  readonly #reloadedAt: Gauge;

  constructor(metrics: Metrics, version: string) {
    this.#reloadSuccessful = metrics.gauge(SERVICE_METRICS.reloadSuccessful);
    this.#reloadedAt = metrics.gauge(SERVICE_METRICS.reloadedAt);
    metrics.gauge(SERVICE_METRICS.buildInfo).set({ version, nodejs: process.version }, 1);
  }

  /** Notes the outcome of reading the configuration. */
  configReloaded(successful: boolean, atMs: number = Date.now()): void {
    this.#reloadSuccessful.set(successful ? 1 : 0);
    if (successful) this.#reloadedAt.set(atMs / 1000);
  }
}
