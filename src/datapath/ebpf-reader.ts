// SPDX-License-Identifier: Apache-2.0
// Reads the data plane from its pinned maps, whether the service runs or not.

import { Gate64Error } from '../errors.ts';
import { BpfMap, TypedMap, type Codec } from '../libbpf/mod.ts';
import { attachedProgram, hookedDevices, POD_FILTER } from './attachment.ts';
import { blockRow } from './block-view.ts';
import { viewOf } from './bytes.ts';
import { epochClock } from './clock.ts';
import { PROTOCOLS, type Protocol } from '../model/binding.ts';
import { be32Codec, s64Codec, u32Codec, u64Codec } from '../model/codecs.ts';
import {
  type AcceleratedCounterRow,
  type AttachmentRow,
  type BindingRow,
  type BlockRow,
  type DatapathReader,
  type Direction,
  type DropRow,
  type LiveCounts,
  type MapFillRow,
  type PacketCounterRow,
  type SessionRow,
} from './datapath.ts';
import { DROP_REASONS } from '../model/drops.gen.ts';
import {
  bib6Codec,
  bib6KeyCodec,
  blockCodec,
  configCodec,
  counterCodec,
  DIRECTION,
  dropSampleCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  LIVE,
  poolAddressCodec,
  PROTOCOL,
  type Config,
  type Flow6Key,
  type PoolAddress,
} from '../model/layout.gen.ts';
import { PINNED_MAPS, type Pins } from './pins.ts';
import { bindingRow, dropSample, flow4KeyOf, protocolName, sessionRow } from './rows.ts';
import { isWanted, type SessionsWanted } from './wanted.ts';

export type MapSet = Readonly<Record<(typeof PINNED_MAPS)[number], BpfMap>>;

const DIRECTIONS: readonly Direction[] = ['6to4', '4to6'];

/** Opens every pinned map. Throws G64_DATAPATH_MISSING when there is none. */
export function openMaps(pins: Pins): MapSet {
  if (!pins.haveMaps) {
    const foreign = pins.foreignMapFolders();
    if (foreign.length > 0) {
      throw new Gate64Error('G64_DATAPATH_LAYOUT', `the data plane at ${foreign.join(', ')} is of another version`, {
        hint: 'use the gate64 that made it, or restart the service with this one',
      });
    }
    throw new Gate64Error('G64_DATAPATH_MISSING', `no gate64 data plane is on this node: ${pins.root} is empty`, {
      hint: 'start the service: gate64 run; as another user than root you may not see it',
    });
  }
  const opened: [keyof MapSet, BpfMap][] = [];
  try {
    for (const name of PINNED_MAPS) opened.push([name, BpfMap.openPinned(pins.map(name))]);
  } catch (cause) {
    for (const [, map] of opened) map.close();
    throw new Gate64Error('G64_DATAPATH_LAYOUT', `the data plane at ${pins.mapFolder} is incomplete`, {
      cause,
      hint: 'restart the service, or run gate64 uninstall',
    });
  }
  return Object.fromEntries(opened) as Record<keyof MapSet, BpfMap>;
}

/** Entries of a map, by batches: the values of wanted keys. One that changes meanwhile may be missed or come twice. */
function* entries<K, V>(
  map: BpfMap,
  keyCodec: Codec<K>,
  value: Codec<V>,
  isWanted: (key: K) => boolean = () => true,
): IterableIterator<[K, V]> {
  for (const batch of map.lookupBatch()) {
    const [keys, values] = [viewOf(batch.keys), viewOf(batch.values)];
    for (let i = 0; i < batch.count; i++) {
      const key = keyCodec.read(keys, i * keyCodec.size);
      if (isWanted(key)) yield [key, value.read(values, i * value.size)];
    }
  }
}

export class EbpfReader implements DatapathReader {
  protected readonly maps: MapSet;
  readonly #pins: Pins;
  readonly #flow4: TypedMap<Parameters<typeof flow4KeyCodec.write>[2], ReturnType<typeof flow4Codec.read>>;

  constructor(maps: MapSet, pins: Pins) {
    this.maps = maps;
    this.#pins = pins;
    this.#flow4 = new TypedMap(maps.n64_flow4, flow4KeyCodec, flow4Codec);
  }

  settings(): Config {
    const config = new TypedMap(this.maps.n64_current, u32Codec, configCodec).lookup(0);
    if (!config) throw new Gate64Error('G64_DATAPATH_LAYOUT', 'the data plane has no configuration');
    return config;
  }

