// SPDX-License-Identifier: Apache-2.0
// Static bindings (RFC 6146 §3.1): entries of both binding tables that stay without sessions.

import { Gate64Error } from '../errors.ts';
import { TypedMap, type BpfMap, type Codec } from '../libbpf/mod.ts';
import { encode, viewOf } from './bytes.ts';
import { epochClock, monotonicNs } from './clock.ts';
import { PROTOCOLS, type StaticBinding } from '../model/binding.ts';
import { type StaticHolders } from './datapath.ts';
import type { MapSet } from './ebpf-reader.ts';
import { u32Codec } from '../model/codecs.ts';
import { bib4Codec, bib4KeyCodec, bib6Codec, bib6KeyCodec, NO_BLOCK } from '../model/layout.gen.ts';
import { protocolIndex, protocolName } from './rows.ts';

/** Where a record says that its binding is static: most do not, and are not decoded. */
const IS_STATIC_AT = {
  six: flagOffset(bib6Codec),
  four: flagOffset(bib4Codec),
} as const;

function flagOffset<T extends { isStatic: number }>(codec: Codec<T>): number {
  const empty = codec.read(new DataView(new ArrayBuffer(codec.size)), 0);
  return encode(codec, { ...empty, isStatic: 1 }).indexOf(1);
}

/** Keys and values of static entries alone. */
function* staticEntries<K, V>(map: BpfMap, key: Codec<K>, value: Codec<V>, flagAt: number): IterableIterator<[K, V]> {
  for (const batch of map.lookupBatch()) {
    const [keys, values] = [viewOf(batch.keys), viewOf(batch.values)];
    for (let i = 0; i < batch.count; i++) {
      if (values.getUint8(i * value.size + flagAt) === 0) continue;
      yield [key.read(keys, i * key.size), value.read(values, i * value.size)];
    }
  }
}

export class StaticStore {
  readonly #maps: MapSet;
  /** What is in the maps, once it was looked for; nobody else makes static bindings. */
  #known: Map<string, StaticBinding> | undefined;

  constructor(maps: MapSet) {
    this.#maps = maps;
  }

