// SPDX-License-Identifier: Apache-2.0
// Records of port blocks → rows, straight from the bytes: there are thousands of them, most say little, and decoding each
// to its last bit would hold up everything else at every look.

import { encode } from './bytes.ts';
import { PROTOCOLS, type Protocol } from '../model/binding.ts';
import { type BlockRow, type BlockState } from './datapath.ts';
import { BLOCK_STATE, BLOCK_WORDS, blockCodec, type Block } from '../model/layout.gen.ts';

const BLOCK_STATES: Readonly<Record<number, BlockState>> = {
  [BLOCK_STATE.BLOCK_RESTING]: 'resting',
  [BLOCK_STATE.BLOCK_OFFERED]: 'offered',
  [BLOCK_STATE.BLOCK_LEASED]: 'leased',
  [BLOCK_STATE.BLOCK_RETIRED]: 'retired',
};

const EMPTY = blockCodec.read(new DataView(new ArrayBuffer(blockCodec.size)), 0);

/** Where a field lies: the first byte that it sets when it is all ones. */
const offsetOf = (field: Partial<Block>): number =>
  encode(blockCodec, { ...EMPTY, ...field }).findIndex((byte) => byte !== 0);

const AT = {
  state: offsetOf({ state: 0xffffffff }),
  slot: offsetOf({ slot: 0xffffffff }),
  pool: offsetOf({ pool: 0xffffffff }),
  firstPort: offsetOf({ firstPort: 0xffff }),
  size: offsetOf({ size: 0xffff }),
  leasedNs: offsetOf({ leasedNs: 0xffffffffffffffffn }),
  holder: offsetOf({ holder: new Uint8Array(16).fill(0xff) }),
  bits: offsetOf({ bits: [[1n]] }),
} as const;

/** Of 32-bit words: numbers, where 64 bits would be BigInts. */
const WORDS = BLOCK_WORDS * 2;

function bitsSet(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}

function portsUsed(view: DataView, at: number): number {
  let count = 0;
  for (let word = 0; word < WORDS; word++) count += bitsSet(view.getInt32(at + word * 4, true));
  return count;
}

export function isOffered(view: DataView, offset: number): boolean {
  return view.getUint32(offset + AT.state, true) === BLOCK_STATE.BLOCK_OFFERED;
}

/** Undefined for a record that was never written. */
export function blockRow(
  index: number,
  view: DataView,
  offset: number,
  toEpoch: (ns: bigint) => number,
): BlockRow | undefined {
  const state = BLOCK_STATES[view.getUint32(offset + AT.state, true)];
  if (!state) return undefined;
  const leased = state === 'leased';
  const leasedNs = view.getBigUint64(offset + AT.leasedNs, true);
  const used: Record<Protocol, number> = { tcp: 0, udp: 0, icmp: 0 };
  PROTOCOLS.forEach((protocol, i) => (used[protocol] = portsUsed(view, offset + AT.bits + i * WORDS * 4)));
  const holder = () => {
    const from = view.byteOffset + offset + AT.holder;
    return new Uint8Array(view.buffer.slice(from, from + 16));
  };
  return {
    index,
    slot: view.getUint32(offset + AT.slot, true),
    v4: view.getUint32(offset + AT.pool, false),
    firstPort: view.getUint16(offset + AT.firstPort, true),
    size: view.getUint16(offset + AT.size, true),
    state,
    holder: leased ? holder() : undefined,
    since: leased ? toEpoch(leasedNs) : undefined,
    wasLeased: leasedNs !== 0n,
    used,
  };
}
