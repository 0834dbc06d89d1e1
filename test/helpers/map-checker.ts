// SPDX-License-Identifier: Apache-2.0
// Whether the data plane's maps agree with each other: every flow with its pair and its binding, every binding with its
// port's bit, every count with what it counts. What is in motion disagrees for a moment; `settledDisagreements` leaves it out.

import { setTimeout as sleep } from 'node:timers/promises';
import { formatIp4, formatIp6 } from '../../src/addr/ip.ts';
import type { MapSet } from '../../src/datapath/ebpf-reader.ts';
import { u32Codec, u64Codec } from '../../src/model/codecs.ts';
import { flow4KeyOf } from '../../src/datapath/rows.ts';
import { type Codec, TypedMap } from '../../src/libbpf/mod.ts';
import { PROTOCOLS } from '../../src/model/binding.ts';
import {
  bib4Codec,
  bib4KeyCodec,
  bib6Codec,
  bib6KeyCodec,
  BLOCK_STATE,
  blockCodec,
  configCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  LIVE,
  NO_BLOCK,
  peerCodec,
  peerKeyCodec,
  podCodec,
  FLOW_OUTSIDE,
  PROTOCOL,
  STOCK,
  type Bib4,
  type Bib4Key,
  type Bib6,
  type Bib6Key,
  type Block,
  type Flow4,
  type Flow4Key,
  type Flow6,
  type Flow6Key,
  type Peer,
  type PeerKey,
  type Pod,
} from '../../src/model/layout.gen.ts';

interface Table<K, V> {
  /** By the text of its key. */
  readonly rows: ReadonlyMap<string, readonly [K, V]>;
}

interface Maps {
  readonly flow6: Table<Flow6Key, Flow6>;
  readonly flow4: Table<Flow4Key, Flow4>;
  readonly bib6: Table<Bib6Key, Bib6>;
  readonly bib4: Table<Bib4Key, Bib4>;
  readonly peers: Table<PeerKey, Peer>;
  readonly pods: ReadonlyMap<string, Pod>;
  /** Those that were ever written. */
  readonly blocks: ReadonlyMap<number, Block>;
  readonly podMask: Uint8Array;
  readonly live: readonly { sessions: number; bindings: number }[];
  readonly statics: readonly number[];
  readonly stock: { offered: bigint; leased: bigint };
}

export interface CheckOptions {
  /**
   * Static bindings have come or gone while pods held blocks: bits of those that went stay until their block has rested,
   * and nobody can say whose they were.
   */
  readonly staticsChanged?: boolean;
}

const S64: Codec<bigint> = { ...u64Codec, read: (view, offset) => view.getBigInt64(offset, true) };

const proto = (protocol: number) => PROTOCOLS[protocol] ?? `protocol ${protocol}`;
const inside = (v6: Uint8Array, port: number) => `[${formatIp6(v6)}]:${port}`;
const outside = (v4: number, port: number) => `${formatIp4(v4)}:${port}`;

const name6 = (key: Flow6Key) =>
  `${proto(key.protocol)} ${inside(key.src, key.sport)} to ${outside(key.dst4, key.dport)} by prefix ${key.prefix}`;
const name4 = (key: Flow4Key) =>
  `${proto(key.protocol)} ${outside(key.src, key.sport)} to ${outside(key.dst, key.dport)}`;
const nameBib6 = (key: Bib6Key) => `${proto(key.protocol)} ${inside(key.src, key.port)}`;
const nameBib4 = (key: Bib4Key) => `${proto(key.protocol)} ${outside(key.pool, key.port)}`;
const namePeer = (key: PeerKey) => `${nameBib4(key)} with ${formatIp4(key.remote)}`;

function tableOf<K, V>(
  map: MapSet['n64_flow6'],
  key: Codec<K>,
  value: Codec<V>,
  name: (key: K) => string,
): Table<K, V> {
  const rows = new Map<string, readonly [K, V]>();
  for (const [k, v] of new TypedMap(map, key, value).entries()) rows.set(name(k), [k, v]);
  return { rows };
}

const rawKey: Codec<Uint8Array> = {
  size: 16,
  read: (view, offset) => new Uint8Array(view.buffer.slice(view.byteOffset + offset, view.byteOffset + offset + 16)),
  write: (view, offset, value) => new Uint8Array(view.buffer, view.byteOffset + offset, 16).set(value),
};

