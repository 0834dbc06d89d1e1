// SPDX-License-Identifier: Apache-2.0
// The real data plane on a veth pair of the sandbox, its programs run on single packets (BPF_PROG_TEST_RUN). What a test
// leaves out is as below: one prefix, one pool address, one block whose ports are the pods' own source ports.

import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { parsePrefix64 } from '../../src/addr/rfc6052.ts';
import { monotonicNs } from '../../src/datapath/clock.ts';
import type { Block, DropRow, PoolAddress } from '../../src/datapath/datapath.ts';
import { DROP_REASONS } from '../../src/model/drops.gen.ts';
import { EbpfDatapath } from '../../src/datapath/ebpf.ts';
import { openMaps, type MapSet } from '../../src/datapath/ebpf-reader.ts';
import { u32Codec, u64Codec } from '../../src/model/codecs.ts';
import {
  configCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  STOCK,
  type Prefix,
} from '../../src/model/layout.gen.ts';
import { Pins, WATCH_MAPS } from '../../src/datapath/pins.ts';
import { BpfMap, BpfObject, ifNameToIndex, TypedMap, type BpfProgram } from '../../src/libbpf/mod.ts';
import { disagreements, type CheckOptions } from '../helpers/map-checker.ts';
import { byteDiff, faults } from '../helpers/packet-read.ts';
import { ETHERNET_BYTES, frame, type Packet } from '../helpers/packet.ts';
import { programsOf, testPrograms, type TestPrograms } from '../helpers/programs.ts';

export const OBJECT = new URL('../../.output/nat64.bpf.o', import.meta.url).pathname;
export const PREFIX = '64:ff9b:1:fffe::';
export const POD = '2001:db8:1::10';
export const NODE = '2001:db8:ffff::1';
export const POOL = '203.0.113.5';
export const SERVER = '198.51.100.7';
/** Y': the server as the pod writes it. */
export const SERVER6 = `${PREFIX}${SERVER}`;
export const DEVICE_MAC = Uint8Array.of(2, 0, 0, 0, 0, 0x64);

export const FIRST_PORT = 40000;
/** Seconds. Far below what a configuration may ask for. */
export const TIMEOUTS = {
  udp: 30,
  tcpEstablished: 60,
  tcpTransitory: 24,
  tcpClosing: 18,
  tcpIncomingSyn: 6,
  icmp: 8,
  fragment: 2,
} as const;

const BLOCK: Block = { index: 0, slot: 0, v4: parseIp4(POOL), firstPort: FIRST_PORT, size: 1024 };

export interface PlaneOptions {
  /** Another build of the programs than this one's. */
  objectPath?: string;
  config?: Partial<TestPrograms>;
  prefixes?: readonly string[];
  deviceMtu?: number;
  /** `direct` out of the second veth, with this MTU. */
  uplinkMtu?: number;
  pool?: readonly PoolAddress[];
  blocks?: readonly Block[];
  /** Ports of statics, so that their block's record has them. */
  staticPorts?: readonly number[];
  maxSessions?: number;
  maxBlocks?: number;
  /** Whether the uplink's program is asked without `direct`. */
  uplink?: boolean;
  /** Whether the first place for a prefix is empty, as after a reload without the prefix that had it. */
  emptyPlace?: boolean;
}

const CLEARED = [
  'n64_flow6',
  'n64_flow4',
  'n64_bib6',
  'n64_bib4',
  'n64_peer',
  'n64_pods',
  'n64_frags',
  'n64_devices',
  'n64_pod_ways',
  'n64_hold',
  'n64_dst4',
  'n64_src6',
  'n64_admitted',
] as const;
const ZEROED = [
  'n64_packets',
  'n64_accelerated',
  'n64_live',
  'n64_drops',
  'n64_drop_last',
  'n64_rate',
  'n64_rate_source',
  'n64_statics',
  'n64_blocks',
] as const;

/** `handed`: on to the device's other end, where user space takes it. */
export type Action = 'redirect' | 'drop' | 'pass' | 'handed';
const ACTIONS: Readonly<Record<number, Action>> = { 7: 'redirect', 2: 'drop', 4294967295: 'pass', 0: 'handed' };

export interface Outcome {
  action: Action;
  frame: Uint8Array;
  /** From the IP header on. */
  l3: Uint8Array;
  /** Nanoseconds that the program took. */
  readonly duration: number;
}

export interface RunOptions {
  gsoSize?: number;
  gsoSegs?: number;
  /** skb->mark */
  mark?: number;
  /** Index of the interface it came in by; default: none, as of the node's own. */
  ingress?: number;
  /** Index of the interface that it passes; default: loopback. */
  device?: number;
  /** Runs of the program, each on what the one before left; `duration` is their average. */
  repeat?: number;
}

