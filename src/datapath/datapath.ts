// SPDX-License-Identifier: Apache-2.0
// What the rest of gate64 knows of the data plane: rows read from it, settings written to it. ebpf.ts carries it out
// with the BPF object; the tests have another that does so in memory. Addresses: `v4` u32 host order, `v6` 16 bytes. Times: milliseconds
// since the epoch. RFC 6146's letters: X',x is the IPv6 side, T,t the pool side, Z,z the IPv4 destination.

import type { DestinationRule } from '../addr/destinations.ts';
import type { Ip6Net } from '../addr/ip.ts';
import type { Protocol, StaticBinding, TransportAddress4, TransportAddress6 } from '../model/binding.ts';
import type { DropReason } from '../model/drops.gen.ts';
import type { DatapathFacts } from '../model/facts.ts';
import type { Config, Prefix } from '../model/layout.gen.ts';
import type { SessionsWanted } from './wanted.ts';

/** Direction of a packet: from the IPv6 side to the IPv4 side, or back. */
export type Direction = '6to4' | '4to6';

/** RFC 6146 §3.5.2.2 for TCP; UDP and ICMP have the one state 'open'. */
export type SessionState =
  'open' | 'v4Init' | 'v6Init' | 'established' | 'v4FinReceived' | 'v6FinReceived' | 'bothFinReceived' | 'transitory';

/** RFC 6146 §3.2 session table entry: (X',x),(Y',y) ↔ (T,t),(Z,z). For ICMP all ports are the identifier. */
export interface SessionRow {
  readonly protocol: Protocol;
  readonly state: SessionState;
  /** X',x */
  readonly source: TransportAddress6;
  /** Y', the destination as the IPv6 side writes it. */
  readonly destination6: Uint8Array;
  /** T,t */
  readonly pool: TransportAddress4;
  /** Z,z */
  readonly destination: TransportAddress4;
  readonly createdAt: number;
  readonly lastSeenAt: number;
  readonly expiresAt: number;
  /** Counted 6to4. */
  readonly packetsOut: number;
  readonly bytesOut: number;
  /** Counted 4to6. */
  readonly packetsIn: number;
  readonly bytesIn: number;
}

/** RFC 6146 §3.1 binding information base entry: (X',x) ↔ (T,t). */
export interface BindingRow {
  readonly protocol: Protocol;
  readonly source: TransportAddress6;
  readonly pool: TransportAddress4;
  readonly sessions: number;
  readonly isStatic: boolean;
  readonly createdAt: number;
}

/**
 * `offered`: lies in its address's queue, the next pod that needs one takes it. `leased`: a pod holds it. `resting`: empty
 * and waiting out the hold-down. `retired`: no longer of the pool, kept while it empties.
 */
export type BlockState = 'offered' | 'leased' | 'resting' | 'retired';

/** A run of ports of one pool address. `index` names it for its whole life; `slot` is its address's queue. */
export interface Block {
  readonly index: number;
  readonly slot: number;
  readonly v4: number;
  readonly firstPort: number;
  readonly size: number;
}

export interface BlockRow extends Block {
  readonly state: BlockState;
  /** The pod that holds it, when leased. */
  readonly holder: Uint8Array | undefined;
  /** When it was leased. */
  readonly since: number | undefined;
  /** Whether any pod has had it since it was written. */
  readonly wasLeased: boolean;
  readonly used: Readonly<Record<Protocol, number>>;
}

/** The last packet that was dropped for a reason, kept per reason. */
export interface DropSample {
  readonly at: number;
  /** Text of the addresses as they stood in the packet, IPv6 or IPv4. */
  readonly source: string;
  readonly destination: string;
  /** IP protocol number. */
  readonly protocol: number;
  /** 0 where the protocol has none. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Of ICMP and ICMPv6, null for all else. */
  readonly icmpType: number | null;
  readonly icmpCode: number | null;
  /** Bytes from the IP header on. */
  readonly length: number;
}

export interface DropRow {
  readonly reason: DropReason;
  readonly direction: Direction;
  readonly count: number;
  readonly last: DropSample | undefined;
}

export interface PacketCounterRow {
  readonly direction: Direction;
  readonly protocol: Protocol;
  readonly packets: number;
  readonly bytes: number;
}

/** Of those packets, the ones that passed the node's IPv6 forwarding by (nat64.accelerate). */
export interface AcceleratedCounterRow {
  readonly direction: Direction;
  readonly packets: number;
}

/** What is there now, static bindings included. */
export interface LiveCounts {
  readonly sessions: Readonly<Record<Protocol, number>>;
  readonly bindings: Readonly<Record<Protocol, number>>;
}

export interface MapFillRow {
  readonly map: string;
  readonly entries: number;
  readonly maxEntries: number;
}

export interface PoolAddress {
  readonly v4: number;
  readonly slot: number;
  /** True when the node uses the address too: what is not ours passes to the host stack (requirements C-06). */
  readonly shared: boolean;
  /** Left the pool: its flows go on, and nobody gets a new port of it. With `shared` pods may have it as a destination. */
  readonly draining: boolean;
}

