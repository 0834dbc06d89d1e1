// SPDX-License-Identifier: Apache-2.0
// Watches the programs of a pinned data plane, whether the service runs or not: writes what it asks for into a map, reads
// the ring (bpf/watch.h).

import { closeSync, constants, existsSync, fstatSync, openSync, statSync } from 'node:fs';
import { ip4Mask, ip6Mask } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import { BpfMap, RingBuffer, TypedMap } from '../libbpf/mod.ts';
import { PROTOCOLS } from '../model/binding.ts';
import { DROP_REASONS } from '../model/drops.gen.ts';
import {
  DIRECTION,
  WATCH,
  watchedCodec,
  watchedDropCodec,
  watchedLeaseCodec,
  watchedSessionCodec,
  watchingCodec,
  type Config,
  type Watching,
} from '../model/layout.gen.ts';
import { blockRow } from './block-view.ts';
import { encode, viewOf } from './bytes.ts';
import { epochClock, monotonicNs } from './clock.ts';
import type { DropSample } from './datapath.ts';
import { EbpfReader, openMaps, type MapSet } from './ebpf-reader.ts';
import { u32Codec, u64Codec } from '../model/codecs.ts';
import { lockFile } from './file-lock.ts';
import { WATCH_MAPS, type Pins } from './pins.ts';
import { dropSample, sessionRow } from './rows.ts';
import type { DatapathWatch, WatchEvent, WatchFilter, WatchKind } from './watch.ts';

/** Who was killed costs the programs something for so long at most. */
const LEASE_NS = 3_000_000_000n;

const KINDS: Readonly<Record<WatchKind, number>> = {
  drop: WATCH.WATCH_DROP,
  begin: WATCH.WATCH_BEGIN,
  end: WATCH.WATCH_END,
  lease: WATCH.WATCH_LEASE,
};

const NOBODY: Watching = {
  untilNs: 0n,
  pod: new Uint8Array(16),
  podMask: new Uint8Array(16),
  dst: 0,
  dstMask: 0,
  kinds: 0,
  reason: 0,
  protocol: 0,
};

export class EbpfWatch implements DatapathWatch {
  readonly #pins: Pins;
  /** The folder of the maps, locked. */
  readonly #folder: number;
  readonly #maps: MapSet;
  readonly #config: Config;
  readonly #ring: RingBuffer;
  readonly #watching: TypedMap<number, Watching>;
  readonly #lost: TypedMap<number, bigint>;
  readonly #asked: Watching;
  readonly #listener: (events: readonly WatchEvent[]) => void;
  readonly #sinceNs = monotonicNs();
  readonly #opened: DisposableStack;
  #lostBefore: bigint;

