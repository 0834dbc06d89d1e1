// SPDX-License-Identifier: Apache-2.0
// Where the programs hang: the gate at the egress of gate64's device, with a direct way out another at the ingress of the
// uplink. What the programs were loaded with is noted in n64_current, for who reads while the service is down and for who
// looks for the hooks of before.

import type { BpfObject } from '../libbpf/mod.ts';
import { TypedMap } from '../libbpf/mod.ts';
import { configCodec } from '../model/layout.gen.ts';
import { attach, attachedProgram, attachKind, detach, isPinned, leave, type AttachKind } from './attachment.ts';
import { encode, sameBytes } from './bytes.ts';
import type { ProgramConfig } from './datapath.ts';
import { u32Codec, type MapSet } from './ebpf-reader.ts';
import type { Pins } from './pins.ts';

/** Interfaces that programs hang on; 0 is none. */
interface HookedDevices {
  readonly gate: number;
  readonly uplink: number;
}

export function hookedDevices(config: ProgramConfig | undefined): HookedDevices {
  if (config === undefined) return { gate: 0, uplink: 0 };
  return { gate: config.deviceIfindex, uplink: config.direct === 0 ? 0 : (config.uplinkIfindex[0] ?? 0) };
}

export class Hooks {
  readonly kind: AttachKind;
  readonly #maps: MapSet;
  readonly #pins: Pins;
  /** What the maps said before they were replaced: their n64_current says nothing. */
  #before: ProgramConfig | undefined;

  constructor(maps: MapSet, pins: Pins, options: { kind?: AttachKind; before?: ProgramConfig | undefined } = {}) {
    this.kind = options.kind ?? attachKind();
    this.#maps = maps;
    this.#pins = pins;
    this.#before = options.before;
  }

  /** Whether `object`, loaded with `config`, hangs where it must and nowhere else, and readers are told so. */
  areRight(object: BpfObject, config: ProgramConfig): boolean {
    const current = this.#maps.n64_current.lookup(encode(u32Codec, 0));
    if (current === undefined || !sameBytes(current, encode(configCodec, config))) return false;
    const { gate, uplink } = hookedDevices(config);
    const hangs = (device: number, side: 'egress' | 'ingress', pin: string, name: string) =>
      attachedProgram(device, side, pin, this.kind) === object.program(name).id;
    if (!hangs(gate, 'egress', this.#pins.link('gate'), 'n64_gate')) return false;
    const pin = this.#pins.link('uplink');
    return uplink === 0 ? !isPinned(pin) : hangs(uplink, 'ingress', pin, 'n64_uplink');
  }

  /** Hangs `object` where `config` says, in place of what hung there; takes down what hung elsewhere. */
  hang(object: BpfObject, config: ProgramConfig): void {
    const { kind } = this;
    const ranLast = this.#before ?? this.#current();
    const before = hookedDevices(ranLast);
    const { gate, uplink } = hookedDevices(config);
    // What n64_current names can be found again, so an old hook is left before it names another.
    if (before.gate !== gate) leave(before.gate, 'egress', kind);
    if (before.uplink !== uplink) leave(before.uplink, 'ingress', kind);
    new TypedMap(this.#maps.n64_current, u32Codec, configCodec).update(0, config);
    this.#before = undefined;
    try {
      attach(object.program('n64_gate'), gate, 'egress', this.#pins.link('gate'), kind);
    } catch (error) {
      // Nothing of it runs: sessions name their prefixes by the places of what ran last.
      if (ranLast !== undefined) new TypedMap(this.#maps.n64_current, u32Codec, configCodec).update(0, ranLast);
      throw error;
    }
    if (uplink !== 0) attach(object.program('n64_uplink'), uplink, 'ingress', this.#pins.link('uplink'), kind);
    else detach(before.uplink, 'ingress', this.#pins.link('uplink'), kind);
  }

  #current(): ProgramConfig | undefined {
    return new TypedMap(this.#maps.n64_current, u32Codec, configCodec).lookup(0);
  }
}
