// SPDX-License-Identifier: Apache-2.0
// What the service says about itself: /readyz in words, /status as JSON. Times are ISO 8601.

/** One half of gate64, DNS or NAT64. `reasons` say why it is not ready, for people; empty when it is. */
export interface HalfStatus {
  readonly enabled: boolean;
  readonly ready: boolean;
  readonly reasons: readonly string[];
}

export interface ReloadStatus {
  readonly at: string;
  readonly successful: boolean;
  /** The problems of a refused file, one a line. */
  readonly error?: string;
}

/** Answers that the kernel gives and has given since the start; or why it gives none. */
export type KernelCacheStatus =
  | { readonly off: string }
  | { readonly entries: number; readonly answered: number; readonly interfaces: readonly string[] };

/** Names of DNS64s that run elsewhere: of which they come, and of which not. */
export interface NamesStatus {
  /** There is no token to ask with. */
  readonly isOff: boolean;
  readonly following: readonly string[];
  readonly failing: readonly { readonly source: string; readonly reason: string }[];
}

export interface ServiceStatus {
  readonly version: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly draining: boolean;
  readonly config: { readonly file: string | null; readonly lastReload: ReloadStatus };
  readonly dns: HalfStatus & {
    readonly listen: readonly string[];
    /** How datagrams are taken: batched or dgram. Null while nothing listens; absent where it is not told. */
    readonly listener?: string | null;
    /** Processes that answer names, of those that are to; null where the service itself does, absent where it is not told. */
    readonly workers?: { readonly running: number; readonly wanted: number } | null;
    /** What the kernel answers, or why it does not; absent where it is not told. */
    readonly kernelCache?: KernelCacheStatus;
    readonly upstreams: readonly string[];
    /** Those that could not be asked the last time; absent where none is told of. */
    /** Absent where none is told of, as by an older service. */
    readonly cache?: { readonly entries: number; readonly bytes: number };
    readonly failing?: readonly { readonly upstream: string; readonly reason: string }[];
  };
  readonly nat64: HalfStatus & {
    readonly egress: string;
    readonly uplink: string | null;
    /** Null while the data plane is not in place. */
    readonly attach: string | null;
    readonly adopted: boolean | null;
    /** Interfaces of pods that have the accelerator; absent where none are to. */
    readonly accelerated?: number;
    /** Absent where no names are to come from elsewhere. */
    readonly names?: NamesStatus;
  };
}

/** Both halves that are enabled can serve, and nothing is being shut down. */
export function isReady(status: Pick<ServiceStatus, 'draining' | 'dns' | 'nat64'>): boolean {
  return !status.draining && [status.dns, status.nat64].every((half) => !half.enabled || half.ready);
}

/** One line a half. */
export function readyText(status: Pick<ServiceStatus, 'draining' | 'dns' | 'nat64'>): string {
  const halves = (['dns', 'nat64'] as const).map((name) => `${name}: ${halfText(status[name])}`);
  return [...(status.draining ? ['draining'] : []), ...halves].join('\n');
}

export function halfText(half: HalfStatus): string {
  if (!half.enabled) return 'disabled';
  if (half.ready) return 'ready';
  return `not ready: ${half.reasons.length === 0 ? 'starting' : half.reasons.join('; ')}`;
}
