// SPDX-License-Identifier: Apache-2.0
// Where the accelerator hangs: at the ingress of pods' interfaces, which come and go without the programs being loaded anew.
// n64_pod_devices names each before it is attached and until it is detached, for whoever looks for them later.

import { LibbpfError, TypedMap, type BpfObject } from '../libbpf/mod.ts';
import { attach, attachedProgram, detach, POD_FILTER, unlink, type AttachKind } from './attachment.ts';
import type { PodDevicesResult } from './datapath.ts';
import type { MapSet } from './ebpf-reader.ts';
import { u32Codec } from '../model/codecs.ts';
import type { Pins } from './pins.ts';

export class PodHooks {
  readonly #maps: Pick<MapSet, 'n64_pod_devices'>;
  readonly #pins: Pins;
  readonly #kind: AttachKind;
  /** Of maps that were replaced. */
  #before: readonly number[];

  constructor(maps: Pick<MapSet, 'n64_pod_devices'>, pins: Pins, kind: AttachKind, before: readonly number[] = []) {
    this.#maps = maps;
    this.#pins = pins;
    this.#kind = kind;
    this.#before = before;
  }

  devices(): number[] {
    return podDevicesOf(this.#maps.n64_pod_devices);
  }

  /** Puts another object's program where this one's hangs. */
  renew(object: BpfObject): PodDevicesResult {
    return this.set(object, this.devices());
  }

  set(object: BpfObject, wanted: readonly number[]): PodDevicesResult {
    const program = object.program('n64_accel');
    const devices = new TypedMap(this.#maps.n64_pod_devices, u32Codec, u32Codec);
    const failed = new Map<number, Error>();
    let changed = false;
    for (const ifindex of new Set([...this.devices(), ...this.#before])) {
      if (wanted.includes(ifindex)) continue;
      detach(ifindex, 'ingress', this.#pins.podLink(ifindex), this.#kind, POD_FILTER);
      devices.delete(ifindex);
      changed = true;
    }
    this.#before = [];
    for (const ifindex of wanted) {
      const pin = this.#pins.podLink(ifindex);
      try {
        if (attachedProgram(ifindex, 'ingress', pin, this.#kind, POD_FILTER) === program.id) continue;
        devices.update(ifindex, 1);
        attach(program, ifindex, 'ingress', pin, this.#kind, POD_FILTER);
        changed = true;
      } catch (error) {
        // One of before would go on with a configuration of before.
        detach(ifindex, 'ingress', pin, this.#kind, POD_FILTER);
        devices.delete(ifindex);
        if (!(error instanceof LibbpfError)) throw error;
        if (error.code !== 'ENODEV') failed.set(ifindex, error);
      }
    }
    const pins = new Set(wanted.map((ifindex) => this.#pins.podLink(ifindex)));
    for (const pin of this.#pins.podLinks()) if (!pins.has(pin)) unlink(pin);
    return { changed, failed };
  }
}

export function podDevicesOf(map: MapSet['n64_pod_devices']): number[] {
  return Array.from(new TypedMap(map, u32Codec, u32Codec).entries(), ([ifindex]) => ifindex).toSorted((a, b) => a - b);
}
