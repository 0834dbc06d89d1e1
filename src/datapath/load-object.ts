// SPDX-License-Identifier: Apache-2.0
// Opens the BPF object with a configuration and loads it over the pinned maps.

import { existsSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import { BpfLoadError, BpfMap, BpfObject } from '../libbpf/mod.ts';
import { encode, viewOf } from './bytes.ts';
import type { DatapathSizes } from './datapath.ts';
import { configCodec } from './layout.gen.ts';
import { PINNED_MAPS, type PinnedMap, type Pins } from './pins.ts';
import { programConfig, type PlacedConfig } from './program-config.ts';

export interface EbpfOptions {
  /** The compiled nat64.bpf.o. */
  readonly objectPath: string;
  readonly pins: Pins;
  readonly sizes: DatapathSizes;
}

const DEFAULT_MAX_BLOCKS = 16384;

const BY_SESSIONS: readonly PinnedMap[] = ['n64_flow6', 'n64_flow4', 'n64_bib6', 'n64_bib4', 'n64_peer'];

/** Entries of the maps whose size the configuration sets. */
function sizedMaps({ maxSessions, maxBlocks }: DatapathSizes): [PinnedMap, number][] {
  return [
    ...BY_SESSIONS.map((name): [PinnedMap, number] => [name, maxSessions]),
    ['n64_blocks', maxBlocks ?? DEFAULT_MAX_BLOCKS],
  ];
}

/** Why the pinned maps do not fit, or undefined. */
export function misfit({ pins, sizes }: EbpfOptions): string | undefined {
  for (const [name, entries] of sizedMaps(sizes)) {
    if (!existsSync(pins.map(name))) return `${name} is missing`;
    using map = BpfMap.openPinned(pins.map(name));
    if (map.maxEntries !== entries) return `${name} holds ${map.maxEntries} entries, ${entries} are configured`;
  }
  return undefined;
}

/** Loads the object with `config`, its maps taken from `pins` or pinned there. */
export function loadObject(options: EbpfOptions, config: PlacedConfig, idleBlockMs: number): BpfObject {
  const object = BpfObject.open(options.objectPath);
  try {
    object.setVariable('cfg', encode(configCodec, programConfig(config)));
    const idle = new Uint8Array(8);
    viewOf(idle).setBigUint64(0, BigInt(idleBlockMs) * 1_000_000n, true);
    object.setVariable('idle_block_ns', idle);
    for (const [name, entries] of sizedMaps(options.sizes)) object.map(name).setMaxEntries(entries);
    for (const name of PINNED_MAPS) object.map(name).setPinPath(options.pins.map(name));
    object.load();
    return object;
  } catch (cause) {
    object.close();
    if (cause instanceof Gate64Error) throw cause;
    const verifier = cause instanceof BpfLoadError && cause.verifierTail ? `: ${cause.verifierTail}` : '';
    throw new Gate64Error('G64_DATAPATH_LOAD', `the BPF object cannot be loaded${verifier}`, {
      cause,
      hint: 'gate64 needs Linux 6.1 or newer with BTF, and CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON',
    });
  }
}
