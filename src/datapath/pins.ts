// SPDX-License-Identifier: Apache-2.0
// Where the data plane's state lies in bpffs. Maps stand in a folder that names their layout, links beside it, so that a
// version with another layout can put new maps in place and still swap its program into the old links.

import { existsSync, lstatSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Gate64Error } from '../errors.ts';
import { isBpffs } from '../libbpf/mod.ts';

export const BPFFS = '/sys/fs/bpf';
export const PIN_ROOT = `${BPFFS}/gate64`;

/** Counts up when a struct of bpf/types.h or the meaning of a map changes. */
export const LAYOUT = 5;

/** Pinned, so that they outlive the process; what is left out is scratch space. */
export const PINNED_MAPS = [
  'n64_flow6',
  'n64_flow4',
  'n64_bib6',
  'n64_bib4',
  'n64_peer',
  'n64_pods',
  'n64_frags',
  'n64_hold',
  'n64_pool',
  'n64_dst4',
  'n64_src6',
  'n64_admitted',
  'n64_blocks',
  'n64_stock',
  'n64_devices',
  'n64_packets',
  'n64_accelerated',
  'n64_pod_devices',
  'n64_pod_ways',
  'n64_live',
  'n64_statics',
  'n64_current',
  'n64_drops',
  'n64_drop_last',
  'n64_rate',
  'n64_rate_source',
  'n64_closing',
  'n64_free',
  'n64_events',
] as const;

/** Of monitors. Nothing in them lasts: they are made where they are missing, and nobody else needs them. */
export const WATCH_MAPS = ['n64_watching', 'n64_watch', 'n64_watch_lost'] as const;

const MAP_FOLDER = /^maps-\d+$/;
/** Of every layout. */
const MAP_PIN = /^(?:n64_\w+|free-\d+)$/;
const LINK_PIN = /^link-\w+$/;
const POD_LINK = /^link-accel\d+$/;

export type PinnedMap = (typeof PINNED_MAPS)[number] | (typeof WATCH_MAPS)[number];

/** Whether pins can be made. */
export function isBpffsMounted(): boolean {
  return isBpffs(BPFFS);
}

export class Pins {
  readonly root: string;

  constructor(root: string = PIN_ROOT) {
    this.root = root;
  }

  get mapFolder(): string {
    return join(this.root, `maps-${LAYOUT}`);
  }

  map(name: PinnedMap): string {
    return join(this.mapFolder, name);
  }

  /** The queue of a pool address's free blocks. Pinned by itself: opening a map by its id takes CAP_SYS_ADMIN. */
  queue(slot: number): string {
    return join(this.mapFolder, `free-${slot}`);
  }

  /** Slots that have a queue. */
  queues(): number[] {
    if (!existsSync(this.mapFolder)) return [];
    return readdirSync(this.mapFolder).flatMap((name) => {
      const slot = /^free-(\d+)$/.exec(name)?.[1];
      return slot === undefined ? [] : [Number(slot)];
    });
  }

  /** Of the program at the egress of gate64's device. */
  get gateLink(): string {
    return join(this.root, 'link-gate');
  }

  /** Of the program at the ingress of an interface that answers come by. */
  returnLink(ifindex: number): string {
    return join(this.root, `link-return${ifindex}`);
  }

  /** Links but the gate's and those of pods, of other versions too. */
  returnLinks(): string[] {
    return this.#links((name) => !POD_LINK.test(name)).filter((path) => path !== this.gateLink);
  }

  /** Of the program at the ingress of a pod's interface. */
  podLink(ifindex: number): string {
    return join(this.root, `link-accel${ifindex}`);
  }

  podLinks(): string[] {
    return this.#links((name) => POD_LINK.test(name));
  }

  #links(are: (name: string) => boolean): string[] {
    if (!existsSync(this.root)) return [];
    const names = readdirSync(this.root).filter((name) => LINK_PIN.test(name) && are(name));
    return names.map((name) => join(this.root, name));
  }

  /** Whether maps of this layout are there. */
  get haveMaps(): boolean {
    return existsSync(this.map('n64_flow6'));
  }

  /** Map folders of layouts that this version does not know. */
  foreignMapFolders(): string[] {
    if (!existsSync(this.root)) return [];
    return readdirSync(this.root)
      .filter((name) => MAP_FOLDER.test(name))
      .map((name) => join(this.root, name))
      .filter((folder) => folder !== this.mapFolder);
  }

  create(): void {
    if (!isBpffsMounted()) {
      throw new Gate64Error('G64_DATAPATH_LOAD', `${BPFFS} is not a BPF file system`, {
        hint: `mount it: mount -t bpf bpf ${BPFFS}; in a container, mount the node's ${BPFFS} there`,
      });
    }
    mkdirSync(this.mapFolder, { recursive: true, mode: 0o700 });
  }

  /** Gives paths of what somebody else put there, which stays. */
  removeMaps(folder: string = this.mapFolder): string[] {
    return existsSync(folder) ? removePins(folder, MAP_PIN).foreign : [];
  }

  /**
   * Removes all that is pinned; links must have been detached before. What is not of gate64's kind stays, and so does the
   * folder that it is in. One that cannot be removed keeps the others from nothing.
   */
  removeAll(): { removed: number; foreign: string[]; failed: Error[] } {
    const sum = { removed: 0, foreign: [] as string[], failed: [] as Error[] };
    if (!existsSync(this.root)) return sum;
    const add = ({ removed, foreign, failed }: typeof sum) => {
      sum.removed += removed;
      sum.foreign.push(...foreign);
      sum.failed.push(...failed);
    };
    const folders = readdirSync(this.root).filter((name) => MAP_FOLDER.test(name) && isFolder(join(this.root, name)));
    for (const folder of folders) add(removePins(join(this.root, folder), MAP_PIN));
    add(removePins(this.root, LINK_PIN, folders));
    return sum;
  }
}

function isFolder(path: string): boolean {
  return lstatSync(path).isDirectory();
}

/** Unlinks what `ours` names, then the folder if that empties it. `known`: names that somebody else looks after. */
function removePins(
  folder: string,
  ours: RegExp,
  known: readonly string[] = [],
): { removed: number; foreign: string[]; failed: Error[] } {
  const sum = { removed: 0, foreign: [] as string[], failed: [] as Error[] };
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (known.includes(name)) continue;
    if (!ours.test(name) || isFolder(path)) {
      sum.foreign.push(path);
      continue;
    }
    try {
      unlinkSync(path);
      sum.removed++;
    } catch (error) {
      sum.failed.push(error as Error);
    }
  }
  if (readdirSync(folder).length === 0) {
    rmdirSync(folder);
    sum.removed++;
  }
  return sum;
}