/** What a copy of a packet that is being split carries above the piece's number (bpf/split.h). */
const SPLIT_MARK = 0x6e360000;

let planes = 0;

function devices(): [device: number, uplink: number] {
  const sandboxed = process.env['GATE64_SANDBOX'] === '1';
  if (!sandboxed) throw new Error('these tests attach programs to devices; run them through test/helpers/sandbox.sh');
  const names = ['plane0', 'plane1'] as const;
  if (planes === 0) {
    execFileSync('ip', ['link', 'add', names[0], 'type', 'veth', 'peer', 'name', names[1]]);
    for (const name of names) execFileSync('ip', ['link', 'set', name, 'up']);
  }
  planes += 1;
  return [ifNameToIndex(names[0]), ifNameToIndex(names[1])];
}

/** Makes maps as if nothing had happened; policy and pool stay, queues that the programs see are empty. */
export function wipe(maps: MapSet): void {
  for (const name of CLEARED) {
    const map = maps[name];
    for (const key of Array.from(map.keys())) map.delete(key);
  }
  for (const name of ZEROED) {
    const map = maps[name];
    const key = new Uint8Array(4);
    for (let i = 0; i < map.maxEntries; i++) {
      new DataView(key.buffer).setUint32(0, i, true);
      map.update(key, new Uint8Array(map.valueBytes));
    }
  }
  for (const key of maps.n64_free.keys()) {
    const id = maps.n64_free.lookup(key);
    if (!id) continue;
    using queue = BpfMap.fromId(new DataView(id.buffer, id.byteOffset).getUint32(0, true));
    while (queue.pop());
  }
  // User space counts what it has offered and does not look again: what the programs took makes up for what has gone.
  const stock = new TypedMap(maps.n64_stock, u32Codec, u64Codec);
  stock.update(STOCK.STOCK_LEASED, stock.lookup(STOCK.STOCK_OFFERED) ?? 0n);
}

export class Plane implements Disposable {
  readonly datapath: EbpfDatapath;
  readonly maps: MapSet;
  readonly config: TestPrograms;
  readonly #object: BpfObject;
  readonly #gate: BpfProgram;
  readonly pins: Pins;
  readonly #options: PlaneOptions;

  constructor(options: PlaneOptions = {}) {
    const [device, uplink] = devices();
    this.config = testPrograms({
      prefixes: (options.prefixes ?? [`${PREFIX}/96`]).map(parsePrefix64),
      egress: options.uplinkMtu === undefined ? 'masquerade' : 'direct',
      device: { ifindex: device, mac: DEVICE_MAC, mtu: options.deviceMtu ?? 1500 },
      uplinks: [{ ifindex: uplink, mtu: options.uplinkMtu ?? 1500 }],
      node6: parseIp6(NODE),
      maxBlocksPerPod: 4,
      maxSessionsPerPod: 65_536,
      timeouts: TIMEOUTS,
      ...options.config,
    });
    this.pins = new Pins(`/sys/fs/bpf/plane${planes}`);
    const sizes = { maxSessions: options.maxSessions ?? 4096, maxBlocks: options.maxBlocks ?? 128 };
    this.datapath = EbpfDatapath.open(
      { objectPath: options.objectPath ?? OBJECT, pins: this.pins, sizes },
      programsOf(this.config),
    );
    this.maps = openMaps(this.pins);
    // The same programs once more on the same maps: those that are attached belong to the data plane.
    this.#object = BpfObject.open(options.objectPath ?? OBJECT);
    const cfg = new Uint8Array(configCodec.size);
    configCodec.write(new DataView(cfg.buffer), 0, programsOf(this.config, options.emptyPlace ? this.#oneLater() : []));
    this.#object.setVariable('cfg', cfg);
    for (const name of Object.keys(this.maps) as (keyof MapSet)[]) {
      this.#object.map(name).setMaxEntries(this.maps[name].maxEntries).setPinPath(this.pins.map(name));
    }
    for (const name of WATCH_MAPS) this.#object.map(name).setPinPath(this.pins.map(name));
    // Verifying takes most of a test's time.
    const unused = options.uplink || options.uplinkMtu ? [] : ['n64_uplink'];
    if (!options.config?.accelerate) unused.push('n64_accel');
    for (const name of ['n64_sweep', 'n64_reclaim', ...unused]) this.#object.program(name).setAutoload(false);
    this.#object.load();
    this.#gate = this.#object.program('n64_gate');

    this.#options = options;
    this.#fill();
  }

  /** Places of the prefixes when the first was another's, which has gone. */
  #oneLater(): readonly Prefix[] {
    const other = parsePrefix64('2001:db8:ffff::/96');
    return programsOf({ ...this.config, prefixes: [other, ...this.config.prefixes] }).prefixes;
  }

  #fill(): void {
    const options = this.#options;
    this.datapath.setPoolAddresses(options.pool ?? [{ v4: parseIp4(POOL), slot: 0, shared: false, draining: false }]);
    const ports = options.staticPorts ?? [];
    for (const block of options.blocks ?? [BLOCK]) {
      const mine = ports.filter((port) => port >= block.firstPort && port < block.firstPort + block.size);
      this.datapath.writeBlock(block, { tcp: mine, udp: mine, icmp: mine });
      this.datapath.offerBlock(block.index);
    }
  }

