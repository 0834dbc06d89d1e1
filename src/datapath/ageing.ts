// SPDX-License-Identifier: Apache-2.0
// Puts sessions past their time, for the sweep to end: it alone gives back bindings, ports and counts.

import { TypedMap } from '../libbpf/mod.ts';
import { flow4Codec, flow4KeyCodec, flow6Codec, flow6KeyCodec, type Config } from '../model/layout.gen.ts';
import { encode, viewOf } from './bytes.ts';
import { monotonicNs, signedNs } from './clock.ts';
import type { MapSet } from './ebpf-reader.ts';
import { flow4KeyOf } from './rows.ts';

/** Where an entry has its pool address: most are of another, and not worth decoding. */
const POOL_AT = (() => {
  const empty = flow6Codec.read(new DataView(new ArrayBuffer(flow6Codec.size)), 0);
  return encode(flow6Codec, { ...empty, pool: 0x01000000 }).indexOf(1);
})();

/** A session this near its end is left to run out: a packet may put another in its place at any moment. */
const NEAR_NS = 100_000_000n;
const MARGIN_NS = 60_000_000_000n;

/** Of the pool address `v4` (u32, host order). Gives how many there are, whether they had run out before or not. */
export function ageSessionsOf(v4: number, maps: Pick<MapSet, 'n64_flow6' | 'n64_flow4'>, config: Config): number {
  const flow6 = new TypedMap(maps.n64_flow6, flow6KeyCodec, flow6Codec);
  const flow4 = new TypedMap(maps.n64_flow4, flow4KeyCodec, flow4Codec);
  const longest = config.timeoutNs.reduce((most, ns) => (ns > most ? ns : most), 0n) + MARGIN_NS;
  let found = 0;
  for (const { keys, values, count } of maps.n64_flow6.lookupBatch()) {
    const [keyView, valueView] = [viewOf(keys), viewOf(values)];
    for (let i = 0; i < count; i++) {
      if (valueView.getUint32(i * flow6Codec.size + POOL_AT, false) !== v4) continue;
      found++;
      const key = flow6KeyCodec.read(keyView, i * flow6KeyCodec.size);
      // Read anew, since an entry is written whole: the less time in between, the less of what a packet writes is lost.
      const six = flow6.lookup(key);
      // One that a processor is making or deleting would stay so.
      if (six?.pool !== v4 || six.createdNs === 0n) continue;
      const key4 = flow4KeyOf(key, six);
      const four = flow4.lookup(key4);
      const now = monotonicNs();
      const last = four !== undefined && signedNs(four.lastNs - six.lastNs) > 0n ? four.lastNs : six.lastNs;
      if (signedNs(now - last) > (config.timeoutNs[six.state] ?? 0n) - NEAR_NS) continue;
      const lastNs = BigInt.asUintN(64, now - longest);
      // The IPv6 side last: until then a packet of the pod takes the session for alive and is in nobody's way.
      if (four !== undefined) flow4.tryUpdate(key4, { ...four, lastNs }, 'exist');
      flow6.tryUpdate(key, { ...six, lastNs }, 'exist');
    }
  }
  return found;
}
