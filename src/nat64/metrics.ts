// SPDX-License-Identifier: Apache-2.0
// The metrics of the NAT64 half. The data plane counts; it is read when it is scraped, never on events.

import { release } from 'node:os';
import type { Counter, Gauge, Histogram } from 'prom-client';
import { formatIp4 } from '../addr/ip.ts';
import type {
  AcceleratedCounterRow,
  BlockRow,
  BlockState,
  Datapath,
  DropRow,
  LiveCounts,
  MapFillRow,
  PacketCounterRow,
} from '../datapath/datapath.ts';
import { PROTOCOLS } from '../model/binding.ts';
import type { MetricDefinition, Metrics } from '../telemetry/metrics.ts';
import { FRAGMENT_OUTCOMES, type FragmentCounts } from './fragments.ts';
import { allocationFailures, unpairedPods } from './views.ts';

/** 1 ms to 8.192 s. */
const SWEEP_BUCKETS = Array.from({ length: 14 }, (_, i) => 0.001 * 2 ** i);

/** docs/metrics.md has an entry for each, which a test keeps so. */
export const NAT64_METRICS = {
  packets: {
    name: 'gate64_nat64_packets_total',
    type: 'counter',
    help: 'Packets translated, by direction and protocol.',
    labels: ['direction', 'protocol'],
  },
  bytes: {
    name: 'gate64_nat64_bytes_total',
    type: 'counter',
    help: 'Bytes of translated packets from the IP header on, by direction and protocol.',
    labels: ['direction', 'protocol'],
  },
  accelerated: {
    name: 'gate64_nat64_accelerated_packets_total',
    type: 'counter',
    help: "Packets translated past the node's IPv6 forwarding (`nat64.accelerate`), by direction; the others count them too.",
    labels: ['direction'],
  },
  drops: {
    name: 'gate64_nat64_drops_total',
    type: 'counter',
    help: 'Packets refused, by direction and reason; `gate64 drops --explain` says what each reason means.',
    labels: ['direction', 'reason'],
  },
  fragments: {
    name: 'gate64_nat64_fragments_held_total',
    type: 'counter',
    help: 'Fragments that had to wait for others, by what became of them (released, expired, refused, evicted).',
    labels: ['outcome'],
  },
  sessions: { name: 'gate64_nat64_sessions', type: 'gauge', help: 'Sessions, by protocol.', labels: ['protocol'] },
  bindings: { name: 'gate64_nat64_bindings', type: 'gauge', help: 'Bindings, by protocol.', labels: ['protocol'] },
  poolPorts: {
    name: 'gate64_nat64_pool_ports',
    type: 'gauge',
    help: 'Ports of the pool, by address, protocol and whether a binding uses them (used, free).',
    labels: ['address', 'protocol', 'state'],
  },
  blocks: {
    name: 'gate64_nat64_blocks',
    type: 'gauge',
    help: 'Blocks of ports, by address and state (offered, leased, resting, retired).',
    labels: ['address', 'state'],
  },
  podsUnpaired: {
    name: 'gate64_nat64_pods_unpaired',
    type: 'gauge',
    help: 'Pods with blocks of more than one pool address: the first had none left when they needed one.',
    labels: [],
  },
  allocationFailures: {
    name: 'gate64_nat64_allocation_failures_total',
    type: 'counter',
    help: 'New flows refused for want of a port or a session, by reason.',
    labels: ['reason'],
  },
  mapEntries: { name: 'gate64_nat64_map_entries', type: 'gauge', help: 'Entries in a BPF map.', labels: ['map'] },
  mapMaxEntries: {
    name: 'gate64_nat64_map_max_entries',
    type: 'gauge',
    help: 'Entries that a BPF map can hold.',
    labels: ['map'],
  },
  sweepDuration: {
    name: 'gate64_nat64_sweep_duration_seconds',
    type: 'histogram',
    help: 'Time a sweep of the session table took.',
    labels: [],
    buckets: SWEEP_BUCKETS,
  },
  ready: {
    name: 'gate64_nat64_ready',
    type: 'gauge',
    help: 'Whether the data plane is in place: 1, else 0.',
    labels: [],
  },
  info: {
    name: 'gate64_nat64_info',
    type: 'gauge',
    help: 'How the data plane is attached; the value is 1.',
    labels: ['egress', 'attach', 'kernel'],
  },
} as const satisfies Record<string, MetricDefinition>;

/** What is read at a scrape. */
export interface Nat64Source {
  readonly datapath: Datapath;
  readonly ready: () => boolean;
  readonly egress: () => string;
  readonly fragments: () => FragmentCounts;
}

interface AddressSums {
  size: number;
  readonly used: Record<(typeof PROTOCOLS)[number], number>;
  readonly states: Record<BlockState, number>;
}

/** The metrics are there from the first; they have values between start() and stop(). */
export class Nat64Metrics {
  readonly #metrics: Metrics;
  readonly #packets: Counter<'direction' | 'protocol'>;
  readonly #bytes: Counter<'direction' | 'protocol'>;
  readonly #accelerated: Counter<'direction'>;
  readonly #drops: Counter<'direction' | 'reason'>;
  readonly #fragments: Counter<'outcome'>;
  readonly #sessions: Gauge<'protocol'>;
  readonly #bindings: Gauge<'protocol'>;
  readonly #poolPorts: Gauge<'address' | 'protocol' | 'state'>;
  readonly #blocks: Gauge<'address' | 'state'>;
  readonly #podsUnpaired: Gauge;
  readonly #allocationFailures: Counter<'reason'>;
  readonly #mapEntries: Gauge<'map'>;
  readonly #mapMaxEntries: Gauge<'map'>;
  readonly #sweepDuration: Histogram;
  readonly #ready: Gauge;
  readonly #info: Gauge<'egress' | 'attach' | 'kernel'>;
  #ends: readonly (() => void)[] = [];

