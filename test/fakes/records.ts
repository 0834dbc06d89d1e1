// SPDX-License-Identifier: Apache-2.0
// Bindings and sessions as the data plane in memory keeps them, and their keys.

import { formatIp4, formatIp6 } from '../../src/addr/ip.ts';
import type { SessionRow } from '../../src/datapath/datapath.ts';
import type { Protocol, TransportAddress4, TransportAddress6 } from '../../src/model/binding.ts';
import { STATE } from '../../src/model/layout.gen.ts';
import type { FakeBlock } from './blocks.ts';

/** In which state a session of a protocol begins. */
export const BEGINS_IN: Readonly<Record<Protocol, number>> = {
  tcp: STATE.V6_INIT,
  udp: STATE.OPEN_UDP,
  icmp: STATE.OPEN_ICMP,
};

export interface FakeBinding {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly pool: TransportAddress4;
  readonly isStatic: boolean;
  readonly createdAt: number;
  /** Of a dynamic one. */
  readonly block: FakeBlock | undefined;
  sessions: number;
}

export type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export interface FakeSession {
  readonly row: Mutable<SessionRow>;
  readonly binding: FakeBinding;
  readonly key: string;
  /** T,t and Z,z, which no two sessions share. */
  readonly key4: string;
}

export const side6 = (protocol: Protocol, at: TransportAddress6): string =>
  `${protocol} ${formatIp6(at.v6)} ${at.port}`;
export const side4 = (protocol: Protocol, at: TransportAddress4): string =>
  `${protocol} ${formatIp4(at.v4)} ${at.port}`;
