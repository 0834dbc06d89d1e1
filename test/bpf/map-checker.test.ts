// SPDX-License-Identifier: Apache-2.0
// The checker of maps finds each kind of fault, and none where there is none.

import { expect } from 'chai';
import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import { u32Codec, u64Codec } from '../../src/model/codecs.ts';
import { type Codec, TypedMap } from '../../src/libbpf/mod.ts';
import {
  bib4Codec,
  bib4KeyCodec,
  bib6Codec,
  bib6KeyCodec,
  BLOCK_STATE,
  blockCodec,
  flow4Codec,
  flow4KeyCodec,
  flow6Codec,
  flow6KeyCodec,
  LIVE,
  peerCodec,
  peerKeyCodec,
  podCodec,
  PROTOCOL,
  STATE,
  STOCK,
} from '../../src/model/layout.gen.ts';
import { disagreements } from '../helpers/map-checker.ts';
import { eth, TCP } from '../helpers/packet.ts';
import { Plane, POD, POOL, PREFIX, SERVER, SERVER6 } from './plane.ts';

const T = 40001;
const STATIC = { protocol: 'tcp', source: { v6: parseIp6(POD), port: 80 }, pool: { v4: parseIp4(POOL), port: 40080 } };
const POD_KEY = parseIp6(POD);
const tcp = () => eth().ip6({ src: POD, dst: SERVER6 }).tcp({ sport: T, dport: 80, flags: TCP.syn });
const udp = (server = SERVER) =>
  eth()
    .ip6({ src: POD, dst: `${PREFIX}${server}` })
    .udp({ sport: T, dport: 53 });

/** Changes the first entry of a map that `which` takes, or removes it when `change` gives undefined. */
function alter<K, V>(
  map: TypedMap<K, V>,
  change: (value: V, key: K) => V | undefined,
  which: (key: K, value: V) => boolean = () => true,
): void {
  const [key, value] = [...map.entries()].find(([k, v]) => which(k, v)) ?? expect.fail('there is none');
  const changed = change(value, key);
  if (changed === undefined) map.delete(key);
  else map.update(key, changed);
}

const raw: Codec<Uint8Array> = {
  size: 16,
  read: (view, offset) => new Uint8Array(view.buffer.slice(view.byteOffset + offset, view.byteOffset + offset + 16)),
  write: (view, offset, value) => new Uint8Array(view.buffer, view.byteOffset + offset, 16).set(value),
};
const mapsOf = ({ maps }: Plane) => ({
  flow6: new TypedMap(maps.n64_flow6, flow6KeyCodec, flow6Codec),
  flow4: new TypedMap(maps.n64_flow4, flow4KeyCodec, flow4Codec),
  bib6: new TypedMap(maps.n64_bib6, bib6KeyCodec, bib6Codec),
  bib4: new TypedMap(maps.n64_bib4, bib4KeyCodec, bib4Codec),
  peers: new TypedMap(maps.n64_peer, peerKeyCodec, peerCodec),
  pods: new TypedMap(maps.n64_pods, raw, podCodec),
  blocks: new TypedMap(maps.n64_blocks, u32Codec, blockCodec),
  stock: new TypedMap(maps.n64_stock, u32Codec, u64Codec),
  statics: new TypedMap(maps.n64_statics, u32Codec, u32Codec),
});
type Of = ReturnType<typeof mapsOf>;
const isTcp = ({ protocol }: { protocol: number }) => protocol === PROTOCOL.TCP;
const isDynamic = (_: unknown, { isStatic }: { isStatic: number }) => isStatic === 0;
const leased = (_: number, { state }: { state: number }) => state === BLOCK_STATE.BLOCK_LEASED;
const bitOf = (bits: readonly (readonly bigint[])[], protocol: number, at: number) =>
  bits.map((words, i) =>
    words.map((word, j) => (i === protocol && j === at >> 6 ? word ^ (1n << BigInt(at & 63)) : word)),
  );

