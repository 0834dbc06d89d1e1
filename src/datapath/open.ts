// SPDX-License-Identifier: Apache-2.0
// Ways into the data plane: for the service, for who only reads, for who removes it.

import { existsSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import { LibbpfError } from '../libbpf/mod.ts';
import { builtObject } from '../model/built-object.ts';
import type { DatapathFacts } from '../model/facts.ts';
import { detach, hookedDevices, placeOf, POD_FILTER, unlink } from './attachment.ts';
import type { Datapath, DatapathReader, DatapathSite, DatapathSizes, HookRow, ProgramConfig } from './datapath.ts';
import { currentPrograms, EbpfDatapath, pinnedPodDevices } from './ebpf.ts';
import { EbpfReader, openMaps } from './ebpf-reader.ts';
import { EbpfWatch } from './ebpf-watch.ts';
import { guarded } from './error-codes.ts';
import { Pins } from './pins.ts';
import type { DatapathWatch, WatchEvent, WatchFilter } from './watch.ts';

/** Throws G64_DATAPATH_MISSING when this node has no data plane. */
export function openReader(pinRoot?: string): DatapathReader {
  const pins = new Pins(pinRoot);
  return guarded(new EbpfReader(openMaps(pins), pins));
}

/** Has the programs tell `listener` what `filter` asks for. Throws G64_DATAPATH_MISSING, and G64_ALREADY_RUNNING for a second. */
export function openWatch(
  filter: WatchFilter,
  listener: (events: readonly WatchEvent[]) => void,
  pinRoot?: string,
): DatapathWatch {
  return guarded(EbpfWatch.open(new Pins(pinRoot), filter, listener));
}

/** A data plane pinned in a bpffs; default /sys/fs/bpf/gate64. */
export class PinnedSite implements DatapathSite {
  readonly #pins: Pins;

  constructor(pinRoot?: string) {
    this.#pins = new Pins(pinRoot);
  }

  isThere(): boolean {
    return existsSync(this.#pins.root);
  }

  facts(): DatapathFacts {
    const nothing = { leased: [], shared: [], places: [] };
    if (!this.isThere()) return nothing;
    try {
      using reader = openReader(this.#pins.root);
      const leased = reader.blocks().filter((row) => row.state === 'leased');
      const places = currentPrograms(this.#pins)?.prefixes ?? [];
      return { leased: [...new Set(leased.map((row) => row.v4))], shared: reader.sharedAddresses(), places };
    } catch (error) {
      // It is of another version and will be replaced.
      if (error instanceof Gate64Error) return nothing;
      throw error;
    }
  }

  otherLayouts(): string[] {
    return this.#pins.foreignMapFolders();
  }

  hooks(): HookRow[] {
    const pins = this.#pins;
    const { gate, returns } = hookedDevices(currentPrograms(pins));
    const row = (name: HookRow['name'], ifindex: number, side: HookRow['side'], pin: string): HookRow[] => {
      const place = placeOf(ifindex, side, pin);
      return place === undefined ? [] : [{ name, ifindex, side, place }];
    };
    try {
      return [
        ...row('gate', gate, 'egress', pins.gateLink),
        ...returns.flatMap((ifindex) => row('uplink', ifindex, 'ingress', pins.returnLink(ifindex))),
      ];
    } catch (error) {
      // A device that went meanwhile.
      if (error instanceof LibbpfError) return [];
      throw error;
    }
  }

  packetsSeen(): number {
    if (!this.isThere()) return 0;
    try {
      using reader = openReader(this.#pins.root);
      const rows = [
        ...reader.packetCounters().map(({ packets }) => packets),
        ...reader.drops().map(({ count }) => count),
      ];
      return rows.reduce((sum, count) => sum + count, 0);
    } catch (error) {
      if (error instanceof Gate64Error) return 0;
      throw error;
    }
  }

  open(programs: ProgramConfig, sizes: DatapathSizes): Datapath {
    return guarded(EbpfDatapath.open({ objectPath: builtObject('nat64.bpf.o'), pins: this.#pins, sizes }, programs));
  }

  remove(): boolean {
    const pins = this.#pins;
    if (!this.isThere()) return false;
    const failed: string[] = [];
    const attempt = <T>(action: () => T): T | undefined => {
      try {
        return action();
      } catch (error) {
        failed.push(error instanceof Error ? error.message : String(error));
        return undefined;
      }
    };
    const { gate, returns } = hookedDevices(attempt(() => currentPrograms(pins)));
    attempt(() => detach(gate, 'egress', pins.gateLink));
    for (const ifindex of returns) attempt(() => detach(ifindex, 'ingress', pins.returnLink(ifindex)));
    for (const ifindex of attempt(() => pinnedPodDevices(pins)) ?? []) {
      attempt(() => detach(ifindex, 'ingress', pins.podLink(ifindex), undefined, POD_FILTER));
    }
    for (const pin of [...pins.returnLinks(), ...pins.podLinks()]) attempt(() => unlink(pin));
    const { removed, foreign, failed: kept } = pins.removeAll();
    failed.push(...kept.map(({ message }) => message));
    // Somebody else's things alone are nothing of gate64's.
    if (removed > 0) failed.push(...foreign.map((path) => `${path} is not of gate64 and stays`));
    if (failed.length > 0) {
      throw new Gate64Error('G64_DATAPATH_MAP', `below ${pins.root}: ${failed.join(', ')}`, {
        hint: 'look at what else is there, then uninstall again',
      });
    }
    return removed > 0;
  }
}
