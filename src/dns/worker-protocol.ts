// SPDX-License-Identifier: Apache-2.0
// What the service and its DNS workers tell one another, as data that can be cloned.

import { Destinations, type DestinationRule } from '../addr/destinations.ts';
import { Gate64Error, type ErrorCode } from '../errors.ts';
import type { DnsListener, DnsOptions, DnsSettings, DnsStats } from './dns.ts';
import type { DnsSums } from './sums.ts';

export interface WorkerSettings {
  readonly settings: Omit<DnsSettings, 'destinations'>;
  readonly configured: readonly DestinationRule[];
}

export type ToWorker =
  | ({ readonly kind: 'apply'; readonly id: number } & WorkerSettings)
  | { readonly kind: 'destinations'; readonly rules: readonly DestinationRule[] }
  | { readonly kind: 'stop'; readonly id: number };

export interface WorkerState {
  readonly isReady: boolean;
  readonly stats: DnsStats;
  readonly listeners: readonly DnsListener[];
}

/** As OnSynthesized has them. */
export type Synthesized = readonly [name: string, v4: number, ttlSeconds: number, client: string];

export interface WorkerError {
  readonly message: string;
  readonly code?: ErrorCode | undefined;
  readonly hint?: string | undefined;
}

export type FromWorker =
  | {
      readonly kind: 'done';
      readonly id: number;
      readonly error?: WorkerError | undefined;
      readonly state?: WorkerState;
    }
  | { readonly kind: 'log'; readonly level: 'warn' | 'info'; readonly fields: object; readonly message: string }
  | {
      readonly kind: 'report';
      readonly state: WorkerState | undefined;
      readonly sums: DnsSums | undefined;
      readonly synthesized: readonly Synthesized[];
    };

/** Without what is code, and what belongs to one process. */
export function toWorker(options: DnsOptions): WorkerSettings {
  const {
    observer: _o,
    log: _l,
    onSynthesized: _s,
    kernel: _k,
    now: _n,
    reusePort: _r,
    destinations,
    ...rest
  } = options;
  return { settings: rest, configured: destinations.rules };
}

export function ofService({ settings, configured }: WorkerSettings): DnsSettings {
  return { ...settings, destinations: new Destinations(configured) };
}

export function errorToSend(error: unknown): WorkerError {
  if (!(error instanceof Error)) return { message: String(error) };
  return error instanceof Gate64Error
    ? { message: error.message, code: error.code, hint: error.hint }
    : { message: error.stack ?? error.message };
}

export function errorReceived({ message, code, hint }: WorkerError): Error {
  if (code === undefined) return new Error(message);
  return new Gate64Error(code, message, hint === undefined ? {} : { hint });
}
