// SPDX-License-Identifier: Apache-2.0
// Everything that the page shows, as /page.json gives it. Times are ISO 8601, addresses text.

import type { AddressUsage } from '../nat64/views.ts';
import type { Protocol } from '../model/binding.ts';
import type { FindingName } from '../plan/findings.ts';
import type { ServiceStatus } from '../telemetry/status.ts';

export interface PageFacts {
  readonly at: string;
  readonly ready: boolean;
  readonly service: ServiceStatus;
  /** Null while there is no data plane; `problem` says why, where it could not be read. */
  readonly datapath: DatapathPart | null;
  readonly problem: string | null;
  /** Oldest first; empty without NAT64. */
  readonly samples: readonly Sample[];
  /** How far apart samples are. */
  readonly sampleSeconds: number;
  readonly usage: UsagePart;
  /** Null: the node was not looked at, as without NAT64. */
  readonly look: LookPart | null;
}

export interface Sample {
  readonly at: string;
  readonly sessions: Readonly<Record<Protocol, number>>;
}

export interface DatapathPart {
  readonly sessions: Readonly<Record<Protocol, number>>;
  readonly bindings: Readonly<Record<Protocol, number>>;
  readonly table: { readonly entries: number; readonly maxEntries: number };
  readonly pool: readonly PoolPart[];
  readonly drops: readonly DropPart[];
}

export interface PoolPart extends Pick<AddressUsage, 'ports' | 'blocks'> {
  readonly address: string;
  /** It left the pool: what runs goes on, and nobody gets a new port of it. */
  readonly draining: boolean;
}

export interface DropPart {
  readonly reason: string;
  readonly direction: string;
  readonly count: number;
  readonly explanation: string;
  readonly last: { readonly at: string; readonly packet: string } | null;
}

/** The first of those with the most sessions. */
export interface UsagePart {
  /** Whether sessions that run are in it; beyond some thousands only those that have ended are. */
  readonly hasRunning: boolean;
  readonly names: readonly NamePart[];
  readonly pods: readonly PodPart[];
  /** How many there are in all. */
  readonly nameCount: number;
  readonly podCount: number;
}

interface UsageSums {
  readonly sessions: number;
  readonly bytesOut: number;
  readonly bytesIn: number;
}

export interface NamePart extends UsageSums {
  /** The IPv4 address where no name is known. */
  readonly name: string;
  readonly isAddress: boolean;
  readonly isGuess: boolean;
  readonly pods: number;
}

export interface PodPart extends UsageSums {
  readonly pod: string;
  readonly sessionsNow: number;
  readonly names: number;
}

export interface LookPart {
  readonly at: string;
  readonly findings: readonly {
    readonly name: FindingName;
    readonly severity: 'error' | 'warning';
    readonly message: string;
    readonly remedy: string | null;
    readonly command: string | null;
  }[];
}
