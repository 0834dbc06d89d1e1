// SPDX-License-Identifier: Apache-2.0
// The listeners of one endpoint of the configuration: UDP and TCP on one port.

import type { Endpoint } from '../addr/ip.ts';
import { UdpListener } from './listener-dgram.ts';
import { TcpListener } from './listener-tcp.ts';
import { WildcardListener, isWildcard } from './listener-wildcard.ts';
import type { Listener, QueryHandler } from './listener.ts';

/** Port 0 takes a free one. Throws G64_LISTEN, with nothing left open. */
export async function openListeners(endpoint: Endpoint, handler: QueryHandler): Promise<Listener[]> {
  // A free UDP port may be taken for TCP: with port 0 another one is tried.
  let attempts = endpoint.port === 0 ? 8 : 1;
  for (;;) {
    attempts--;
    let udp: Listener | undefined;
    try {
      udp = await (isWildcard(endpoint)
        ? WildcardListener.start(endpoint, handler)
        : UdpListener.start(endpoint, handler));
      return [udp, await TcpListener.start(udp.endpoint, handler)];
    } catch (error) {
      await udp?.close();
      if (attempts === 0) throw error;
    }
  }
}