  /** As it was when it was made, in a fraction of the time that loading takes. */
  reset(): void {
    wipe(this.maps);
    this.#fill();
  }

  #run(program: BpfProgram, packet: Packet | Uint8Array, options: RunOptions, ifindex: number): Outcome {
    const bytes = packet instanceof Uint8Array ? packet : packet.build();
    // struct __sk_buff: mark at 8, ingress_ifindex at 36, ifindex at 40, gso_segs at 164, gso_size at 176.
    const ctxIn = new Uint8Array(192);
    const view = new DataView(ctxIn.buffer);
    view.setUint32(8, options.mark ?? 0, true);
    view.setUint32(36, options.ingress ?? 0, true);
    view.setUint32(40, options.device ?? ifindex, true);
    if (options.gsoSize !== undefined) view.setUint32(164, options.gsoSegs ?? 1, true);
    view.setUint32(176, options.gsoSize ?? 0, true);
    const { retval, data, duration } = program.testRun(bytes, {
      ctxIn,
      dataOutSize: bytes.length + 512,
      repeat: options.repeat ?? 1,
    });
    const action = ACTIONS[retval];
    if (action === undefined) throw new Error(`the program returned ${retval}`);
    return { action, frame: new Uint8Array(data), l3: new Uint8Array(data.slice(ETHERNET_BYTES)), duration };
  }

  /** Egress of the owned device. */
  gate(packet: Packet | Uint8Array, options: RunOptions = {}): Outcome {
    return this.#run(this.#gate, packet, options, this.config.device.ifindex);
  }

  /**
   * The pieces of an IPv4 packet that must be split. The packet itself becomes the last one; copies of `whole`, what it is
   * translated to with a Fragment Header, go to the device and become the others. What they are is found by giving the
   * program `whole`, marked as they are.
   */
  pieces(packet: Packet | Uint8Array, whole: Packet): Uint8Array[] {
    const last = this.gate(packet);
    expect(last.action).to.equal('redirect');
    const pieces: Uint8Array[] = [];
    for (let piece = 0; piece < 16; piece++) {
      const copy = this.gate(frame(whole.l3()), { mark: SPLIT_MARK + piece });
      expect(copy.action, `piece ${piece}`).to.equal('redirect');
      pieces.push(copy.l3);
      if (Buffer.from(copy.l3).equals(Buffer.from(last.l3))) return pieces;
    }
    return expect.fail('the packet itself became none of the pieces of what was expected');
  }

  /** Pins the program of the device's egress, so that other threads can run it on the same maps. */
  pinGate(path: string): void {
    this.#gate.pin(path);
  }

  /** Ingress of the uplink. */
  uplink(packet: Packet | Uint8Array, options: RunOptions = {}): Outcome {
    // By the loopback device, for which every frame is the host's.
    return this.#run(this.#object.program('n64_uplink'), packet, options, 0);
  }

  /** Ingress of a pod's interface, which is `device`. */
  accel(packet: Packet | Uint8Array, options: RunOptions = {}): Outcome {
    return this.#run(this.#object.program('n64_accel'), packet, options, 0);
  }

  /** Reasons that counted during `act`, with how often. */
  dropsOf(act: () => void): Record<string, number> {
    const before = this.#dropCounts();
    act();
    const grown = Object.entries(this.#dropCounts()).map(([reason, n]) => [reason, n - (before[reason] ?? 0)] as const);
    return Object.fromEntries(grown.filter(([, n]) => n !== 0));
  }

  #dropCounts(): Record<string, number> {
    // As datapath.drops() does, but in one system call, since tables ask for every packet.
    const counts: Record<string, number> = {};
    for (const { keys, values, count } of this.maps.n64_drops.lookupBatch()) {
      const [index, cpus] = [
        new DataView(keys.buffer, keys.byteOffset),
        new DataView(values.buffer, values.byteOffset),
      ];
      const stride = values.length / count;
      for (let i = 0; i < count; i++) {
        let sum = 0n;
        for (let at = i * stride; at < (i + 1) * stride; at += 8) sum += cpus.getBigUint64(at, true);
        const reason = DROP_REASONS[(index.getUint32(4 * i, true) >> 1) - 1];
        if (reason !== undefined && sum > 0n) counts[reason] = (counts[reason] ?? 0) + Number(sum);
      }
    }
    return counts;
  }

  lastDrop(reason: string): DropRow | undefined {
    return this.datapath.drops().find((row) => row.reason === reason);
  }

  /** Makes every session look as if its last packet had been `seconds` ago. */
  age(seconds: number): void {
    this.touch(monotonicNs() - BigInt(Math.round(seconds * 1e9)));
  }

  /** Makes every session look as if its ends had been heard so many seconds ago. */
  heard(ago: { pod: number; server: number }): void {
    const [six, four] = [ago.pod, ago.server].map((seconds) => monotonicNs() - BigInt(Math.round(seconds * 1e9)));
    this.touch(six as bigint, four);
  }

  /** Makes every session look as if its last packet had been at `then`, a time of the programs' clock; below 0 is before its start. */
  touch(then: bigint, then4 = then): void {
    const six = new TypedMap(this.maps.n64_flow6, flow6KeyCodec, flow6Codec);
    for (const [key, value] of Array.from(six.entries())) six.update(key, { ...value, lastNs: then });
    const four = new TypedMap(this.maps.n64_flow4, flow4KeyCodec, flow4Codec);
    for (const [key, value] of Array.from(four.entries())) four.update(key, { ...value, lastNs: then4 });
  }

  /** Everything that translation may change, for tests that nothing did. */
  state(): unknown {
    return [this.maps.n64_flow6, this.maps.n64_flow4, this.maps.n64_bib6, this.maps.n64_bib4, this.maps.n64_peer]
      .map((map) =>
        [...map.entries()].map(([key, value]) => [key, value].map((b) => Buffer.from(b).toString('hex')).join()),
      )
      .map((rows) => rows.toSorted());
  }

  [Symbol.dispose](): void {
    this.#object.close();
    for (const map of Object.values(this.maps)) map.close();
    this.datapath[Symbol.dispose]();
    // Not the pins' own removal alone: the links hold the programs on the device.
    this.pins.removeAll();
  }
}