  constructor(metrics: Metrics) {
    this.#metrics = metrics;
    this.#packets = metrics.counter(NAT64_METRICS.packets);
    this.#bytes = metrics.counter(NAT64_METRICS.bytes);
    this.#accelerated = metrics.counter(NAT64_METRICS.accelerated);
    this.#drops = metrics.counter(NAT64_METRICS.drops);
    this.#fragments = metrics.counter(NAT64_METRICS.fragments);
    this.#sessions = metrics.gauge(NAT64_METRICS.sessions);
    this.#bindings = metrics.gauge(NAT64_METRICS.bindings);
    this.#poolPorts = metrics.gauge(NAT64_METRICS.poolPorts);
    this.#blocks = metrics.gauge(NAT64_METRICS.blocks);
    this.#podsUnpaired = metrics.gauge(NAT64_METRICS.podsUnpaired);
    this.#allocationFailures = metrics.counter(NAT64_METRICS.allocationFailures);
    this.#mapEntries = metrics.gauge(NAT64_METRICS.mapEntries);
    this.#mapMaxEntries = metrics.gauge(NAT64_METRICS.mapMaxEntries);
    this.#sweepDuration = metrics.histogram(NAT64_METRICS.sweepDuration);
    this.#ready = metrics.gauge(NAT64_METRICS.ready);
    this.#info = metrics.gauge(NAT64_METRICS.info);
  }

  /** Reads `source` at every scrape from now on, each part of the data plane once: it may be thousands of records. */
  start({ datapath, ready, egress, fragments }: Nat64Source): void {
    this.stop();
    this.#ends = [
      { into: [this.#packets, this.#bytes], read: () => this.#readPackets(datapath.packetCounters()) },
      { into: [this.#accelerated], read: () => this.#readAccelerated(datapath.acceleratedCounters()) },
      { into: [this.#drops, this.#allocationFailures], read: () => this.#readDrops(datapath.drops()) },
      { into: [this.#fragments], read: () => this.#readFragments(fragments()) },
      { into: [this.#sessions, this.#bindings], read: () => this.#readCounts(datapath.counts()) },
      {
        into: [this.#poolPorts, this.#blocks, this.#podsUnpaired],
        read: () => this.#readBlocks(datapath.blocks()),
      },
      { into: [this.#mapEntries, this.#mapMaxEntries], read: () => this.#readMaps(datapath.mapFill()) },
      { into: [this.#ready], read: () => this.#ready.set(ready() ? 1 : 0) },
      {
        into: [this.#info],
        read: () => this.#info.set({ egress: egress(), attach: datapath.info().attach, kernel: release() }, 1),
      },
    ].map((reading) => this.#metrics.onScrape(reading));
  }

  /** Before the data plane is closed. */
  stop(): void {
    for (const end of this.#ends) end();
    this.#ends = [];
  }

  observeSweep(seconds: number): void {
    this.#sweepDuration.observe(seconds);
  }

  #readPackets(rows: readonly PacketCounterRow[]): void {
    for (const { direction, protocol, packets, bytes } of rows) {
      this.#packets.inc({ direction, protocol }, packets);
      this.#bytes.inc({ direction, protocol }, bytes);
    }
  }

  #readAccelerated(rows: readonly AcceleratedCounterRow[]): void {
    for (const { direction, packets } of rows) this.#accelerated.inc({ direction }, packets);
  }

  #readDrops(rows: readonly DropRow[]): void {
    for (const { direction, reason, count } of rows) this.#drops.inc({ direction, reason }, count);
    for (const [reason, count] of Object.entries(allocationFailures(rows))) {
      this.#allocationFailures.inc({ reason }, count);
    }
  }

  #readFragments(counts: FragmentCounts): void {
    for (const outcome of FRAGMENT_OUTCOMES) this.#fragments.inc({ outcome }, counts[outcome]);
  }

  #readCounts({ sessions, bindings }: LiveCounts): void {
    for (const protocol of PROTOCOLS) {
      this.#sessions.set({ protocol }, sessions[protocol]);
      this.#bindings.set({ protocol }, bindings[protocol]);
    }
  }

  /** Every state of every address, so that a state that empties goes to 0 rather than away. */
  #readBlocks(rows: readonly BlockRow[]): void {
    for (const [v4, { size, used, states }] of sumsByAddress(rows)) {
      const address = formatIp4(v4);
      for (const protocol of PROTOCOLS) {
        this.#poolPorts.set({ address, protocol, state: 'used' }, used[protocol]);
        this.#poolPorts.set({ address, protocol, state: 'free' }, size - used[protocol]);
      }
      for (const [state, count] of Object.entries(states)) this.#blocks.set({ address, state }, count);
    }
    this.#podsUnpaired.set(unpairedPods(rows));
  }

  #readMaps(rows: readonly MapFillRow[]): void {
    for (const { map, entries, maxEntries } of rows) {
      this.#mapEntries.set({ map }, entries);
      this.#mapMaxEntries.set({ map }, maxEntries);
    }
  }
}

function sumsByAddress(rows: readonly BlockRow[]): Map<number, AddressSums> {
  const addresses = new Map<number, AddressSums>();
  for (const { v4, state, size, used } of rows) {
    let sums = addresses.get(v4);
    if (sums === undefined) {
      const states = { offered: 0, leased: 0, resting: 0, retired: 0 };
      addresses.set(v4, (sums = { size: 0, used: { tcp: 0, udp: 0, icmp: 0 }, states }));
    }
    sums.size += size;
    for (const protocol of PROTOCOLS) sums.used[protocol] += used[protocol];
    sums.states[state]++;
  }
  return addresses;
}