const FAULTS: readonly [what: string, plant: (maps: Of, plane: Plane) => void, said: RegExp][] = [
  ['a session without its IPv4 entry', ({ flow4 }) => alter(flow4, () => undefined), /has no IPv4 entry/],
  ['an IPv4 entry without its session', ({ flow6 }) => alter(flow6, () => undefined), /IPv4 entry .* has no session/],
  [
    'an IPv4 entry of another port',
    ({ flow4 }) => alter(flow4, (four) => ({ ...four, port: four.port + 1 })),
    /its IPv4 entry leads to/,
  ],
  [
    'entries in two states',
    ({ flow4 }) => alter(flow4, (four) => ({ ...four, state: STATE.TRANS }), isTcp),
    /is in state 3, its IPv4 entry in 8/,
  ],
  [
    'a session of another pool port',
    ({ flow6 }) => alter(flow6, (six) => ({ ...six, port: six.port + 1 })),
    /its session is of .*:40002|its binding of/,
  ],
  ['a session without its binding', ({ bib6 }) => alter(bib6, () => undefined, isDynamicKey), /has no binding$/m],
  [
    "a session of another binding's generation",
    ({ bib6 }) => alter(bib6, (bib) => ({ ...bib, createdNs: bib.createdNs + 1n }), isDynamicKey),
    /is of another binding's generation/,
  ],
  ['a binding without its IPv4 side', ({ bib4 }) => alter(bib4, () => undefined), /has no IPv4 side/],
  [
    'an IPv4 side of somebody else',
    ({ bib4 }) => alter(bib4, (four) => ({ ...four, port: four.port + 1 })),
    /its IPv4 side is of/,
  ],
  [
    'an IPv4 side alone',
    ({ bib4 }) =>
      bib4.update(
        { pool: parseIp4(POOL), port: 40500, protocol: PROTOCOL.UDP },
        { src: POD_KEY, port: 9, isStatic: 0 },
      ),
    /IPv4 side .* has no binding/,
  ],
  [
    'a binding that is static on one side',
    ({ bib4 }) =>
      alter(
        bib4,
        (four) => ({ ...four, isStatic: 1 }),
        (_, four) => isDynamic(_, four),
      ),
    /is static on one side/,
  ],
  [
    'a binding that counts a session too many',
    ({ bib6 }) => alter(bib6, (bib) => ({ ...bib, refs: bib.refs + 1 }), isDynamicKey),
    /counts [23] sessions of [12]/,
  ],
  [
    'a binding of no block',
    ({ bib6 }) => alter(bib6, (bib) => ({ ...bib, block: 77 }), isDynamicKey),
    /is of block 77, which is none/,
  ],
  [
    'a binding outside its block',
    ({ blocks }) => alter(blocks, (block) => ({ ...block, firstPort: 50000 }), leased),
    /lies outside block 0/,
  ],
  [
    "a port's bit that is not set",
    ({ blocks }) => alter(blocks, (block) => ({ ...block, bits: bitOf(block.bits, PROTOCOL.UDP, 1) }), leased),
    /its port's bit is not set/,
  ],
  [
    'a bit of nobody',
    ({ blocks }) => alter(blocks, (block) => ({ ...block, bits: bitOf(block.bits, PROTOCOL.ICMP, 9) }), leased),
    /the bit of icmp 203.0.113.5:40009 is set, which is nobody's/,
  ],
  [
    'a block that counts a binding too few',
    ({ blocks }) => alter(blocks, (block) => ({ ...block, used: block.used - 1 }), leased),
    /block 0 counts 1 bindings of 2/,
  ],
  [
    'a binding of a block that is not leased',
    ({ blocks }) => alter(blocks, (block) => ({ ...block, state: BLOCK_STATE.BLOCK_RESTING }), leased),
    /block 0 is not leased/,
  ],
  [
    'a block that its holder does not know of',
    ({ pods }) => alter(pods, (pod) => ({ ...pod, block: pod.block.map(() => 0) })),
    /block 0 is of 2001:db8:1::10, and held by nobody/,
  ],
  [
    'a block of two pods',
    ({ pods }) => alter(pods, (pod) => (pods.update(parseIp6('2001:db8:1::99'), pod), pod)),
    /held by (?:2001:db8:1::10, 2001:db8:1::99|2001:db8:1::99, 2001:db8:1::10)/,
  ],
  [
    'a pod that holds what is none',
    ({ pods }) => alter(pods, (pod) => ({ ...pod, block: pod.block.with(0, 78) })),
    /holds block 77, which is none/,
  ],
  [
    "a block beyond the pod's top",
    ({ pods }) => alter(pods, (pod) => ({ ...pod, top: 0 })),
    /holds block 0 at 0, beyond 0/,
  ],
  ['a peer that is missing', ({ peers }) => alter(peers, () => undefined), /peer .* is missing/],
  [
    'a peer that counts too many',
    ({ peers }) => alter(peers, ({ refs }) => ({ refs: refs + 1 })),
    /peer .* counts 2 sessions of 1/,
  ],
  [
    'a pod that counts a session too few',
    ({ pods }) => alter(pods, (pod) => ({ ...pod, sessions: pod.sessions - 1 })),
    /counts 2 sessions of 3/,
  ],
  [
    'a pod that counts one from outside',
    ({ pods }) => alter(pods, (pod) => ({ ...pod, outside: 1 })),
    /counts 1 sessions from outside of 0/,
  ],
  ['a pod without a record', ({ pods }) => alter(pods, () => undefined), /has 3 sessions and no record/],
  [
    'sessions that are counted wrongly',
    (_, { maps }) =>
      maps.n64_live.update(index(LIVE.LIVE_SESSIONS * 3 + PROTOCOL.UDP), Buffer.alloc(maps.n64_live.valueBytes)),
    /0 udp sessions are counted of 2/,
  ],
  [
    'bindings that are counted wrongly',
    (_, { maps }) =>
      maps.n64_live.update(index(LIVE.LIVE_BINDINGS * 3 + PROTOCOL.TCP), Buffer.alloc(maps.n64_live.valueBytes)),
    /0 tcp bindings are counted of 1/,
  ],
  [
    'static bindings that are counted wrongly',
    ({ statics }) => statics.update(PROTOCOL.TCP, 0),
    /0 static tcp bindings are counted of 1/,
  ],
  [
    'a stock that is wrong',
    ({ stock }) =>
      alter(
        stock,
        (count) => count + 1n,
        (which) => which === STOCK.STOCK_LEASED,
      ),
    /the stock is 0 blocks of 1/,
  ],
];

function isDynamicKey({ port }: { port: number }): boolean {
  return port === T;
}

function index(at: number): Uint8Array {
  const key = Buffer.alloc(4);
  key.writeUInt32LE(at);
  return key;
}

describe('checker of maps', () => {
  let plane: Plane;
  before(() => {
    const block = { slot: 0, v4: parseIp4(POOL), size: 256 };
    plane = new Plane({
      blocks: [
        { ...block, index: 0, firstPort: 40000 },
        { ...block, index: 1, firstPort: 40256 },
      ],
      staticPorts: [40080],
    });
  });
  after(() => plane[Symbol.dispose]());
  beforeEach(() => {
    plane.reset();
    plane.datapath.putStaticBinding({ ...STATIC, protocol: 'tcp' });
    for (const packet of [tcp(), udp(), udp('198.51.100.8')]) plane.gate(packet);
  });

  it('says nothing of maps that agree', () => {
    expect(plane.datapath.sessions()).to.have.length(3);
    expect(disagreements(plane.maps)).to.deep.equal([]);
  });

  for (const [what, plant, said] of FAULTS) {
    it(`finds ${what}`, () => {
      plant(mapsOf(plane), plane);
      expect(disagreements(plane.maps).join('\n')).to.match(said);
    });
  }
});