/** Data planes that are kept for the next test with the same options; the sandbox takes them with it. */
const kept = new Map<string, Plane>();
const MOST_KEPT = 40;

/**
 * Runs `act` with a data plane that nothing has happened to; its maps agree with each other afterwards, unless `act` writes
 * them itself (`check` is false).
 */
export function withPlane<T>(options: PlaneOptions, act: (plane: Plane) => T, check: CheckOptions | false = {}): T {
  const name = JSON.stringify(options);
  const known = kept.get(name);
  known?.reset();
  // Their programs hang on one device, which takes 64.
  const [oldest] = kept;
  if (known === undefined && oldest !== undefined && kept.size >= MOST_KEPT) {
    oldest[1][Symbol.dispose]();
    kept.delete(oldest[0]);
  }
  const plane = known ?? new Plane(options);
  kept.set(name, plane);
  const result = act(plane);
  if (check) expect(disagreements(plane.maps, check), 'maps that disagree').to.deep.equal([]);
  return result;
}

/** Copies the identification, which the data plane chooses, so that the rest can be compared byte by byte. */
function withId(l3: Uint8Array, id: Uint8Array): Uint8Array {
  const copy = l3.slice();
  copy.set(id, 4);
  copy.set([0, 0], 10);
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += ((copy[i] as number) << 8) | (copy[i + 1] as number);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  copy.set([(~sum >> 8) & 0xff, ~sum & 0xff], 10);
  return copy;
}

/** The packet went on as exactly `expected`; `anyId` leaves the IPv4 identification out of it. */
export function expectOut(outcome: Outcome, expected: Packet | Uint8Array, options: { anyId?: boolean } = {}): void {
  const wanted = expected instanceof Uint8Array ? expected : expected.l3();
  expect(outcome.action).to.equal('redirect');
  const want = options.anyId ? withId(wanted, outcome.l3.slice(4, 6)) : wanted;
  const diff = byteDiff(outcome.l3, want);
  if (diff !== '') expect.fail(`the packet is another one than expected\n${diff}`);
  expect(outcome.frame.slice(12, 14), 'EtherType').to.deep.equal(frame(want).slice(12, 14));
}

/** Checksums and lengths of what came out hold. */
export function expectSound(outcome: Outcome): void {
  expect(outcome.action).to.equal('redirect');
  expect(faults(outcome.l3)).to.deep.equal([]);
}