function readMaps(maps: MapSet): Maps {
  const pods = new Map<string, Pod>();
  for (const [key, pod] of new TypedMap(maps.n64_pods, rawKey, podCodec).entries()) pods.set(formatIp6(key), pod);
  const blocks = new Map<number, Block>();
  for (const [index, block] of new TypedMap(maps.n64_blocks, u32Codec, blockCodec).entries()) {
    if (block.state !== BLOCK_STATE.BLOCK_NONE) blocks.set(index, block);
  }
  const live = new TypedMap(maps.n64_live, u32Codec, S64);
  const alive = (kind: number, protocol: number) =>
    Number((live.lookupPerCpu(kind * PROTOCOL.PROTOCOLS + protocol) ?? []).reduce((sum, one) => sum + one, 0n));
  const statics = new TypedMap(maps.n64_statics, u32Codec, u32Codec);
  const stock = new TypedMap(maps.n64_stock, u32Codec, u64Codec);
  return {
    flow6: tableOf(maps.n64_flow6, flow6KeyCodec, flow6Codec, name6),
    flow4: tableOf(maps.n64_flow4, flow4KeyCodec, flow4Codec, name4),
    bib6: tableOf(maps.n64_bib6, bib6KeyCodec, bib6Codec, nameBib6),
    bib4: tableOf(maps.n64_bib4, bib4KeyCodec, bib4Codec, nameBib4),
    peers: tableOf(maps.n64_peer, peerKeyCodec, peerCodec, namePeer),
    pods,
    blocks,
    podMask: new TypedMap(maps.n64_current, u32Codec, configCodec).lookup(0)?.podMask ?? new Uint8Array(16).fill(0xff),
    live: PROTOCOLS.map((_, i) => ({ sessions: alive(LIVE.LIVE_SESSIONS, i), bindings: alive(LIVE.LIVE_BINDINGS, i) })),
    statics: PROTOCOLS.map((_, i) => statics.lookup(i) ?? 0),
    stock: {
      offered: stock.lookup(STOCK.STOCK_OFFERED) ?? 0n,
      leased: stock.lookup(STOCK.STOCK_LEASED) ?? 0n,
    },
  };
}

/** Counts by name. */
class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string): void {
    this.#counts.set(name, this.of(name) + 1);
  }

  names(): Iterable<string> {
    return this.#counts.keys();
  }

  of(name: string): number {
    return this.#counts.get(name) ?? 0;
  }
}

const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

function checkFlows({ flow6, flow4 }: Maps, found: string[]): void {
  for (const [name, [key, six]] of flow6.rows) {
    const [, four] = flow4.rows.get(name4(flow4KeyOf(key, six))) ?? [];
    if (four === undefined) {
      found.push(`session ${name} has no IPv4 entry`);
      continue;
    }
    if (!same(four.src, key.src) || four.port !== key.sport || four.prefix !== key.prefix) {
      const other = `${inside(four.src, four.port)} by prefix ${four.prefix}`;
      found.push(`session ${name}: its IPv4 entry leads to ${other}`);
    } else if (four.state !== six.state) {
      found.push(`session ${name} is in state ${six.state}, its IPv4 entry in ${four.state}`);
    }
  }
  for (const [name, [key, four]] of flow4.rows) {
    const { src: dst4, sport: dport, protocol } = key;
    const key6: Flow6Key = { src: four.src, dst4, sport: four.port, dport, protocol, prefix: four.prefix };
    const [, six] = flow6.rows.get(name6(key6)) ?? [];
    if (six === undefined) found.push(`IPv4 entry ${name} has no session: ${name6(key6)}`);
    else if (six.pool !== key.dst || six.port !== key.dport) {
      found.push(`IPv4 entry ${name}: its session is of ${outside(six.pool, six.port)}`);
    }
  }
}

