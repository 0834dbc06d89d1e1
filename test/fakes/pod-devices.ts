// SPDX-License-Identifier: Apache-2.0
// The accelerator at pods' interfaces, in memory: it hangs where it is told to and takes no packet.

import type { AcceleratedCounterRow, AttachmentRow, PodDevicesResult } from '../../src/datapath/datapath.ts';
import { FakeFragments } from './fragments.ts';

export class FakePodDevices extends FakeFragments {
  podDevices: readonly number[] = [];

  setPodDevices(ifindexes: readonly number[]): PodDevicesResult {
    const changed = ifindexes.join() !== this.podDevices.join();
    this.podDevices = ifindexes;
    return { changed, failed: new Map() };
  }

  acceleratedCounters(): AcceleratedCounterRow[] {
    return (['6to4', '4to6'] as const).map((direction) => ({ direction, packets: 0 }));
  }

  protected accelerators(): AttachmentRow[] {
    return this.podDevices.map((ifindex) => ({ name: 'accel', ifindex, attached: true }));
  }
}
