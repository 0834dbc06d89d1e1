// SPDX-License-Identifier: Apache-2.0
// Where the data plane's state lies in bpffs. Maps stand in a folder that names their layout, links beside it, so that a
// version with another layout can put new maps in place and still swap its program into the old links.

import { existsSync, mkdirSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { Gate64Error } from '../errors.ts';
import { isBpffs } from '../libbpf/mod.ts';

export const BPFFS = '/sys/fs/bpf';
export const PIN_ROOT = `${BPFFS}/gate64`;

/** Counts up when a struct of bpf/types.h or the meaning of a map changes. */
export const LAYOUT = 2;

export type LinkName = 'gate' | 'uplink';

/** Pinned, so that they outlive the process; what is left out is scratch space. */
export const PINNED_MAPS = [
  'n64_flow6',
  'n64_flow4',
  'n64_bib6',
  'n64_bib4',
  'n64_peer',
  'n64_pods',
  'n64_frags',
  'n64_pool',
  'n64_dst4',
  'n64_src6',
  'n64_blocks',
  'n64_packets',
  'n64_live',
  'n64_statics',
  'n64_current',
  'n64_drops',
  'n64_drop_last',
  'n64_rate',
  'n64_closing',
  'n64_free',
  'n64_events',
] as const;

export type PinnedMap = (typeof PINNED_MAPS)[number];

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

  link(name: LinkName): string {
    return join(this.root, `link-${name}`);
  }

  /** Whether maps of this layout are there. */
  get haveMaps(): boolean {
    return existsSync(this.map('n64_flow6'));
  }

  /** Map folders of layouts that this version does not know. */
  foreignMapFolders(): string[] {
    if (!existsSync(this.root)) return [];
    return readdirSync(this.root)
      .filter((name) => /^maps-\d+$/.test(name))
      .map((name) => join(this.root, name))
      .filter((folder) => folder !== this.mapFolder);
  }

  create(): void {
    if (!isBpffs(BPFFS)) {
      throw new Gate64Error('G64_DATAPATH_LOAD', `${BPFFS} is not a BPF file system`, {
        hint: `mount it: mount -t bpf bpf ${BPFFS}; in a container, mount the node's ${BPFFS} there`,
      });
    }
    mkdirSync(this.mapFolder, { recursive: true, mode: 0o700 });
  }

  removeMaps(folder: string = this.mapFolder): void {
    if (!existsSync(folder)) return;
    for (const name of readdirSync(folder)) unlinkSync(join(folder, name));
    rmdirSync(folder);
  }

  /** Removes all that is pinned. Links must have been detached before. */
  removeAll(): void {
    if (!existsSync(this.root)) return;
    for (const folder of this.foreignMapFolders()) this.removeMaps(folder);
    this.removeMaps();
    for (const name of readdirSync(this.root)) unlinkSync(join(this.root, name));
    rmdirSync(this.root);
  }
}
