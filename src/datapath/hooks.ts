// SPDX-License-Identifier: Apache-2.0
// Where the programs hang: the gate at the egress of gate64's device, with a direct way out another at the ingress of each
// interface that answers come by. What the programs were loaded with is noted in n64_current, for who reads while the
// service is down and for who looks for the hooks of before.

import type { BpfObject } from '../libbpf/mod.ts';
import { TypedMap } from '../libbpf/mod.ts';
import { configCodec } from '../model/layout.gen.ts';
import { attach, attachedProgram, attachKind, hookedDevices, leave, unlink, type AttachKind } from './attachment.ts';
import { encode, sameBytes } from './bytes.ts';
import type { ProgramConfig } from './datapath.ts';
import type { MapSet } from './ebpf-reader.ts';
import { u32Codec } from '../model/codecs.ts';
import type { Pins } from './pins.ts';

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
    const { gate, returns } = hookedDevices(config);
    const hangs = (device: number, side: 'egress' | 'ingress', pin: string, name: string) =>
      attachedProgram(device, side, pin, this.kind) === object.program(name).id;
    if (!hangs(gate, 'egress', this.#pins.gateLink, 'n64_gate')) return false;
    if (this.#others(returns).length > 0) return false;
    return returns.every((ifindex) => hangs(ifindex, 'ingress', this.#pins.returnLink(ifindex), 'n64_uplink'));
  }

  /** Hangs `object` where `config` says, in place of what hung there; takes down what hung elsewhere. */
  hang(object: BpfObject, config: ProgramConfig): void {
    const { kind } = this;
    const ranLast = this.#before ?? this.#current();
    const before = hookedDevices(ranLast);
    const { gate, returns } = hookedDevices(config);
    // What n64_current names can be found again, so an old hook is left before it names another.
    if (before.gate !== gate) leave(before.gate, 'egress', kind);
    for (const ifindex of before.returns) if (!returns.includes(ifindex)) leave(ifindex, 'ingress', kind);
    new TypedMap(this.#maps.n64_current, u32Codec, configCodec).update(0, config);
    this.#before = undefined;
    try {
      attach(object.program('n64_gate'), gate, 'egress', this.#pins.gateLink, kind);
    } catch (error) {
      // Nothing of it runs: sessions name their prefixes by the places of what ran last.
      if (ranLast !== undefined) new TypedMap(this.#maps.n64_current, u32Codec, configCodec).update(0, ranLast);
      throw error;
    }
    for (const ifindex of returns) {
      attach(object.program('n64_uplink'), ifindex, 'ingress', this.#pins.returnLink(ifindex), kind);
    }
    for (const pin of this.#others(returns)) unlink(pin);
  }

  /** Pinned links of the ways back but these. */
  #others(returns: readonly number[]): string[] {
    const wanted = new Set(returns.map((ifindex) => this.#pins.returnLink(ifindex)));
    return this.#pins.returnLinks().filter((pin) => !wanted.has(pin));
  }

  #current(): ProgramConfig | undefined {
    return new TypedMap(this.#maps.n64_current, u32Codec, configCodec).lookup(0);
  }
}
