// SPDX-License-Identifier: Apache-2.0
// What a listener is to the rest of the DNS half: raw queries in, raw answers out, on one address; or why there is none.

import { formatEndpoint, type Endpoint } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { Transport } from './observer.ts';

/** Room for a burst while the event loop is busy; the kernel clamps it to net.core.rmem_max. */
export const RECEIVE_BUFFER_OCTETS = 4 * 1024 * 1024;

/** Hands the answer's octets to the client; called at most once per query. They are lent: after the return they are others. */
export type Reply = (answer: Buffer) => void;

/** Where a question came in: the address and port that were asked, the interface that it came by. */
export interface Local {
  readonly address: string;
  readonly port: number;
  readonly ifindex: number;
}

/** A client as its socket names it. */
export interface Peer {
  readonly address: string;
  readonly port: number;
  /** Where the listener knows it. */
  readonly local?: Local | undefined;
}

/**
 * Says whether an answer comes. Must not throw. Query and peer are lent: after the return the query's octets are others, and
 * so is the peer of a query that is never answered.
 */
export type QueryHandler = (query: Buffer, transport: Transport, from: Peer, reply: Reply) => boolean;

/** How a socket is opened. */
export interface SocketShare {
  /** Whether other processes of gate64 may listen on the same port, the kernel dividing clients among them. */
  readonly reusePort?: boolean;
}

/** `batched`: many datagrams a system call, by src/sockets/. `dgram`: one at a time, by Node. */
export type ListenerKind = 'batched' | 'dgram';

export interface Listener {
  readonly protocol: Transport;
  /** As bound: with the real port where 0 was asked for. */
  readonly endpoint: Endpoint;
  /** How datagrams are taken; of UDP alone. */
  readonly kind?: ListenerKind;
  close(): Promise<void>;
}

export function listenError(protocol: string, endpoint: Endpoint, cause: unknown): Gate64Error {
  const code = (cause as NodeJS.ErrnoException).code;
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program listens there: stop it, or choose another port in dns.listen',
    EADDRNOTAVAIL: 'no interface of this host has that address: correct dns.listen',
    EACCES: 'ports below 1024 need CAP_NET_BIND_SERVICE: run as root, or choose a higher port in dns.listen',
  };
  const hint = hints[code ?? ''];
  return new Gate64Error(
    'G64_LISTEN',
    `cannot listen on ${formatEndpoint(endpoint)} (${protocol}): ${code ?? (cause as Error).message}`,
    hint === undefined ? { cause } : { cause, hint },
  );
}