  all(): StaticBinding[] {
    this.#known ??= this.#count() === 0 ? new Map() : this.#find();
    return [...this.#known.values()];
  }

  /** Whoever has the pool's side of `binding`, and what the pod's side has. */
  holders({ protocol: name, pool, source }: StaticBinding): StaticHolders {
    const protocol = protocolIndex(name);
    const { n64_bib4: four, n64_bib6: six } = this.#maps;
    const holder = new TypedMap(four, bib4KeyCodec, bib4Codec).lookup({ pool: pool.v4, port: pool.port, protocol });
    const has = new TypedMap(six, bib6KeyCodec, bib6Codec).lookup({ src: source.v6, port: source.port, protocol });
    return {
      source: holder && { v6: holder.src, port: holder.port },
      pool: has && { v4: has.pool, port: has.port },
    };
  }

  /** Milliseconds since the epoch. */
  since({ protocol: name, pool, source }: StaticBinding): number | undefined {
    const key = { src: source.v6, port: source.port, protocol: protocolIndex(name) };
    const has = new TypedMap(this.#maps.n64_bib6, bib6KeyCodec, bib6Codec).lookup(key);
    if (!has?.isStatic || has.pool !== pool.v4 || has.port !== pool.port) return undefined;
    return epochClock()(has.createdNs);
  }

  put(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    const bib6 = new TypedMap(this.#maps.n64_bib6, bib6KeyCodec, bib6Codec);
    const bib4 = new TypedMap(this.#maps.n64_bib4, bib4KeyCodec, bib4Codec);
    const key6 = { src: source.v6, port: source.port, protocol };
    const key4 = { pool: pool.v4, port: pool.port, protocol };
    const six = { createdNs: monotonicNs(), pool: pool.v4, port: pool.port, isStatic: 1, refs: 0, block: NO_BLOCK };
    const four = { src: source.v6, port: source.port, isStatic: 1 };
    // Counted first: a process that dies on the way leaves a count that makes the next one look.
    this.#countStatics(protocol, 1);
    const made6 = bib6.tryUpdate(key6, six, 'noexist');
    const there6 = made6 ? undefined : bib6.lookup(key6);
    if (!made6 && !(there6?.isStatic && there6.pool === pool.v4 && there6.port === pool.port)) {
      this.#countStatics(protocol, -1);
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv6 side of the static binding has another binding now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    const made4 = bib4.tryUpdate(key4, four, 'noexist');
    const there4 = made4 ? undefined : bib4.lookup(key4);
    if (!made4 && !(there4?.isStatic && there4.port === source.port && Buffer.compare(there4.src, source.v6) === 0)) {
      if (made6) bib6.delete(key6);
      this.#countStatics(protocol, -1);
      throw new Gate64Error('G64_POOL_COLLISION', 'the IPv4 side of the static binding is in use now', {
        hint: 'it is free when the sessions of that port have ended',
      });
    }
    // One that was there, whole or by half, has been counted.
    if (!made6 || !made4) this.#countStatics(protocol, -1);
    this.#known?.set(keyOf(binding), binding);
  }

  delete(binding: StaticBinding): void {
    const protocol = protocolIndex(binding.protocol);
    const { source, pool } = binding;
    const { n64_bib4: four, n64_bib6: six } = this.#maps;
    const had4 = new TypedMap(four, bib4KeyCodec, bib4Codec).delete({ pool: pool.v4, port: pool.port, protocol });
    const had6 = new TypedMap(six, bib6KeyCodec, bib6Codec).delete({ src: source.v6, port: source.port, protocol });
    if (had4 || had6) this.#countStatics(protocol, -1);
    this.#known?.delete(keyOf(binding));
  }

  /** Looks through both tables, takes away what stands in one of them alone, and sets the counts right. */
  #find(): Map<string, StaticBinding> {
    const { n64_bib4: four, n64_bib6: six, n64_statics: statics } = this.#maps;
    const in6 = new Map<string, StaticBinding>();
    const in4 = new Map<string, StaticBinding>();
    for (const [key, bib] of staticEntries(six, bib6KeyCodec, bib6Codec, IS_STATIC_AT.six)) {
      const pool = { v4: bib.pool, port: bib.port };
      const binding = { protocol: protocolName(key.protocol), source: { v6: key.src, port: key.port }, pool };
      in6.set(keyOf(binding), binding);
    }
    for (const [key, bib] of staticEntries(four, bib4KeyCodec, bib4Codec, IS_STATIC_AT.four)) {
      const source = { v6: bib.src, port: bib.port };
      const binding = { protocol: protocolName(key.protocol), source, pool: { v4: key.pool, port: key.port } };
      in4.set(keyOf(binding), binding);
    }
    for (const [key, { protocol, source }] of in6) {
      if (in4.has(key)) continue;
      in6.delete(key);
      const key6 = { src: source.v6, port: source.port, protocol: protocolIndex(protocol) };
      new TypedMap(six, bib6KeyCodec, bib6Codec).delete(key6);
    }
    for (const [key, { protocol, pool }] of in4) {
      if (in6.has(key)) continue;
      const key4 = { pool: pool.v4, port: pool.port, protocol: protocolIndex(protocol) };
      new TypedMap(four, bib4KeyCodec, bib4Codec).delete(key4);
    }
    const counts = PROTOCOLS.map((name) => [...in6.values()].filter(({ protocol }) => protocol === name).length);
    counts.forEach((count, protocol) => new TypedMap(statics, u32Codec, u32Codec).update(protocol, count));
    return in6;
  }

  #count(): number {
    const statics = new TypedMap(this.#maps.n64_statics, u32Codec, u32Codec);
    return PROTOCOLS.reduce((sum, _, protocol) => sum + (statics.lookup(protocol) ?? 0), 0);
  }

  #countStatics(protocol: number, change: number): void {
    const statics = new TypedMap(this.#maps.n64_statics, u32Codec, u32Codec);
    statics.update(protocol, Math.max(0, (statics.lookup(protocol) ?? 0) + change));
  }
}

function keyOf({ protocol, source, pool }: StaticBinding): string {
  return `${protocol} ${Buffer.from(source.v6).toString('hex')} ${source.port} ${pool.v4} ${pool.port}`;
}