/** What stands on either side of a static binding now, its own or others' bindings. */
export interface StaticHolders {
  /** Whose the pool address's port is. */
  readonly source: TransportAddress6 | undefined;
  /** What the pod's port is bound to. */
  readonly pool: TransportAddress4 | undefined;
}

/** All that is compiled into the programs when they are loaded (struct n64_config of bpf/types.h). */
export type ProgramConfig = Config;

/** Fixed when the maps are made; another value on a later start replaces the maps (and ends the sessions). */
export interface DatapathSizes {
  readonly maxSessions: number;
  /** Records for port blocks; at least the blocks of the pool. Fewer than there are keep the maps. Default 16384. */
  readonly maxBlocks?: number;
}

export interface SweepOptions {
  /** Pauses once this much time is used, some milliseconds late at most; the next call goes on there. Default: no limit. */
  readonly budgetMs?: number;
  /** For how many of the sessions that ended a row is made. Default 1000. */
  readonly maxRows?: number;
}

/** Of one call; a sweep may take several. */
export interface SweepResult {
  /** How many sessions ended. */
  readonly endedCount: number;
  /** Those sessions as they last stood, the first `maxRows`. */
  readonly ended: readonly SessionRow[];
  /** Whether the table was walked to its end. Blocks are looked at then only. */
  readonly finished: boolean;
  /** Blocks that pods gave back, now `resting`, with who held them since when. */
  readonly returned: readonly BlockRow[];
  readonly durationMs: number;
}

export interface DatapathEvent {
  readonly type: 'blockLeased';
  readonly at: number;
  readonly block: number;
  readonly holder: Uint8Array;
}

/** A shorter life for closed TCP sessions, in milliseconds: of one pod, or, without `pod`, of all. */
export interface ClosingTime {
  readonly pod?: Uint8Array;
  readonly ms: number;
}

export interface PodRow {
  readonly pod: Uint8Array;
  /** As many as it has, whoever began them. */
  readonly sessions: number;
}

/** How much the maps and programs take; maps keep their size for life. */
export interface DatapathLimits {
  readonly blocks: number;
  readonly destinations: number;
  readonly sources: number;
}

export interface DatapathInfo {
  readonly attach: 'tcx' | 'clsact';
  /** True when pinned state of an earlier process was taken over. */
  readonly adopted: boolean;
  /** Why the state that was there could not be taken over, when that was so: its sessions are gone. */
  readonly replaced: string | undefined;
  /** Entry points with the verifier's count of instructions, as loaded. */
  readonly programs: readonly { readonly name: string; readonly instructions: number }[];
}

/**
 * Where a program has to hang: `gate` at the egress of gate64's device, `uplink` at the ingress of a direct way out, `accel`
 * at that of a pod's interface.
 */
export interface AttachmentRow {
  readonly name: 'gate' | 'uplink' | 'accel';
  readonly ifindex: number;
  /** Whether any program of gate64's hangs there now. */
  readonly attached: boolean;
}

export interface PodDevicesResult {
  /** Whether anything was attached or detached. */
  readonly changed: boolean;
  /** Why not, by interface; those that have gone meanwhile are left out. */
  readonly failed: ReadonlyMap<number, Error>;
}

/** What stands before a program of gate64's: by TCX the kernel tells it, clsact filters are listed by `tc`. */
export type HookPlace =
  | { readonly kind: 'tcx'; readonly before: readonly ForeignProgram[] }
  | { readonly kind: 'clsact'; readonly priority: number; readonly handle: number };

export interface ForeignProgram {
  readonly programId: number;
  readonly name: string | undefined;
  readonly linkId: number | undefined;
}

/** A program of gate64's that hangs. */
export interface HookRow {
  readonly name: Exclude<AttachmentRow['name'], 'accel'>;
  readonly ifindex: number;
  readonly side: 'ingress' | 'egress';
  readonly place: HookPlace;
}

/** Which datagram a fragment is of: addresses as they stand in the packet, 4 or 16 bytes, and its IP protocol number. */
export interface DatagramId {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  readonly id: number;
  readonly protocol: number;
}

/** What the checksum takes that the first fragment does not say. */
export interface WholeDatagram {
  /** Bytes behind the IP header. */
  readonly payloadLength: number;
  /** One's complement sum of what UDP's checksum covers, in words of 16 bits, low byte first; 0 for ICMP. */
  readonly sum: number;
}

/** What can be read, with the service up or down. */
export interface DatapathReader extends Disposable {
  /** A snapshot, of all or of those that are wanted; a session that changes meanwhile may appear in either state. */
  sessions(wanted?: SessionsWanted): SessionRow[];
  bindings(): BindingRow[];
  blocks(): BlockRow[];
  /** Every reason that ever counted, sorted by count, highest first. */
  drops(): DropRow[];
  packetCounters(): PacketCounterRow[];
  acceleratedCounters(): AcceleratedCounterRow[];
  counts(): LiveCounts;
  mapFill(): MapFillRow[];
  /** Of the addresses that were told last, those that are shared; in order. */
  sharedAddresses(): number[];
  /** Of the addresses that were told last, those that drain; in order. */
  drainingAddresses(): number[];
  /** What the programs that run now, or ran last, were loaded with. */
  settings(): ProgramConfig;
  attachments(): AttachmentRow[];
}

