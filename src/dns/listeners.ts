// SPDX-License-Identifier: Apache-2.0
// The listeners of one endpoint of the configuration: UDP and TCP on one port.

import type { Endpoint } from '../addr/ip.ts';
import { UdpListener } from './listener-dgram.ts';
import { TcpListener } from './listener-tcp.ts';
import { WildcardListener, isWildcard } from './listener-wildcard.ts';
import type { Listener, ListenerKind, QueryHandler, SocketShare } from './listener.ts';

/** `auto`: batched where native code for it can be loaded. */
export type ListenerChoice = 'auto' | ListenerKind;

/** Port 0 takes a free one. Throws G64_LISTEN, with nothing left open. */
export async function openListeners(
  endpoint: Endpoint,
  handler: QueryHandler,
  choice: ListenerChoice = 'auto',
  share: SocketShare = {},
): Promise<Listener[]> {
  // A free UDP port may be taken for TCP: with port 0 another one is tried.
  let attempts = endpoint.port === 0 ? 8 : 1;
  for (;;) {
    attempts--;
    let udp: Listener | undefined;
    try {
      udp = await openUdp(endpoint, handler, choice, share);
      return [udp, await TcpListener.start(udp.endpoint, handler, share)];
    } catch (error) {
      await udp?.close();
      if (attempts === 0) throw error;
    }
  }
}

/** As they would be bound, after a trial: throws G64_LISTEN where a program listens, of gate64 or not. */
export async function tryListeners(endpoint: Endpoint, choice?: ListenerChoice): Promise<Endpoint> {
  const opened = await openListeners(endpoint, () => false, choice);
  for (const listener of opened) await listener.close();
  return opened[0]?.endpoint ?? endpoint;
}

async function openUdp(
  endpoint: Endpoint,
  handler: QueryHandler,
  choice: ListenerChoice,
  share: SocketShare,
): Promise<Listener> {
  if (choice !== 'dgram') {
    try {
      const { BatchedListener } = await import('./listener-batched.ts');
      return BatchedListener.start(endpoint, handler, share);
    } catch (error) {
      if (choice === 'batched' || isOfSystem(error)) throw error;
      // No native code for this machine, or a runtime without libuv's symbols: Node's own sockets do.
    }
  }
  return isWildcard(endpoint)
    ? WildcardListener.start(endpoint, handler, share)
    : UdpListener.start(endpoint, handler, share);
}

/** Whether the kernel refused; another kind of listener would fare no better. */
function isOfSystem(error: unknown): boolean {
  const { cause } = error as { cause?: NodeJS.ErrnoException };
  return typeof cause?.errno === 'number';
}
