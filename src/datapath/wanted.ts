// SPDX-License-Identifier: Apache-2.0
// Which sessions are to be read: what can be told from the key alone, so that of a million the others cost next to nothing.

import { ip4InNet, ip6InNet, type Ip4Net, type Ip6Net } from '../addr/ip.ts';
import type { Protocol } from '../model/binding.ts';

export interface SessionsWanted {
  /** Pods: X' lies in one of these. */
  readonly sources?: readonly Ip6Net[];
  /** IPv4 destinations: Z lies in one of these. */
  readonly destinations?: readonly Ip4Net[];
  readonly protocol?: Protocol;
}

export function isWanted(
  { sources, destinations, protocol }: SessionsWanted,
  source: Uint8Array,
  destination: number,
  of: Protocol,
): boolean {
  return (
    (protocol === undefined || protocol === of) &&
    (sources === undefined || sources.some((net) => ip6InNet(source, net))) &&
    (destinations === undefined || destinations.some((net) => ip4InNet(destination, net)))
  );
}
