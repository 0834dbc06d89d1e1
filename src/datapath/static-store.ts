// SPDX-License-Identifier: Apache-2.0
// Static bindings (RFC 6146 §3.1): entries of both binding tables that stay without sessions.

import { Gate64Error } from '../errors.ts';
import { typed } from '../libbpf/mod.ts';
import { monotonicNs } from './clock.ts';
import type { StaticBinding } from './datapath.ts';
import { u32Codec, type MapSet } from './ebpf-reader.ts';
import { bib4Codec, bib4KeyCodec, bib6Codec, bib6KeyCodec, NO_BLOCK } from './layout.gen.ts';
import { protocolIndex } from './rows.ts';

export class StaticStore {
  readonly #maps: MapSet;

  constructor(maps: MapSet) {
    this.#maps = maps;
  }

  put(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    const bib6 = typed(this.#maps.n64_bib6, bib6KeyCodec, bib6Codec);
    const key = { src: source.v6, port: source.port, protocol };
    const value = {
      createdNs: monotonicNs(),
      pool: pool.v4,
      port: pool.port,
      isStatic: 1,
      refs: 0,
      block: NO_BLOCK,
    };
    if (!bib6.tryUpdate(key, value, 'noexist')) {
      const there = bib6.lookup(key);
      if (there?.isStatic && there.pool === pool.v4 && there.port === pool.port) return;
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv6 side of the static binding has another binding now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    const bib4 = typed(this.#maps.n64_bib4, bib4KeyCodec, bib4Codec);
    const four = { src: source.v6, port: source.port, isStatic: 1 };
    if (!bib4.tryUpdate({ pool: pool.v4, port: pool.port, protocol }, four, 'noexist')) {
      bib6.delete(key);
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv4 side of the static binding is in use now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    this.#countStatics(protocol, 1);
  }

  delete(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    typed(this.#maps.n64_bib4, bib4KeyCodec, bib4Codec).delete({ pool: pool.v4, port: pool.port, protocol });
    const bib6 = typed(this.#maps.n64_bib6, bib6KeyCodec, bib6Codec);
    if (bib6.delete({ src: source.v6, port: source.port, protocol })) this.#countStatics(protocol, -1);
  }

  #countStatics(protocol: number, change: number): void {
    const statics = typed(this.#maps.n64_statics, u32Codec, u32Codec);
    statics.update(protocol, Math.max(0, (statics.lookup(protocol) ?? 0) + change));
  }
}
