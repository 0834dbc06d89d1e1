// SPDX-License-Identifier: Apache-2.0
// Where packets that wait in user space come out of the programs (bpf/held.h, bpf/syn.h), and go in again: the two ends of the
// owned device. What the programs know of a datagram, and what they are told of it, stands in two maps.

import { extractIp4 } from '../addr/rfc6052.ts';
import { Gate64Error } from '../errors.ts';
import { ifIndexToName, ifNameToIndex, PacketSocket, TypedMap } from '../libbpf/mod.ts';
import { peerName } from '../model/device.ts';
import {
  DIRECTION,
  flow4KeyCodec,
  fragCodec,
  fragKeyCodec,
  FRAGS_A_PART,
  FRAG_PARTS,
  HELD_MARK,
  SYN_MARK,
  holdCodec,
  type FragKey,
} from '../model/layout.gen.ts';
import { encode, sameBytes, viewOf } from './bytes.ts';
import { monotonicNs } from './clock.ts';
import type { DatagramId, ProgramConfig, WholeDatagram } from './datapath.ts';
import type { MapSet } from './ebpf-reader.ts';
import { u32Codec } from '../model/codecs.ts';
import { connectionOf, isSyn } from './syn-packet.ts';

const ETHERNET_BYTES = 14;
const ETHERTYPE = { 4: 0x0800, 6: 0x86dd } as const;
/** A second's worth of what the programs hand over, and as much again. */
const RECEIVE_BUFFER = 8 << 20;
/** Longer than sending takes: an entry is deleted after it, and stays only if the process dies meanwhile. */
const HOLD_NS = 2_000_000_000n;

type PacketListener = (packets: readonly Uint8Array[]) => void;

export class FragmentPort implements Disposable {
  readonly #maps: MapSet;
  readonly #config: () => ProgramConfig;
  #onSyns: PacketListener = () => undefined;
  #socket: PacketSocket | undefined;
  /** Indexes of device and peer that #socket was opened for. */
  #ends: readonly [device: number, peer: number] = [0, 0];

  constructor(maps: MapSet, config: () => ProgramConfig) {
    this.#maps = maps;
    this.#config = config;
  }

