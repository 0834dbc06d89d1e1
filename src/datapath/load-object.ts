// SPDX-License-Identifier: Apache-2.0
// Opens the BPF object with a configuration and loads it over the pinned maps.

import { existsSync } from 'node:fs';
import { BpfLoadError, BpfMap, BpfObject } from '../libbpf/mod.ts';
import type { AttachKind } from './attachment.ts';
import { encode, viewOf } from './bytes.ts';
import { withCode } from './error-codes.ts';
import type { DatapathSizes, ProgramConfig } from './datapath.ts';
import { configCodec } from '../model/layout.gen.ts';
import { PINNED_MAPS, WATCH_MAPS, type PinnedMap, type Pins } from './pins.ts';

export interface EbpfOptions {
  /** The compiled nat64.bpf.o. */
  readonly objectPath: string;
  readonly pins: Pins;
  readonly sizes: DatapathSizes;
  /** Default: TCX where the kernel has it. */
  readonly attach?: AttachKind;
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

/** Why the pinned maps do not fit, or undefined. A table of blocks may be larger than is asked for. */
export function misfit({ objectPath, pins, sizes }: EbpfOptions): string | undefined {
  using object = BpfObject.open(objectPath);
  for (const [name, entries] of sizedMaps(sizes)) object.map(name).setMaxEntries(entries);
  const watch = WATCH_MAPS.filter((name) => existsSync(pins.map(name)));
  for (const name of [...PINNED_MAPS, ...watch]) {
    if (!existsSync(pins.map(name))) return `${name} is missing`;
    using map = BpfMap.openPinned(pins.map(name));
    const wanted = object.map(name);
    for (const [what, there, asked] of [
      ['kind', map.type, wanted.type],
      ['bytes of a key', map.keySize, wanted.keySize],
      ['bytes of a value', map.valueSize, wanted.valueSize],
    ] as const) {
      if (there !== asked) return `${name} is of another version (${what}: ${there}, ${asked} expected)`;
    }
    const { maxEntries } = map;
    if (name === 'n64_blocks' ? maxEntries >= wanted.maxEntries : maxEntries === wanted.maxEntries) continue;
    return `${name} holds ${maxEntries} entries, ${wanted.maxEntries} are configured`;
  }
  return undefined;
}

/** A map that is there keeps its size for life. */
function entriesOf(name: PinnedMap, pins: Pins, entries: number): number {
  if (!existsSync(pins.map(name))) return entries;
  using map = BpfMap.openPinned(pins.map(name));
  return map.maxEntries;
}

/** Loads the object with `config`, its maps taken from `pins` or pinned there. */
export function loadObject(options: EbpfOptions, config: ProgramConfig, idleBlockMs: number): BpfObject {
  let object: BpfObject | undefined;
  try {
    object = BpfObject.open(options.objectPath);
    object.setVariable('cfg', encode(configCodec, config));
    const idle = new Uint8Array(8);
    viewOf(idle).setBigUint64(0, BigInt(idleBlockMs) * 1_000_000n, true);
    object.setVariable('idle_block_ns', idle);
    const { pins, sizes } = options;
    for (const [name, entries] of sizedMaps(sizes)) object.map(name).setMaxEntries(entriesOf(name, pins, entries));
    for (const name of [...PINNED_MAPS, ...WATCH_MAPS]) object.map(name).setPinPath(pins.map(name));
    object.load();
    return object;
  } catch (cause) {
    object?.close();
    const verifier = cause instanceof BpfLoadError && cause.verifierTail ? `: ${cause.verifierTail}` : '';
    throw withCode(
      cause,
      'G64_DATAPATH_LOAD',
      `the BPF object cannot be loaded${verifier}`,
      'gate64 needs Linux 6.1 or newer with BTF, and CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON',
    );
  }
}
