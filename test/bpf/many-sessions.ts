// SPDX-License-Identifier: Apache-2.0
// Sessions of nobody, for what walks many: what a sweep looks at, without the packets that make it.

import { parseIp6 } from '../../src/addr/ip.ts';
import {
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  PROTOCOL,
  STATE,
  type Flow6,
} from '../../src/model/layout.gen.ts';
import type { Plane } from './plane.ts';

const BATCH = 10_000;
/** Of one pod. */
const PORTS = 1024;

export interface Many {
  readonly count: number;
  readonly lastNs: bigint;
  /** Of how many servers, from the first on. */
  readonly servers: number;
  readonly firstServer: number;
  readonly protocol?: number;
  readonly six?: Partial<Flow6>;
  /** Whether they have their other entry, too. */
  readonly areAnswered?: boolean;
}

const portOf = (one: number) => 1024 + (one % PORTS);
const poolOf = (one: number) => Math.floor(one / PORTS);

export function fillSessions(plane: Plane, many: Many): void {
  const { count, lastNs, servers, firstServer, protocol = PROTOCOL.UDP } = many;
  const empty = flow6Codec.read(new DataView(new ArrayBuffer(flow6Codec.size)), 0);
  const six = { ...empty, lastNs, createdNs: lastNs, state: STATE.OPEN_UDP, ...many.six };
  for (let from = 0; from < count; from += BATCH) {
    const size = Math.min(BATCH, count - from);
    const keys = new Uint8Array(size * flow6KeyCodec.size);
    const values = new Uint8Array(size * flow6Codec.size);
    for (let i = 0; i < size; i++) {
      const one = Math.floor((from + i) / servers);
      const src = parseIp6(`2001:db8:2::${Math.floor(one / PORTS).toString(16)}`);
      const dst4 = firstServer + ((from + i) % servers);
      const key = { src, dst4, sport: portOf(one), dport: 53, protocol, prefix: 0 };
      flow6KeyCodec.write(new DataView(keys.buffer), i * flow6KeyCodec.size, key);
      const value = { ...six, pool: poolOf(one), port: portOf(one) };
      flow6Codec.write(new DataView(values.buffer), i * flow6Codec.size, value);
    }
    plane.maps.n64_flow6.updateBatch(keys, values, size);
    if (many.areAnswered) fillOther(plane, many, from, size);
  }
}

function fillOther(plane: Plane, many: Many, from: number, size: number): void {
  const { lastNs, servers, firstServer, protocol = PROTOCOL.UDP } = many;
  const empty = flow4Codec.read(new DataView(new ArrayBuffer(flow4Codec.size)), 0);
  const four = { ...empty, lastNs, packets: 1n };
  const keys = new Uint8Array(size * flow4KeyCodec.size);
  const values = new Uint8Array(size * flow4Codec.size);
  for (let i = 0; i < size; i++) {
    const one = Math.floor((from + i) / servers);
    const key = {
      src: firstServer + ((from + i) % servers),
      dst: poolOf(one),
      sport: 53,
      dport: portOf(one),
      protocol,
    };
    flow4KeyCodec.write(new DataView(keys.buffer), i * flow4KeyCodec.size, key);
    flow4Codec.write(new DataView(values.buffer), i * flow4Codec.size, four);
  }
  plane.maps.n64_flow4.updateBatch(keys, values, size);
}