function checkBindings({ flow6, bib6, bib4, blocks }: Maps, found: string[]): void {
  const sessions = new Tally();
  for (const [name, [key, six]] of flow6.rows) {
    const of = nameBib6({ src: key.src, port: key.sport, protocol: key.protocol });
    sessions.add(of);
    const [, bib] = bib6.rows.get(of) ?? [];
    if (bib === undefined) found.push(`session ${name} has no binding`);
    else if (bib.pool !== six.pool || bib.port !== six.port) {
      found.push(`session ${name} is of ${outside(six.pool, six.port)}, its binding of ${outside(bib.pool, bib.port)}`);
    } else if (Number(bib.createdNs & 0xffffffffn) !== six.generation) {
      found.push(`session ${name} is of another binding's generation`);
    }
  }
  for (const [name, [key, bib]] of bib6.rows) {
    if (bib.refs !== sessions.of(name)) {
      found.push(`binding ${name} counts ${bib.refs} sessions of ${sessions.of(name)}`);
    }
    const [, four] = bib4.rows.get(nameBib4({ pool: bib.pool, port: bib.port, protocol: key.protocol })) ?? [];
    if (four === undefined) found.push(`binding ${name} has no IPv4 side`);
    else if (!same(four.src, key.src) || four.port !== key.port) {
      found.push(`binding ${name}: its IPv4 side is of ${inside(four.src, four.port)}`);
    } else if (four.isStatic !== bib.isStatic) found.push(`binding ${name} is static on one side`);
    if (bib.isStatic !== 0) {
      if (bib.block !== NO_BLOCK) found.push(`static binding ${name} is of block ${bib.block}`);
      continue;
    }
    const block = blocks.get(bib.block);
    if (block === undefined) found.push(`binding ${name} is of block ${bib.block}, which is none`);
    else if (bib.pool !== block.pool || bib.port < block.firstPort || bib.port >= block.firstPort + block.size) {
      found.push(`binding ${name}: ${outside(bib.pool, bib.port)} lies outside block ${bib.block}`);
    }
  }
  for (const [name, [key, four]] of bib4.rows) {
    const of = nameBib6({ src: four.src, port: four.port, protocol: key.protocol });
    const [, bib] = bib6.rows.get(of) ?? [];
    if (bib === undefined) found.push(`IPv4 side ${name} has no binding: ${of}`);
    else if (bib.pool !== key.pool || bib.port !== key.port) {
      found.push(`IPv4 side ${name}: its binding is of ${outside(bib.pool, bib.port)}`);
    }
  }
}

function isSet(block: Block, protocol: number, port: number): boolean {
  const at = port - block.firstPort;
  return (((block.bits[protocol]?.[at >> 6] ?? 0n) >> BigInt(at & 63)) & 1n) === 1n;
}

function checkBlocks(
  { bib6, bib4, blocks, pods }: Maps,
  { staticsChanged = false }: CheckOptions,
  found: string[],
): void {
  const dynamic = new Tally();
  // A port that has a static binding is kept from all protocols.
  const fixed = new Set<string>();
  for (const [{ pool, port }, { isStatic }] of bib4.rows.values()) if (isStatic !== 0) fixed.add(outside(pool, port));
  const wanted = new Set<string>();
  for (const [name, [key, bib]] of bib6.rows) {
    if (bib.isStatic !== 0) continue;
    dynamic.add(`${bib.block}`);
    const block = blocks.get(bib.block);
    wanted.add(nameBib4({ pool: bib.pool, port: bib.port, protocol: key.protocol }));
    if (block === undefined) continue;
    if (block.state !== BLOCK_STATE.BLOCK_LEASED) found.push(`binding ${name}: block ${bib.block} is not leased`);
    if (!isSet(block, key.protocol, bib.port)) found.push(`binding ${name}: its port's bit is not set`);
  }
  const heldBy = new Map<number, string[]>();
  for (const [pod, { block, top }] of pods) {
    block.forEach((plusOne, at) => {
      if (plusOne === 0) return;
      if (at >= top) found.push(`pod ${pod} holds block ${plusOne - 1} at ${at}, beyond ${top}`);
      heldBy.set(plusOne - 1, [...(heldBy.get(plusOne - 1) ?? []), pod]);
    });
  }
  for (const [index, block] of blocks) {
    if (block.used !== dynamic.of(`${index}`)) {
      found.push(`block ${index} counts ${block.used} bindings of ${dynamic.of(`${index}`)}`);
    }
    for (const [protocol, words] of block.bits.entries()) {
      if (words.every((word) => word === 0n)) continue;
      for (let port = block.firstPort; port < block.firstPort + block.size; port++) {
        if (!isSet(block, protocol, port)) continue;
        const name = nameBib4({ pool: block.pool, port, protocol });
        if (wanted.has(name) || fixed.has(outside(block.pool, port))) continue;
        if (!staticsChanged) found.push(`block ${index}: the bit of ${name} is set, which is nobody's`);
      }
    }
    const holders = heldBy.get(index) ?? [];
    const rightly = block.state === BLOCK_STATE.BLOCK_LEASED ? [formatIp6(block.holder)] : [];
    if (holders.join() !== rightly.join()) {
      found.push(`block ${index} is of ${rightly.join() || 'nobody'}, and held by ${holders.join(', ') || 'nobody'}`);
    }
  }
  for (const index of heldBy.keys()) {
    if (!blocks.has(index)) found.push(`pod ${heldBy.get(index)?.join(', ')} holds block ${index}, which is none`);
  }
}

