// SPDX-License-Identifier: Apache-2.0
// What a listener is to the rest of the DNS half: raw queries in, raw answers out, on one address.

import type { Endpoint } from '../addr/ip.ts';
import type { Transport } from './observer.ts';

/** Hands the answer's octets to the client; called at most once per query. */
export type Reply = (answer: Buffer) => void;

/** Must not throw. `port` is the client's. */
export type QueryHandler = (query: Buffer, transport: Transport, port: number, reply: Reply) => void;

export interface Listener {
  readonly protocol: Transport;
  /** As bound: with the real port where 0 was asked for. */
  readonly endpoint: Endpoint;
  close(): Promise<void>;
}
