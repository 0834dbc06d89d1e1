// SPDX-License-Identifier: Apache-2.0
// Names of the two ends of the interface that gate64 owns.

export function peerName(device: string): string {
  return `${device}x`;
}
