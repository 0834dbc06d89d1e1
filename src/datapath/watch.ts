// SPDX-License-Identifier: Apache-2.0
// What the programs tell somebody who watches, event by event, chosen before it is told.

import type { Ip4Net, Ip6Net } from '../addr/ip.ts';
import type { Protocol } from '../model/binding.ts';
import type { DropReason } from '../model/drops.gen.ts';
import type { BlockRow, Direction, DropSample, SessionRow } from './datapath.ts';

export type WatchKind = 'drop' | 'begin' | 'end' | 'lease';

/** What is left out asks for all. */
export interface WatchFilter {
  readonly kinds: readonly WatchKind[];
  /** X'. A dropped IPv4 packet is the pod's whose port it was sent to; where nobody has that, it is no pod's. */
  readonly pod?: Ip6Net;
  /** Z, in both directions. Leases have none. */
  readonly destination?: Ip4Net;
  /** Of drops. */
  readonly reason?: DropReason;
  /** Leases have none. */
  readonly protocol?: Protocol;
}

/** Times: milliseconds since the epoch. */
export type WatchEvent =
  | {
      readonly kind: 'drop';
      readonly at: number;
      readonly reason: DropReason;
      readonly direction: Direction;
      /** As it came in. */
      readonly packet: DropSample;
    }
  | { readonly kind: 'begin' | 'end'; readonly at: number; readonly session: SessionRow }
  | {
      readonly kind: 'lease';
      readonly at: number;
      readonly holder: Uint8Array;
      readonly block: number;
      /** As it stands when this is read. */
      readonly row: BlockRow | undefined;
    };

/** Ends by itself some seconds after the last `renew`. */
export interface DatapathWatch extends Disposable {
  /**
   * Goes on; call it every second. Hands over what is there, then gives the number of events that were lost since the last
   * call, because nobody had read the ring. Throws G64_DATAPATH_MISSING when the data plane was removed or replaced.
   */
  renew(): number;
}