/** Where a node's data plane lies: whether one is there, and the ways to it. Tests have another. */
export interface DatapathSite {
  /** Whether a data plane, of whatever version, is there. */
  isThere(): boolean;
  /** What an earlier process left; nothing where it cannot be read. */
  facts(): DatapathFacts;
  /** Where maps of other layouts lie, which this version does not read and the next open() replaces. */
  otherLayouts(): string[];
  /** Where the programs hang, and what meets packets before them; nothing where it cannot be read. */
  hooks(): HookRow[];
  /** Packets that the programs translated or dropped so far, 0 where that cannot be read: one more means that they are reached. */
  packetsSeen(): number;
  /** Adopts or begins the data plane and attaches its programs. Throws G64_DATAPATH_LOAD, leaving nothing open. */
  open(programs: ProgramConfig, sizes: DatapathSizes): Datapath;
  /**
   * Detaches the programs and removes every pin; sessions end. Says whether something was there. Does all it can, then
   * throws G64_DATAPATH_MAP with what it could not.
   */
  remove(): boolean;
}

export interface Datapath extends DatapathReader {
  /** Pods that have sessions or blocks. */
  pods(): PodRow[];
  /** The records of these blocks; those never written are left out. */
  blocksAt(indexes: Iterable<number>): BlockRow[];
  info(): DatapathInfo;
  limits(): DatapathLimits;
  /** Where prefixes stand in the programs that run now, or ran last; sessions name them by their place. */
  places(): readonly Prefix[];
  /**
   * Makes the programs, and where they hang, what `wanted` says; sessions stay. Looks at what is, so that another call
   * repairs what somebody detached, goes on where one before failed, or goes back to what was. Says what had to be done.
   * Throws G64_DATAPATH_LOAD.
   */
  setPrograms(wanted: ProgramConfig): 'nothing' | 'attached' | 'loaded';

  /** Has the accelerator hang at these interfaces and no others. One that fails keeps none of the others from it. */
  setPodDevices(ifindexes: readonly number[]): PodDevicesResult;

  setDestinations(rules: readonly DestinationRule[]): void;
  setSources(nets: readonly Ip6Net[]): void;
  /** Closed sessions are ended by the sweep after so long at most, whatever the programs' timeouts; replaces those before. */
  setClosingTimes(times: readonly ClosingTime[]): void;
  /** Also says whose queues the programs see: only those of addresses that do not drain. */
  setPoolAddresses(addresses: readonly PoolAddress[]): void;

  /** Makes or replaces a block's record: state 'resting', nothing used but `staticPorts`. */
  writeBlock(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void;
  /** resting → offered, and into its address's queue. */
  offerBlock(index: number): void;
  /** Any block of the slot's queue that is marked offered; learned without emptying the queue. */
  queuedBlocks(slot: number): Set<number>;
  /**
   * Takes resting and offered blocks out for good; gives those that it got. What is missing lay in no queue: a pod was faster,
   * or an earlier process died between two steps. One pass over each queue, however many blocks.
   */
  retireBlocks(indexes: Iterable<number>): Set<number>;

  /** Those in force. What an earlier process left half made is taken away at the first call. */
  staticBindings(): StaticBinding[];
  staticHolders(binding: StaticBinding): StaticHolders;
  /** When it came into force; undefined when it is not. */
  staticSince(binding: StaticBinding): number | undefined;
  putStaticBinding(binding: StaticBinding): void;
  deleteStaticBinding(binding: StaticBinding): void;

  /**
   * Puts the sessions of a pool address past their time: their next packets are those of new sessions, and a sweep ends
   * them as any other. One that is in use this very moment may be missed. Says how many were still there, those from a
   * call before included: 0 once all have ended.
   */
  endSessionsOf(v4: number): number;

  /** Deletes what has expired and takes back blocks that have been empty for `idleBlockMs`. */
  sweep(idleBlockMs: number, options?: SweepOptions): SweepResult;
  /** Events come in order, from the event loop. Returns what ends the subscription. */
  onEvent(listener: (event: DatapathEvent) => void): () => void;

  /**
   * Fragments that cannot be translated one by one go to `listener`, from their IP headers on, from now on; once more after
   * the device was made anew. Throws when that cannot be: they are lost then.
   */
  takeFragments(listener: (packets: readonly Uint8Array[]) => void): void;
  /** Whether the first fragment has been translated, so that the others may be. */
  isPassing(datagram: DatagramId): boolean;
  /** Has packets translated; what cannot be is dropped. `whole`: they begin with the first fragment. How many went. */
  sendFragments(datagram: DatagramId, packets: readonly Uint8Array[], whole?: WholeDatagram): number;

  /** SYNs from the IPv4 side that nobody asked for go to `listener`, from their IP headers on, by the way of fragments. */
  takeSyns(listener: (packets: readonly Uint8Array[]) => void): void;
  /** Tells a SYN's sender that the port is unreachable; false, and nothing sent, where its connection has come about. */
  refuseSyn(packet: Uint8Array): boolean;
}
