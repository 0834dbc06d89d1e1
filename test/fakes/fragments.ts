// SPDX-License-Identifier: Apache-2.0
// The part of the data plane in memory that hands over fragments, and SYNs that nobody asked for, and takes them again.

import type { DatagramId, WholeDatagram } from '../../src/datapath/datapath.ts';

export class FakeFragments {
  /** Hands over fragments as the programs do. */
  handFragments: (packets: readonly Uint8Array[]) => void = () => undefined;
  /** Which first fragments have been translated. */
  passing: (datagram: DatagramId) => boolean = () => false;
  /** Hands over SYNs as the programs do. */
  handSyns: (packets: readonly Uint8Array[]) => void = () => undefined;
  readonly refusedSyns: Uint8Array[] = [];
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

  takeSyns(listener: (packets: readonly Uint8Array[]) => void): void {
    this.handSyns = listener;
  }

  refuseSyn(packet: Uint8Array): boolean {
    this.refusedSyns.push(packet);
    return true;
  }
}