  private constructor(
    pins: Pins,
    folder: number,
    asked: Watching,
    listener: (events: readonly WatchEvent[]) => void,
    opened: DisposableStack,
  ) {
    this.#pins = pins;
    this.#folder = folder;
    this.#asked = asked;
    this.#listener = listener;
    this.#opened = opened;
    this.#maps = openMaps(pins);
    // It closes the maps.
    this.#config = opened.use(new EbpfReader(this.#maps, pins)).settings();
    const open = (name: (typeof WATCH_MAPS)[number]) => {
      const map = BpfMap.openPinned(pins.map(name));
      opened.defer(() => map.close());
      return map;
    };
    this.#watching = new TypedMap(open('n64_watching'), u32Codec, watchingCodec);
    this.#lost = new TypedMap(open('n64_watch_lost'), u32Codec, u64Codec);
    this.#lostBefore = this.#lostNow();
    opened.defer(() => this.#watching.update(0, NOBODY));
    this.#ring = opened.use(new RingBuffer(open('n64_watch'), (records) => this.#deliver(records)));
  }

  /** Throws G64_DATAPATH_MISSING, G64_DATAPATH_LAYOUT, and G64_ALREADY_RUNNING while somebody else watches. */
  static open(pins: Pins, filter: WatchFilter, listener: (events: readonly WatchEvent[]) => void): EbpfWatch {
    // Says why there are none.
    if (!pins.haveMaps) openMaps(pins);
    if (WATCH_MAPS.some((name) => !existsSync(pins.map(name)))) {
      throw new Gate64Error('G64_DATAPATH_LAYOUT', 'the programs of this node cannot be watched: they are older', {
        hint: 'restart the service with this version; sessions stay',
      });
    }
    using opened = new DisposableStack();
    const folder = openSync(pins.mapFolder, constants.O_RDONLY | constants.O_DIRECTORY);
    opened.defer(() => closeSync(folder));
    // A ring has one reader. The kernel unlocks with the process, however that ends.
    if (!lockFile(folder)) {
      throw new Gate64Error('G64_ALREADY_RUNNING', 'another gate64 monitor watches this node', {
        hint: 'end that one, or look at what it prints',
      });
    }
    const watch = new EbpfWatch(pins, folder, watchingOf(filter), listener, opened.use(new DisposableStack()));
    watch.renew();
    opened.move();
    return watch;
  }

  renew(): number {
    if (statSync(this.#pins.mapFolder, { throwIfNoEntry: false })?.ino !== fstatSync(this.#folder).ino) {
      throw new Gate64Error('G64_DATAPATH_MISSING', 'the data plane was removed or replaced meanwhile', {
        hint: 'start gate64 monitor again',
      });
    }
    this.#watching.update(0, { ...this.#asked, untilNs: monotonicNs() + LEASE_NS });
    while (this.#ring.consume() > 0);
    const lost = this.#lostNow();
    const more = Number(lost - this.#lostBefore);
    this.#lostBefore = lost;
    return more;
  }

  [Symbol.dispose](): void {
    this.#opened.dispose();
    closeSync(this.#folder);
  }

  #lostNow(): bigint {
    return (this.#lost.lookupPerCpu(0) ?? []).reduce((sum, one) => sum + one, 0n);
  }

  #deliver(records: readonly Uint8Array[]): void {
    const toEpoch = epochClock();
    const events = records.flatMap((record) => this.#event(viewOf(record), toEpoch) ?? []);
    if (events.length > 0) this.#listener(events);
  }

  #event(record: DataView, toEpoch: (ns: bigint) => number): WatchEvent | undefined {
    const { atNs, kind, detail } = watchedCodec.read(record, 0);
    // It was told to somebody before, who had no time to read it.
    if (atNs < this.#sinceNs) return undefined;
    const at = toEpoch(atNs);
    switch (kind) {
      case WATCH.WATCH_DROP: {
        const packet: DropSample | undefined = dropSample(watchedDropCodec.read(record, 0).packet, toEpoch);
        const reason = DROP_REASONS[Math.floor(detail / DIRECTION.DIRECTIONS) - 1];
        if (packet === undefined || reason === undefined) return undefined;
        return { kind: 'drop', at, reason, direction: detail % DIRECTION.DIRECTIONS === 0 ? '6to4' : '4to6', packet };
      }
      case WATCH.WATCH_BEGIN:
      case WATCH.WATCH_END: {
        const { key, six, four } = watchedSessionCodec.read(record, 0).session;
        // Without its other entry it has that one's zeros.
        const session = sessionRow(key, six, four.lastNs === 0n ? undefined : four, this.#config, toEpoch);
        return { kind: kind === WATCH.WATCH_BEGIN ? 'begin' : 'end', at, session };
      }
      case WATCH.WATCH_LEASE: {
        const value = this.#maps.n64_blocks.lookup(encode(u32Codec, detail));
        const row = value && blockRow(detail, viewOf(value), 0, toEpoch);
        return { kind: 'lease', at, holder: watchedLeaseCodec.read(record, 0).holder, block: detail, row };
      }
      default:
        return undefined;
    }
  }
}

function watchingOf({ kinds, pod, destination, reason, protocol }: WatchFilter): Watching {
  return {
    ...NOBODY,
    kinds: kinds.reduce((bits, kind) => bits | (1 << KINDS[kind]), 0),
    ...(pod === undefined ? {} : { pod: pod.v6, podMask: ip6Mask(pod.length) }),
    ...(destination === undefined ? {} : { dst: destination.v4, dstMask: ip4Mask(destination.length) }),
    reason: reason === undefined ? 0 : DROP_REASONS.indexOf(reason) + 1,
    protocol: protocol === undefined ? 0 : PROTOCOLS.indexOf(protocol) + 1,
  };
}