  /** Opens the socket where the device has come, or come anew. Throws LibbpfError, or G64_DATAPATH_LOAD without a device. */
  open(listener: PacketListener): void {
    const device = this.#config().deviceIfindex;
    const name = ifIndexToName(device);
    if (name === undefined) throw new Gate64Error('G64_DATAPATH_LOAD', 'the device of the programs is not there');
    const peer = ifNameToIndex(peerName(name));
    if (this.#socket !== undefined && this.#ends[0] === device && this.#ends[1] === peer) return;
    this.#socket?.close();
    this.#socket = undefined;
    this.#socket = new PacketSocket({ ifindex: peer, mark: HELD_MARK, receiveBuffer: RECEIVE_BUFFER }, (frames) => {
      const { deviceMac } = this.#config();
      const [syns, fragments]: [Uint8Array[], Uint8Array[]] = [[], []];
      for (const frame of frames) {
        const packet = frame.subarray(ETHERNET_BYTES);
        if (!isSyn(packet)) fragments.push(packet);
        // What we sent and no program took (the pool has changed) has another destination, and is no SYN a second time.
        else if (sameBytes(frame.subarray(0, 6), deviceMac)) syns.push(packet);
      }
      if (syns.length > 0) this.#onSyns(syns);
      if (fragments.length > 0) listener(fragments);
    });
    this.#ends = [device, peer];
  }

  /** Where SYNs go that nobody asked for, once the socket is open. */
  set onSyns(listener: PacketListener) {
    this.#onSyns = listener;
  }

  /** Has the programs answer a SYN; false where its connection has come about meanwhile, and nothing is sent. */
  refuseSyn(packet: Uint8Array): boolean {
    if (this.#maps.n64_flow4.lookup(encode(flow4KeyCodec, connectionOf(packet))) !== undefined) return false;
    return this.#socket?.send(frameOf(packet, ETHERTYPE[4]), this.#ends[0], ETHERTYPE[4], SYN_MARK) ?? false;
  }

  /** Whether anything can be sent. */
  get isOpen(): boolean {
    return this.#socket !== undefined;
  }

  /** Sends an IPv6 packet to the pods, as it comes from the programs when they have translated it. */
  deliver(packet: Uint8Array): boolean {
    const frame = frameOf(packet, ETHERTYPE[6]);
    frame.set(this.#config().deviceMac);
    return this.#socket?.send(frame, this.#ends[1], ETHERTYPE[6], 0) ?? false;
  }

  /** Whether the programs have seen the first fragment, and so let the others pass. */
  isPassing(datagram: DatagramId): boolean {
    const key = this.#keyOf(datagram);
    if (key === undefined) return false;
    const wanted = encode(fragKeyCodec, key);
    const found = this.#maps.n64_frags.lookup(encode(u32Codec, fragmentPlace(wanted)));
    if (found === undefined) return false;
    const { expiresNs, key: there } = fragCodec.read(viewOf(found), 0);
    return expiresNs > monotonicNs() && sameBytes(encode(fragKeyCodec, there), wanted);
  }

  /** Sends packets to the programs again, which are told what `whole` says first. How many the kernel took. */
  send(datagram: DatagramId, packets: readonly Uint8Array[], whole: WholeDatagram | undefined): number {
    const key = this.#keyOf(datagram);
    const socket = this.#socket;
    if (key === undefined || socket === undefined) return 0;
    const holds = new TypedMap(this.#maps.n64_hold, fragKeyCodec, holdCodec);
    if (whole !== undefined) holds.update(key, { expiresNs: monotonicNs() + HOLD_NS, ...whole });
    const type = ETHERTYPE[datagram.source.length === 4 ? 4 : 6];
    let sent = 0;
    for (const packet of packets) {
      // The programs run within the call.
      if (socket.send(frameOf(packet, type), this.#ends[0], type)) sent++;
    }
    if (whole !== undefined) holds.delete(key);
    return sent;
  }

  /** As bpf/frag.h makes it; undefined for what is not for the translator. */
  #keyOf({ source, destination, id, protocol }: DatagramId): FragKey | undefined {
    if (source.length === 4) {
      const direction = DIRECTION['4TO6'];
      return { src: inLastBytes(source), dst: inLastBytes(destination), id, protocol, direction };
    }
    const { prefixes, prefixCount } = this.#config();
    for (const [index, { address, length }] of prefixes.slice(0, prefixCount).entries()) {
      if (length === 0) continue;
      const v4 = extractIp4({ v6: address, length }, destination);
      if (v4 === undefined) continue;
      const dst = new Uint8Array(16);
      dst[0] = index;
      viewOf(dst).setUint32(12, v4);
      return { src: source, dst, id, protocol, direction: DIRECTION['6TO4'] };
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
  }
}

/** Its addresses are zero. */
function frameOf(packet: Uint8Array, type: number): Uint8Array {
  const frame = new Uint8Array(ETHERNET_BYTES + packet.length);
  viewOf(frame).setUint16(12, type);
  frame.set(packet, ETHERNET_BYTES);
  return frame;
}

function inLastBytes(address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(address, 12);
  return bytes;
}

/** frag_place() of bpf/frag.h: the sender's part of the table, and there by all else. */
function fragmentPlace(key: Uint8Array): number {
  const part = (hashWords(key, 0, 4) >>> 16) & (FRAG_PARTS - 1);
  return part * FRAGS_A_PART + ((hashWords(key, 16, 6) >>> 16) & (FRAGS_A_PART - 1));
}

/** hash_words() of bpf/common.h */
function hashWords(bytes: Uint8Array, at: number, count: number): number {
  const view = viewOf(bytes);
  let hash = 0;
  for (let i = 0; i < count; i++) {
    hash = Math.imul(hash ^ view.getUint32(at + 4 * i, true), 0x9e3779b1);
    hash ^= hash >>> 15;
  }
  return Math.imul(hash, 0x85ebca6b);
}
