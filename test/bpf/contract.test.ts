// SPDX-License-Identifier: Apache-2.0
// The data plane in the kernel keeps the contract: what hangs on the device is given real packets, one at a time
// (BPF_PROG_TEST_RUN), and the clocks of the maps are set back where time has to pass.

import { execFileSync } from 'node:child_process';
import { unlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { formatIp6 } from '../../src/addr/ip.ts';
import type { Datapath, DropRow, SessionRow } from '../../src/datapath/datapath.ts';
import { attachedProgram, attachKind, detach } from '../../src/datapath/attachment.ts';
import { Admissions } from '../../src/datapath/admissions.ts';
import { EbpfReader, openMaps, type MapSet } from '../../src/datapath/ebpf-reader.ts';
import { be32Codec, u32Codec, u64Codec } from '../../src/model/codecs.ts';
import { PinnedSite } from '../../src/datapath/open.ts';
import { Pins } from '../../src/datapath/pins.ts';
import { BpfMap, BpfProgram, ifNameToIndex, RingBuffer, TcxLink, TypedMap } from '../../src/libbpf/mod.ts';
import { libc } from '../../src/libbpf/ffi.ts';
import {
  BLOCK_STATE,
  blockCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  PROTOCOL,
  STATE,
} from '../../src/model/layout.gen.ts';
import { datapathContract } from '../contract/datapath.ts';
import type { Bench, Flow, Sent } from '../contract/bench.ts';
import { eth, ETHERNET_BYTES, TCP } from '../helpers/packet.ts';
import { DEVICE_MAC, wipe } from './plane.ts';

const DEVICE = 'contract0';
const PEER = 'contract1';
const TC_ACT_UNSPEC = 0xffffffff;
const BPF_PROG_GET_FD_BY_ID = 13;
const ETHERTYPE_IPV4 = 0x0800;

/** A program that somebody else loaded, the one that real packets meet. */
class LoadedProgram extends BpfProgram {
  static open(id: number): LoadedProgram {
    const { bpf } = libc();
    if (bpf === undefined) throw new Error('bpf(2) cannot be called on this architecture');
    const attr = Buffer.alloc(64);
    attr.writeUInt32LE(id, 0);
    const fd = bpf(BPF_PROG_GET_FD_BY_ID, attr, attr.length);
    if (fd < 0) throw new Error(`program ${id} cannot be opened`);
    return new LoadedProgram(`${id}`, fd, true);
  }
}

function addDevice(ifindex: number | undefined): number {
  const index = ifindex === undefined ? [] : ['index', `${ifindex}`];
  execFileSync('ip', ['link', 'add', DEVICE, ...index, 'type', 'veth', 'peer', 'name', PEER]);
  for (const name of [DEVICE, PEER]) execFileSync('ip', ['link', 'set', name, 'up']);
  return ifNameToIndex(DEVICE);
}

let deviceIndex: number | undefined;

function device(): number {
  if (process.env['GATE64_SANDBOX'] !== '1') {
    throw new Error('these tests attach programs to devices; run them through test/helpers/sandbox.sh');
  }
  return (deviceIndex ??= addDevice(undefined));
}

class KernelBench implements Bench {
  readonly device = { ifindex: device(), mac: DEVICE_MAC, mtu: 1500 };
  readonly site: PinnedSite;
  readonly #pins = new Pins('/sys/fs/bpf/contract');
  /** The program that hung there last, opened once, since most packets meet the same. */
  #program: LoadedProgram | undefined;
  #programId = 0;
  #drops: ReadonlyMap<string, number> = new Map();

  constructor() {
    this.site = new PinnedSite(this.#pins.root);
  }

  send(flow: Flow): Sent {
    const program = this.#attached();
    if (program === undefined) return 'untranslated';
    const ip6 = eth().ip6({ src: flow.source.v6, dst: flow.destination6 });
    const ports = { sport: flow.source.port, dport: flow.port };
    const packets = {
      udp: () => ip6.udp(ports),
      tcp: () => ip6.tcp({ ...ports, flags: TCP.syn }),
      icmp: () => ip6.echo6(flow.source.port),
    };
    const { retval, data } = program.testRun(packets[flow.protocol]().build());
    if (retval === TC_ACT_UNSPEC) return 'untranslated';
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    if (view.getUint16(12) !== ETHERTYPE_IPV4) return this.#newDrop();
    // The source of an IPv4 header without options; then the source port, or the identifier of an echo request.
    const transport = ETHERNET_BYTES + 20;
    const port = view.getUint16(transport + (flow.protocol === 'icmp' ? 4 : 0));
    return { v4: view.getUint32(ETHERNET_BYTES + 12), port };
  }

  pass(ms: number): void {
    using held = this.#maps();
    const ns = BigInt(Math.round(ms * 1e6));
    const six = new TypedMap(held.maps.n64_flow6, flow6KeyCodec, flow6Codec);
    for (const [key, value] of Array.from(six.entries())) six.update(key, { ...value, lastNs: value.lastNs - ns });
    const four = new TypedMap(held.maps.n64_flow4, flow4KeyCodec, flow4Codec);
    for (const [key, value] of Array.from(four.entries())) four.update(key, { ...value, lastNs: value.lastNs - ns });
    const blocks = new TypedMap(held.maps.n64_blocks, u32Codec, blockCodec);
    for (const [index, block] of Array.from(blocks.entries())) {
      if (block.state !== BLOCK_STATE.BLOCK_LEASED) continue;
      blocks.update(index, { ...block, emptiedNs: block.emptiedNs - ns });
    }
    const admitted = new TypedMap(held.maps.n64_admitted, be32Codec, u64Codec);
    for (const [v4, until] of Array.from(admitted.entries())) admitted.update(v4, until - ns);
  }

  finish(sessions: readonly SessionRow[]): void {
    using held = this.#maps();
    const finished = new Set(sessions.map(({ source }) => `${formatIp6(source.v6)} ${source.port}`));
    const six = new TypedMap(held.maps.n64_flow6, flow6KeyCodec, flow6Codec);
    for (const [key, value] of Array.from(six.entries())) {
      if (key.protocol !== PROTOCOL.TCP || !finished.has(`${formatIp6(key.src)} ${key.sport}`)) continue;
      six.update(key, { ...value, state: STATE.BOTH_FIN_RCV });
    }
  }

  admit(v4: number, seconds: number): void {
    using admissions = new Admissions({
      pinRoot: this.#pins.root,
      onProblem: (problem) => {
        throw new Error(problem);
      },
    });
    admissions.admit(v4, seconds);
  }

  async settle(): Promise<void> {
    await sleep(25);
  }

  losingEvents(act: () => void): void {
    act();
    using held = this.#maps();
    using thief = new RingBuffer(held.maps.n64_events, () => undefined);
    thief.consume();
  }

  loseFromQueue(slot: number, index: number): void {
    using queue = BpfMap.openPinned(this.#pins.queue(slot));
    const items: Uint8Array[] = [];
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) items.push(item);
    for (const item of items) {
      if (new DataView(item.buffer, item.byteOffset).getUint32(0, true) !== index) queue.push(item);
    }
  }

  detach(): void {
    const pin = this.#pins.gateLink;
    if (attachKind() === 'clsact') {
      detach(this.device.ifindex, 'egress', pin);
      return;
    }
    // As anybody may: what is pinned is then the shell of a link.
    using link = TcxLink.openPinned(pin);
    link.detach();
  }

  /** A map with other flags, which is all that a start does not look at, stands where the programs expect theirs. */
  whileLoadsFail(act: () => void): void {
    const pin = this.#pins.map('n64_pool');
    using right = BpfMap.openPinned(pin);
    unlinkSync(pin);
    {
      const { name, keySize, valueSize, maxEntries } = right;
      using wrong = BpfMap.create({ type: 'hash', name, keySize, valueSize, maxEntries });
      wrong.pin(pin);
    }
    try {
      act();
    } finally {
      unlinkSync(pin);
      right.pin(pin);
    }
  }

  withoutDevice(act: () => void): void {
    execFileSync('ip', ['link', 'del', DEVICE]);
    try {
      act();
    } finally {
      addDevice(this.device.ifindex);
    }
  }

  /** Loading takes most of a case's time. */
  wipe(datapath: Datapath): boolean {
    for (const binding of datapath.staticBindings()) datapath.deleteStaticBinding(binding);
    datapath.setDestinations([]);
    datapath.setSources([]);
    datapath.setPoolAddresses([]);
    for (const slot of this.#pins.queues()) {
      using queue = BpfMap.openPinned(this.#pins.queue(slot));
      while (queue.pop() !== undefined);
    }
    using held = this.#maps();
    wipe(held.maps);
    using thief = new RingBuffer(held.maps.n64_events, () => undefined);
    thief.consume();
    this.#drops = new Map();
    return true;
  }

  [Symbol.dispose](): void {
    this.#program?.close();
    this.site.remove();
  }

  #attached(): LoadedProgram | undefined {
    const id = attachedProgram(this.device.ifindex, 'egress', this.#pins.gateLink);
    if (id === undefined) return undefined;
    if (id !== this.#programId) {
      this.#program?.close();
      this.#program = LoadedProgram.open(id);
      this.#programId = id;
    }
    return this.#program;
  }

  /** The reason that has counted since this was asked last: every packet that is dropped asks. */
  #newDrop(): DropRow['reason'] {
    using reader = new EbpfReader(openMaps(this.#pins), this.#pins);
    const rows = reader.drops();
    const grown = rows.filter(({ reason, count }) => count > (this.#drops.get(reason) ?? 0));
    this.#drops = new Map(rows.map(({ reason, count }) => [reason, count]));
    const [row] = grown;
    if (row === undefined || grown.length > 1) throw new Error(`${grown.length} reasons counted for one packet`);
    return row.reason;
  }

  #maps(): Disposable & { readonly maps: MapSet } {
    const maps = openMaps(this.#pins);
    return { maps, [Symbol.dispose]: () => Object.values(maps).forEach((map) => map.close()) };
  }
}

datapathContract('datapath/ebpf', () => new KernelBench());
