// SPDX-License-Identifier: Apache-2.0
// Ways into the data plane: for the service, for who only reads, for who removes it.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BpfMap, typed } from '../libbpf/mod.ts';
import { detach } from './attachment.ts';
import type { Datapath, DatapathConfig, DatapathReader, DatapathSizes } from './datapath.ts';
import { EbpfDatapath } from './ebpf.ts';
import { EbpfReader, openMaps, u32Codec } from './ebpf-reader.ts';
import { configCodec } from './layout.gen.ts';
import { Pins } from './pins.ts';

/** Built: dist/lib/datapath/ beside dist/bpf/. From source: src/datapath/ beside .output/. */
function objectPath(): string {
  const built = fileURLToPath(new URL('../../bpf/nat64.bpf.o', import.meta.url));
  return existsSync(built) ? built : fileURLToPath(new URL('../../.output/nat64.bpf.o', import.meta.url));
}

export interface OpenDatapathOptions {
  readonly config: DatapathConfig;
  readonly sizes: DatapathSizes;
  /** Folder in a bpffs; default /sys/fs/bpf/gate64. */
  readonly pinRoot?: string;
}

/** Adopts or begins the data plane and attaches its programs. Throws G64_DATAPATH_LOAD. */
export function openDatapath(options: OpenDatapathOptions): Datapath {
  const pins = new Pins(options.pinRoot);
  return EbpfDatapath.open({ objectPath: objectPath(), pins, sizes: options.sizes }, options.config);
}

/** Throws G64_DATAPATH_MISSING when this node has no data plane. */
export function openReader(options: { readonly pinRoot?: string } = {}): DatapathReader {
  return new EbpfReader(openMaps(new Pins(options.pinRoot)));
}

/** Whether a data plane, of whatever version, is on this node. */
export function hasDatapath(options: { readonly pinRoot?: string } = {}): boolean {
  return existsSync(new Pins(options.pinRoot).root);
}

/** Detaches the programs and removes every pin; sessions end. Nothing there is fine; says whether something was. */
export function removeDatapath(options: { readonly pinRoot?: string } = {}): boolean {
  const pins = new Pins(options.pinRoot);
  if (!existsSync(pins.root)) return false;
  let device = 0;
  let uplink = 0;
  if (pins.haveMaps) {
    using map = BpfMap.openPinned(pins.map('n64_current'));
    const config = typed(map, u32Codec, configCodec).lookup(0);
    device = config?.deviceIfindex ?? 0;
    uplink = config?.uplinkIfindex[0] ?? 0;
  }
  detach(device, 'egress', pins.link('gate'));
  detach(uplink, 'ingress', pins.link('uplink'));
  pins.removeAll();
  return true;
}