  sessions(wanted: SessionsWanted = {}): SessionRow[] {
    const toEpoch = epochClock();
    const config = this.settings();
    const rows: SessionRow[] = [];
    const isRead = ({ src, dst4, protocol }: Flow6Key) => isWanted(wanted, src, dst4, protocolName(protocol));
    for (const [key, six] of entries(this.maps.n64_flow6, flow6KeyCodec, flow6Codec, isRead)) {
      rows.push(sessionRow(key, six, this.#flow4.lookup(flow4KeyOf(key, six)), config, toEpoch));
    }
    return rows;
  }

  bindings(): BindingRow[] {
    const toEpoch = epochClock();
    return [...entries(this.maps.n64_bib6, bib6KeyCodec, bib6Codec)].map(([key, bib]) => bindingRow(key, bib, toEpoch));
  }

  blocks(): BlockRow[] {
    const toEpoch = epochClock();
    const rows: BlockRow[] = [];
    for (const { keys, values, count } of this.maps.n64_blocks.lookupBatch()) {
      const [keyView, valueView] = [viewOf(keys), viewOf(values)];
      for (let i = 0; i < count; i++) {
        const row = blockRow(u32Codec.read(keyView, i * 4), valueView, i * blockCodec.size, toEpoch);
        if (row) rows.push(row);
      }
    }
    return rows;
  }

  drops(): DropRow[] {
    const toEpoch = epochClock();
    const counts = new TypedMap(this.maps.n64_drops, u32Codec, u64Codec);
    const samples = new TypedMap(this.maps.n64_drop_last, u32Codec, dropSampleCodec);
    const rows: DropRow[] = [];
    DROP_REASONS.forEach((reason, i) => {
      DIRECTIONS.forEach((direction, side) => {
        const index = (i + 1) * DIRECTION.DIRECTIONS + side;
        const count = Number((counts.lookupPerCpu(index) ?? []).reduce((sum, one) => sum + one, 0n));
        if (count === 0) return;
        const sample = samples.lookup(index);
        rows.push({ reason, direction, count, last: sample && dropSample(sample, toEpoch) });
      });
    });
    return rows.sort((a, b) => b.count - a.count);
  }

  packetCounters(): PacketCounterRow[] {
    const counters = new TypedMap(this.maps.n64_packets, u32Codec, counterCodec);
    return DIRECTIONS.flatMap((direction, side) =>
      PROTOCOLS.map((protocol, i) => {
        const cpus = counters.lookupPerCpu(side * PROTOCOL.PROTOCOLS + i) ?? [];
        return {
          direction,
          protocol,
          packets: Number(cpus.reduce((sum, cpu) => sum + cpu.packets, 0n)),
          bytes: Number(cpus.reduce((sum, cpu) => sum + cpu.bytes, 0n)),
        };
      }),
    );
  }

  acceleratedCounters(): AcceleratedCounterRow[] {
    const counters = new TypedMap(this.maps.n64_accelerated, u32Codec, counterCodec);
    return DIRECTIONS.map((direction, side) => {
      const cpus = counters.lookupPerCpu(side) ?? [];
      return { direction, packets: Number(cpus.reduce((sum, { packets }) => sum + packets, 0n)) };
    });
  }

  counts(): LiveCounts {
    const live = new TypedMap(this.maps.n64_live, u32Codec, s64Codec);
    const statics = new TypedMap(this.maps.n64_statics, u32Codec, u32Codec);
    const of = (kind: number, i: number) =>
      Math.max(0, Number((live.lookupPerCpu(kind * PROTOCOL.PROTOCOLS + i) ?? []).reduce((sum, one) => sum + one, 0n)));
    const each = (count: (i: number) => number) =>
      Object.fromEntries(PROTOCOLS.map((protocol, i) => [protocol, count(i)])) as Record<Protocol, number>;
    return {
      sessions: each((i) => of(LIVE.LIVE_SESSIONS, i)),
      bindings: each((i) => of(LIVE.LIVE_BINDINGS, i) + (statics.lookup(i) ?? 0)),
    };
  }

  mapFill(): MapFillRow[] {
    const { sessions, bindings } = this.counts();
    const sum = (counts: Readonly<Record<Protocol, number>>) =>
      PROTOCOLS.reduce((n, protocol) => n + counts[protocol], 0);
    let pods = 0;
    for (const batch of this.maps.n64_pods.lookupBatch()) pods += batch.count;
    const row = (map: keyof MapSet, filled: number): MapFillRow => ({
      map: map.replace(/^n64_/, ''),
      entries: filled,
      maxEntries: this.maps[map].maxEntries,
    });
    return [
      row('n64_flow6', sum(sessions)),
      row('n64_flow4', sum(sessions)),
      row('n64_bib6', sum(bindings)),
      row('n64_bib4', sum(bindings)),
      row('n64_pods', pods),
    ];
  }

  attachments(): AttachmentRow[] {
    const { gate, returns } = hookedDevices(this.settings());
    const pins = this.#pins;
    const hangs = (ifindex: number, side: 'egress' | 'ingress', pin: string) =>
      attachedProgram(ifindex, side, pin) !== undefined;
    return [
      { name: 'gate', ifindex: gate, attached: hangs(gate, 'egress', pins.gateLink) },
      ...returns.map((ifindex): AttachmentRow => {
        return { name: 'uplink', ifindex, attached: hangs(ifindex, 'ingress', pins.returnLink(ifindex)) };
      }),
      ...this.#podDevices().map((ifindex): AttachmentRow => {
        const hung = attachedProgram(ifindex, 'ingress', pins.podLink(ifindex), undefined, POD_FILTER);
        return { name: 'accel', ifindex, attached: hung !== undefined };
      }),
    ];
  }

  #podDevices(): number[] {
    const devices = entries(this.maps.n64_pod_devices, u32Codec, u32Codec);
    return Array.from(devices, ([ifindex]) => ifindex).toSorted((a, b) => a - b);
  }

  sharedAddresses(): number[] {
    return this.#addressesThat(({ shared }) => shared !== 0);
  }

  drainingAddresses(): number[] {
    return this.#addressesThat(({ draining }) => draining !== 0);
  }

  #addressesThat(are: (address: PoolAddress) => boolean): number[] {
    const addresses = [...entries(this.maps.n64_pool, be32Codec, poolAddressCodec)];
    return addresses.flatMap(([v4, address]) => (are(address) ? [v4] : [])).sort((a, b) => a - b);
  }

  [Symbol.dispose](): void {
    for (const map of Object.values(this.maps)) map.close();
  }
}
