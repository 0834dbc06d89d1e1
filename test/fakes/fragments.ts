// SPDX-License-Identifier: Apache-2.0
// The part of the data plane in memory that hands fragments over and takes them again.

import type { DatagramId, WholeDatagram } from '../../src/datapath/datapath.ts';

export class FakeFragments {
  /** Hands over fragments as the programs do. */
  handFragments: (packets: readonly Uint8Array[]) => void = () => undefined;
  /** Which first fragments have been translated. */
  passing: (datagram: DatagramId) => boolean = () => false;
  readonly sentFragments: { packets: readonly Uint8Array[]; whole: WholeDatagram | undefined }[] = [];

  takeFragments(listener: (packets: readonly Uint8Array[]) => void): void {
    this.handFragments = listener;
  }

  isPassing(datagram: DatagramId): boolean {
    return this.passing(datagram);
  }

  sendFragments(_: DatagramId, packets: readonly Uint8Array[], whole?: WholeDatagram): number {
    this.sentFragments.push({ packets, whole });
    return packets.length;
  }
}