function checkCounts({ flow6, bib6, peers, pods, podMask, blocks, live, statics, stock }: Maps, found: string[]): void {
  const [byPod, outsideByPod, byPeer, byProtocol, bindings] = [
    new Tally(),
    new Tally(),
    new Tally(),
    new Tally(),
    new Tally(),
  ];
  for (const [key, six] of flow6.rows.values()) {
    const pod = formatIp6(key.src.map((byte, i) => byte & (podMask[i] ?? 0)));
    byPod.add(pod);
    if ((six.flags & FLOW_OUTSIDE) !== 0) outsideByPod.add(pod);
    byProtocol.add(`${key.protocol}`);
    if (key.protocol !== PROTOCOL.UDP) continue;
    const peer = namePeer({ pool: six.pool, remote: key.dst4, port: six.port, protocol: key.protocol });
    byPeer.add(peer);
    if (!peers.rows.has(peer)) found.push(`peer ${peer} is missing`);
  }
  for (const [name, [, { refs }]] of peers.rows) {
    if (refs !== byPeer.of(name)) found.push(`peer ${name} counts ${refs} sessions of ${byPeer.of(name)}`);
  }
  for (const [pod, { sessions, outside: begun }] of pods) {
    if (sessions !== byPod.of(pod)) found.push(`pod ${pod} counts ${sessions} sessions of ${byPod.of(pod)}`);
    if (begun !== outsideByPod.of(pod)) {
      found.push(`pod ${pod} counts ${begun} sessions from outside of ${outsideByPod.of(pod)}`);
    }
  }
  for (const [, [key, bib]] of bib6.rows) bindings.add(`${bib.isStatic !== 0 ? 'static' : 'dynamic'} ${key.protocol}`);
  for (const pod of byPod.names()) {
    if (!pods.has(pod)) found.push(`pod ${pod} has ${byPod.of(pod)} sessions and no record`);
  }
  live.forEach((counted, i) => {
    const real = { sessions: byProtocol.of(`${i}`), bindings: bindings.of(`dynamic ${i}`) };
    for (const what of ['sessions', 'bindings'] as const) {
      if (counted[what] !== real[what]) found.push(`${counted[what]} ${proto(i)} ${what} are counted of ${real[what]}`);
    }
    const fixed = bindings.of(`static ${i}`);
    if (statics[i] !== fixed) found.push(`${statics[i]} static ${proto(i)} bindings are counted of ${fixed}`);
  });
  const offered = [...blocks.values()].filter(({ state }) => state === BLOCK_STATE.BLOCK_OFFERED).length;
  if (stock.offered - stock.leased !== BigInt(offered)) {
    found.push(`the stock is ${stock.offered - stock.leased} blocks of ${offered}`);
  }
}

/** What does not agree, a sentence each; nothing when all do. */
export function disagreements(maps: MapSet, options: CheckOptions = {}): string[] {
  const read = readMaps(maps);
  const found: string[] = [];
  checkFlows(read, found);
  checkBindings(read, found);
  checkBlocks(read, options, found);
  checkCounts(read, found);
  return found;
}

/** What disagrees in each of several readings, while traffic and the sweep may go on. */
export async function settledDisagreements(maps: MapSet, options: CheckOptions = {}, readings = 3): Promise<string[]> {
  let found = disagreements(maps, options);
  for (let reading = 1; reading < readings && found.length > 0; reading++) {
    await sleep(200);
    const again = new Set(disagreements(maps, options));
    found = found.filter((one) => again.has(one));
  }
  return found;
}
