// SPDX-License-Identifier: Apache-2.0
// Made by `make types` from the BTF of .output/nat64.bpf.o; not edited by hand.

// Offsets and sizes are the compiler's. Padding is written as zero, since map keys are compared whole.
// Fields that the programs hold in network order are plain numbers here.

import { bytes, clear, repeat, setBytes } from './codecs.ts';

export const MAX_PREFIXES = 8;
export const MAX_UPLINKS = 8;
export const MAX_RETURNS = 16;
export const MAX_POD_DEVICES = 1024;
export const MAX_BLOCKS_PER_POD = 256;
export const MAX_SLOTS = 1024;
export const BLOCK_WORDS = 16;
export const MSS_AUTO = 0xffffffff;
export const FLOW_OUTSIDE = 1;
export const FLOW_HAIRPIN = 2;
export const FLOW_ANSWERED = 4;
export const SHARES = 16;
export const REFS_DEAD = 0x80000000;
export const NO_BLOCK = 0xffffffff;
export const ALL_DEVICES = 0xffffffff;
export const BLOCK_CLOSED = 0x80000000;
export const FRAG_PARTS = 64;
export const FRAGS_A_PART = 512;
export const HELD_MARK = 0x6e370001;
export const SYN_MARK = 0x6e370002;

export const SOURCE_CHECK = {
  SOURCE_UNCHECKED: 0,
  SOURCE_LOOSE: 1,
  SOURCE_STRICT: 2,
} as const;

export const STOCK = {
  STOCK_OFFERED: 0,
  STOCK_LEASED: 1,
  STOCK_COUNTS: 2,
} as const;

export const INBOUND_REFRESH = {
  REFRESH_NEVER: 0,
  REFRESH_ONCE: 1,
  REFRESH_ALWAYS: 2,
} as const;

export const PROTOCOL = {
  TCP: 0,
  UDP: 1,
  ICMP: 2,
  PROTOCOLS: 3,
} as const;

export const DIRECTION = {
  '6TO4': 0,
  '4TO6': 1,
  DIRECTIONS: 2,
} as const;

export const STATE = {
  OPEN_UDP: 0,
  OPEN_ICMP: 1,
  V4_INIT: 2,
  V6_INIT: 3,
  ESTABLISHED: 4,
  V4_FIN_RCV: 5,
  V6_FIN_RCV: 6,
  BOTH_FIN_RCV: 7,
  TRANS: 8,
  STATES: 9,
} as const;

export const RECORD = {
  RECORD_ENDED: 0,
  RECORD_PROBE: 1,
} as const;

export const BLOCK_STATE = {
  BLOCK_NONE: 0,
  BLOCK_RESTING: 1,
  BLOCK_OFFERED: 2,
  BLOCK_LEASED: 3,
  BLOCK_RETIRED: 4,
} as const;

export const VERDICT = {
  ALLOW: 0,
  NEVER: 1,
  NON_GLOBAL: 2,
  NODE: 3,
  DENIED: 4,
} as const;

export const LIVE = {
  LIVE_SESSIONS: 0,
  LIVE_BINDINGS: 1,
  LIVE_KINDS: 2,
} as const;

export const EVENT_TYPE = {
  EVENT_BLOCK_LEASED: 1,
} as const;

export const WATCH = {
  WATCH_DROP: 0,
  WATCH_BEGIN: 1,
  WATCH_END: 2,
  WATCH_LEASE: 3,
} as const;

export interface Prefix {
  readonly address: Uint8Array;
  readonly length: number;
  readonly wellKnown: number;
}

export const prefixCodec = {
  size: 24,
  read(view: DataView, offset: number): Prefix {
    return {
      address: bytes(view, offset, 16),
      length: view.getUint32(offset + 16, true),
      wellKnown: view.getUint32(offset + 20, true),
    };
  },
  write(view: DataView, offset: number, value: Prefix): void {
    clear(view, offset, 24);
    setBytes(view, offset, value.address, 16);
    view.setUint32(offset + 16, value.length, true);
    view.setUint32(offset + 20, value.wellKnown, true);
  },
};

export interface Config {
  readonly timeoutNs: readonly bigint[];
  readonly fragmentNs: bigint;
  readonly prefixes: readonly Prefix[];
  readonly prefixCount: number;
  readonly direct: number;
  readonly deviceIfindex: number;
  readonly deviceMtu: number;
  readonly uplinkIfindex: readonly number[];
  readonly uplinkCount: number;
  readonly uplinkMtu: number;
  readonly returnIfindex: readonly number[];
  readonly returnCount: number;
  readonly admitListed: number;
  readonly endpointIndependentFiltering: number;
  readonly restrictSources: number;
  readonly maxBlocksPerPod: number;
  readonly slots: number;
  readonly lowestIpv6Mtu: number;
  readonly maxSessionsPerPod: number;
  readonly reservedBlocks: number;
  readonly checkSources: number;
  readonly mssClamp: number;
  readonly accelerate: number;
  readonly podMask: Uint8Array;
  readonly node6: Uint8Array;
  readonly errorPrefix: Prefix;
  readonly deviceMac: Uint8Array;
  readonly endDeniedSessions: number;
  readonly inboundRefresh: number;
}

export const configCodec = {
  size: 504,
  read(view: DataView, offset: number): Config {
    return {
      timeoutNs: repeat(9, (i) => view.getBigUint64(offset + 8 * i, true)),
      fragmentNs: view.getBigUint64(offset + 72, true),
      prefixes: repeat(8, (i) => prefixCodec.read(view, offset + 80 + 24 * i)),
      prefixCount: view.getUint32(offset + 272, true),
      direct: view.getUint32(offset + 276, true),
      deviceIfindex: view.getUint32(offset + 280, true),
      deviceMtu: view.getUint32(offset + 284, true),
      uplinkIfindex: repeat(8, (i) => view.getUint32(offset + 288 + 4 * i, true)),
      uplinkCount: view.getUint32(offset + 320, true),
      uplinkMtu: view.getUint32(offset + 324, true),
      returnIfindex: repeat(16, (i) => view.getUint32(offset + 328 + 4 * i, true)),
      returnCount: view.getUint32(offset + 392, true),
      admitListed: view.getUint32(offset + 396, true),
      endpointIndependentFiltering: view.getUint32(offset + 400, true),
      restrictSources: view.getUint32(offset + 404, true),
      maxBlocksPerPod: view.getUint32(offset + 408, true),
      slots: view.getUint32(offset + 412, true),
      lowestIpv6Mtu: view.getUint32(offset + 416, true),
      maxSessionsPerPod: view.getUint32(offset + 420, true),
      reservedBlocks: view.getUint32(offset + 424, true),
      checkSources: view.getUint32(offset + 428, true),
      mssClamp: view.getUint32(offset + 432, true),
      accelerate: view.getUint32(offset + 436, true),
      podMask: bytes(view, offset + 440, 16),
      node6: bytes(view, offset + 456, 16),
      errorPrefix: prefixCodec.read(view, offset + 472),
      deviceMac: bytes(view, offset + 496, 6),
      endDeniedSessions: view.getUint8(offset + 502),
      inboundRefresh: view.getUint8(offset + 503),
    };
  },
  write(view: DataView, offset: number, value: Config): void {
    clear(view, offset, 504);
    value.timeoutNs.forEach((element, i) => view.setBigUint64(offset + 8 * i, element, true));
    view.setBigUint64(offset + 72, value.fragmentNs, true);
    value.prefixes.forEach((element, i) => prefixCodec.write(view, offset + 80 + 24 * i, element));
    view.setUint32(offset + 272, value.prefixCount, true);
    view.setUint32(offset + 276, value.direct, true);
    view.setUint32(offset + 280, value.deviceIfindex, true);
    view.setUint32(offset + 284, value.deviceMtu, true);
    value.uplinkIfindex.forEach((element, i) => view.setUint32(offset + 288 + 4 * i, element, true));
    view.setUint32(offset + 320, value.uplinkCount, true);
    view.setUint32(offset + 324, value.uplinkMtu, true);
    value.returnIfindex.forEach((element, i) => view.setUint32(offset + 328 + 4 * i, element, true));
    view.setUint32(offset + 392, value.returnCount, true);
    view.setUint32(offset + 396, value.admitListed, true);
    view.setUint32(offset + 400, value.endpointIndependentFiltering, true);
    view.setUint32(offset + 404, value.restrictSources, true);
    view.setUint32(offset + 408, value.maxBlocksPerPod, true);
    view.setUint32(offset + 412, value.slots, true);
    view.setUint32(offset + 416, value.lowestIpv6Mtu, true);
    view.setUint32(offset + 420, value.maxSessionsPerPod, true);
    view.setUint32(offset + 424, value.reservedBlocks, true);
    view.setUint32(offset + 428, value.checkSources, true);
    view.setUint32(offset + 432, value.mssClamp, true);
    view.setUint32(offset + 436, value.accelerate, true);
    setBytes(view, offset + 440, value.podMask, 16);
    setBytes(view, offset + 456, value.node6, 16);
    prefixCodec.write(view, offset + 472, value.errorPrefix);
    setBytes(view, offset + 496, value.deviceMac, 6);
    view.setUint8(offset + 502, value.endDeniedSessions);
    view.setUint8(offset + 503, value.inboundRefresh);
  },
};

export interface Flow6Key {
  readonly src: Uint8Array;
  readonly dst4: number;
  readonly sport: number;
  readonly dport: number;
  readonly protocol: number;
  readonly prefix: number;
}

export const flow6KeyCodec = {
  size: 28,
  read(view: DataView, offset: number): Flow6Key {
    return {
      src: bytes(view, offset, 16),
      dst4: view.getUint32(offset + 16, false),
      sport: view.getUint16(offset + 20, false),
      dport: view.getUint16(offset + 22, false),
      protocol: view.getUint8(offset + 24),
      prefix: view.getUint8(offset + 25),
    };
  },
  write(view: DataView, offset: number, value: Flow6Key): void {
    clear(view, offset, 28);
    setBytes(view, offset, value.src, 16);
    view.setUint32(offset + 16, value.dst4, false);
    view.setUint16(offset + 20, value.sport, false);
    view.setUint16(offset + 22, value.dport, false);
    view.setUint8(offset + 24, value.protocol);
    view.setUint8(offset + 25, value.prefix);
  },
};

export interface Flow6 {
  readonly lastNs: bigint;
  readonly createdNs: bigint;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly pool: number;
  readonly port: number;
  readonly state: number;
  readonly flags: number;
  readonly csumDelta: number;
  readonly generation: number;
}

export const flow6Codec = {
  size: 48,
  read(view: DataView, offset: number): Flow6 {
    return {
      lastNs: view.getBigUint64(offset, true),
      createdNs: view.getBigUint64(offset + 8, true),
      packets: view.getBigUint64(offset + 16, true),
      bytes: view.getBigUint64(offset + 24, true),
      pool: view.getUint32(offset + 32, false),
      port: view.getUint16(offset + 36, false),
      state: view.getUint8(offset + 38),
      flags: view.getUint8(offset + 39),
      csumDelta: view.getUint32(offset + 40, true),
      generation: view.getUint32(offset + 44, true),
    };
  },
  write(view: DataView, offset: number, value: Flow6): void {
    clear(view, offset, 48);
    view.setBigUint64(offset, value.lastNs, true);
    view.setBigUint64(offset + 8, value.createdNs, true);
    view.setBigUint64(offset + 16, value.packets, true);
    view.setBigUint64(offset + 24, value.bytes, true);
    view.setUint32(offset + 32, value.pool, false);
    view.setUint16(offset + 36, value.port, false);
    view.setUint8(offset + 38, value.state);
    view.setUint8(offset + 39, value.flags);
    view.setUint32(offset + 40, value.csumDelta, true);
    view.setUint32(offset + 44, value.generation, true);
  },
};

export interface Flow4Key {
  readonly src: number;
  readonly dst: number;
  readonly sport: number;
  readonly dport: number;
  readonly protocol: number;
}

export const flow4KeyCodec = {
  size: 16,
  read(view: DataView, offset: number): Flow4Key {
    return {
      src: view.getUint32(offset, false),
      dst: view.getUint32(offset + 4, false),
      sport: view.getUint16(offset + 8, false),
      dport: view.getUint16(offset + 10, false),
      protocol: view.getUint8(offset + 12),
    };
  },
  write(view: DataView, offset: number, value: Flow4Key): void {
    clear(view, offset, 16);
    view.setUint32(offset, value.src, false);
    view.setUint32(offset + 4, value.dst, false);
    view.setUint16(offset + 8, value.sport, false);
    view.setUint16(offset + 10, value.dport, false);
    view.setUint8(offset + 12, value.protocol);
  },
};

export interface Flow4 {
  readonly lastNs: bigint;
  readonly packets: bigint;
  readonly bytes: bigint;
  readonly src: Uint8Array;
  readonly port: number;
  readonly state: number;
  readonly prefix: number;
  readonly csumDelta: number;
}

export const flow4Codec = {
  size: 48,
  read(view: DataView, offset: number): Flow4 {
    return {
      lastNs: view.getBigUint64(offset, true),
      packets: view.getBigUint64(offset + 8, true),
      bytes: view.getBigUint64(offset + 16, true),
      src: bytes(view, offset + 24, 16),
      port: view.getUint16(offset + 40, false),
      state: view.getUint8(offset + 42),
      prefix: view.getUint8(offset + 43),
      csumDelta: view.getUint32(offset + 44, true),
    };
  },
  write(view: DataView, offset: number, value: Flow4): void {
    clear(view, offset, 48);
    view.setBigUint64(offset, value.lastNs, true);
    view.setBigUint64(offset + 8, value.packets, true);
    view.setBigUint64(offset + 16, value.bytes, true);
    setBytes(view, offset + 24, value.src, 16);
    view.setUint16(offset + 40, value.port, false);
    view.setUint8(offset + 42, value.state);
    view.setUint8(offset + 43, value.prefix);
    view.setUint32(offset + 44, value.csumDelta, true);
  },
};

export interface SessionRecord {
  readonly key: Flow6Key;
  readonly kind: number;
  readonly six: Flow6;
  readonly four: Flow4;
}

export const sessionRecordCodec = {
  size: 128,
  read(view: DataView, offset: number): SessionRecord {
    return {
      key: flow6KeyCodec.read(view, offset),
      kind: view.getUint32(offset + 28, true),
      six: flow6Codec.read(view, offset + 32),
      four: flow4Codec.read(view, offset + 80),
    };
  },
  write(view: DataView, offset: number, value: SessionRecord): void {
    clear(view, offset, 128);
    flow6KeyCodec.write(view, offset, value.key);
    view.setUint32(offset + 28, value.kind, true);
    flow6Codec.write(view, offset + 32, value.six);
    flow4Codec.write(view, offset + 80, value.four);
  },
};

export interface Turn {
  readonly nowNs: bigint;
  readonly probes: number;
  readonly share: number;
  readonly noneClosing: number;
}

export const turnCodec = {
  size: 24,
  read(view: DataView, offset: number): Turn {
    return {
      nowNs: view.getBigUint64(offset, true),
      probes: view.getUint32(offset + 8, true),
      share: view.getUint32(offset + 12, true),
      noneClosing: view.getUint32(offset + 16, true),
    };
  },
  write(view: DataView, offset: number, value: Turn): void {
    clear(view, offset, 24);
    view.setBigUint64(offset, value.nowNs, true);
    view.setUint32(offset + 8, value.probes, true);
    view.setUint32(offset + 12, value.share, true);
    view.setUint32(offset + 16, value.noneClosing, true);
  },
};

export interface Bib6Key {
  readonly src: Uint8Array;
  readonly port: number;
  readonly protocol: number;
}

export const bib6KeyCodec = {
  size: 20,
  read(view: DataView, offset: number): Bib6Key {
    return {
      src: bytes(view, offset, 16),
      port: view.getUint16(offset + 16, false),
      protocol: view.getUint8(offset + 18),
    };
  },
  write(view: DataView, offset: number, value: Bib6Key): void {
    clear(view, offset, 20);
    setBytes(view, offset, value.src, 16);
    view.setUint16(offset + 16, value.port, false);
    view.setUint8(offset + 18, value.protocol);
  },
};

export interface Bib6 {
  readonly createdNs: bigint;
  readonly pool: number;
  readonly port: number;
  readonly isStatic: number;
  readonly refs: number;
  readonly block: number;
}

export const bib6Codec = {
  size: 24,
  read(view: DataView, offset: number): Bib6 {
    return {
      createdNs: view.getBigUint64(offset, true),
      pool: view.getUint32(offset + 8, false),
      port: view.getUint16(offset + 12, false),
      isStatic: view.getUint8(offset + 14),
      refs: view.getUint32(offset + 16, true),
      block: view.getUint32(offset + 20, true),
    };
  },
  write(view: DataView, offset: number, value: Bib6): void {
    clear(view, offset, 24);
    view.setBigUint64(offset, value.createdNs, true);
    view.setUint32(offset + 8, value.pool, false);
    view.setUint16(offset + 12, value.port, false);
    view.setUint8(offset + 14, value.isStatic);
    view.setUint32(offset + 16, value.refs, true);
    view.setUint32(offset + 20, value.block, true);
  },
};

export interface Bib4Key {
  readonly pool: number;
  readonly port: number;
  readonly protocol: number;
}

export const bib4KeyCodec = {
  size: 8,
  read(view: DataView, offset: number): Bib4Key {
    return {
      pool: view.getUint32(offset, false),
      port: view.getUint16(offset + 4, false),
      protocol: view.getUint8(offset + 6),
    };
  },
  write(view: DataView, offset: number, value: Bib4Key): void {
    clear(view, offset, 8);
    view.setUint32(offset, value.pool, false);
    view.setUint16(offset + 4, value.port, false);
    view.setUint8(offset + 6, value.protocol);
  },
};

export interface Bib4 {
  readonly src: Uint8Array;
  readonly port: number;
  readonly isStatic: number;
}

export const bib4Codec = {
  size: 20,
  read(view: DataView, offset: number): Bib4 {
    return {
      src: bytes(view, offset, 16),
      port: view.getUint16(offset + 16, false),
      isStatic: view.getUint8(offset + 18),
    };
  },
  write(view: DataView, offset: number, value: Bib4): void {
    clear(view, offset, 20);
    setBytes(view, offset, value.src, 16);
    view.setUint16(offset + 16, value.port, false);
    view.setUint8(offset + 18, value.isStatic);
  },
};

export interface PeerKey {
  readonly pool: number;
  readonly remote: number;
  readonly port: number;
  readonly protocol: number;
}

export const peerKeyCodec = {
  size: 12,
  read(view: DataView, offset: number): PeerKey {
    return {
      pool: view.getUint32(offset, false),
      remote: view.getUint32(offset + 4, false),
      port: view.getUint16(offset + 8, false),
      protocol: view.getUint8(offset + 10),
    };
  },
  write(view: DataView, offset: number, value: PeerKey): void {
    clear(view, offset, 12);
    view.setUint32(offset, value.pool, false);
    view.setUint32(offset + 4, value.remote, false);
    view.setUint16(offset + 8, value.port, false);
    view.setUint8(offset + 10, value.protocol);
  },
};

export interface Peer {
  readonly refs: number;
}

export const peerCodec = {
  size: 4,
  read(view: DataView, offset: number): Peer {
    return {
      refs: view.getUint32(offset, true),
    };
  },
  write(view: DataView, offset: number, value: Peer): void {
    clear(view, offset, 4);
    view.setUint32(offset, value.refs, true);
  },
};

export interface Pod {
  readonly slot: number;
  readonly top: number;
  readonly hint: number;
  readonly sessions: number;
  readonly outside: number;
  readonly refusedNs: readonly bigint[];
  readonly refused: readonly number[];
  readonly refusedFor: readonly number[];
  readonly block: readonly number[];
}

export const podCodec = {
  size: 1096,
  read(view: DataView, offset: number): Pod {
    return {
      slot: view.getUint32(offset, true),
      top: view.getUint32(offset + 4, true),
      hint: view.getUint32(offset + 8, true),
      sessions: view.getUint32(offset + 12, true),
      outside: view.getUint32(offset + 16, true),
      refusedNs: repeat(3, (i) => view.getBigUint64(offset + 24 + 8 * i, true)),
      refused: repeat(3, (i) => view.getUint32(offset + 48 + 4 * i, true)),
      refusedFor: repeat(3, (i) => view.getUint32(offset + 60 + 4 * i, true)),
      block: repeat(256, (i) => view.getUint32(offset + 72 + 4 * i, true)),
    };
  },
  write(view: DataView, offset: number, value: Pod): void {
    clear(view, offset, 1096);
    view.setUint32(offset, value.slot, true);
    view.setUint32(offset + 4, value.top, true);
    view.setUint32(offset + 8, value.hint, true);
    view.setUint32(offset + 12, value.sessions, true);
    view.setUint32(offset + 16, value.outside, true);
    value.refusedNs.forEach((element, i) => view.setBigUint64(offset + 24 + 8 * i, element, true));
    value.refused.forEach((element, i) => view.setUint32(offset + 48 + 4 * i, element, true));
    value.refusedFor.forEach((element, i) => view.setUint32(offset + 60 + 4 * i, element, true));
    value.block.forEach((element, i) => view.setUint32(offset + 72 + 4 * i, element, true));
  },
};

export interface Block {
  readonly leasedNs: bigint;
  readonly emptiedNs: bigint;
  readonly holder: Uint8Array;
  readonly pool: number;
  readonly slot: number;
  readonly firstPort: number;
  readonly size: number;
  readonly state: number;
  readonly used: number;
  readonly device: number;
  readonly bits: readonly (readonly bigint[])[];
}

export const blockCodec = {
  size: 440,
  read(view: DataView, offset: number): Block {
    return {
      leasedNs: view.getBigUint64(offset, true),
      emptiedNs: view.getBigUint64(offset + 8, true),
      holder: bytes(view, offset + 16, 16),
      pool: view.getUint32(offset + 32, false),
      slot: view.getUint32(offset + 36, true),
      firstPort: view.getUint16(offset + 40, true),
      size: view.getUint16(offset + 42, true),
      state: view.getUint32(offset + 44, true),
      used: view.getUint32(offset + 48, true),
      device: view.getUint32(offset + 52, true),
      bits: repeat(3, (i) => repeat(16, (i1) => view.getBigUint64(offset + 56 + 128 * i + 8 * i1, true))),
    };
  },
  write(view: DataView, offset: number, value: Block): void {
    clear(view, offset, 440);
    view.setBigUint64(offset, value.leasedNs, true);
    view.setBigUint64(offset + 8, value.emptiedNs, true);
    setBytes(view, offset + 16, value.holder, 16);
    view.setUint32(offset + 32, value.pool, false);
    view.setUint32(offset + 36, value.slot, true);
    view.setUint16(offset + 40, value.firstPort, true);
    view.setUint16(offset + 42, value.size, true);
    view.setUint32(offset + 44, value.state, true);
    view.setUint32(offset + 48, value.used, true);
    view.setUint32(offset + 52, value.device, true);
    value.bits.forEach((element, i) => element.forEach((element1, i1) => view.setBigUint64(offset + 56 + 128 * i + 8 * i1, element1, true)));
  },
};

export interface BlockRecord {
  readonly leasedNs: bigint;
  readonly holder: Uint8Array;
  readonly index: number;
}

export const blockRecordCodec = {
  size: 32,
  read(view: DataView, offset: number): BlockRecord {
    return {
      leasedNs: view.getBigUint64(offset, true),
      holder: bytes(view, offset + 8, 16),
      index: view.getUint32(offset + 24, true),
    };
  },
  write(view: DataView, offset: number, value: BlockRecord): void {
    clear(view, offset, 32);
    view.setBigUint64(offset, value.leasedNs, true);
    setBytes(view, offset + 8, value.holder, 16);
    view.setUint32(offset + 24, value.index, true);
  },
};

export interface Lpm4Key {
  readonly length: number;
  readonly address: number;
}

export const lpm4KeyCodec = {
  size: 8,
  read(view: DataView, offset: number): Lpm4Key {
    return {
      length: view.getUint32(offset, true),
      address: view.getUint32(offset + 4, false),
    };
  },
  write(view: DataView, offset: number, value: Lpm4Key): void {
    clear(view, offset, 8);
    view.setUint32(offset, value.length, true);
    view.setUint32(offset + 4, value.address, false);
  },
};

export interface Lpm6Key {
  readonly length: number;
  readonly address: Uint8Array;
}

export const lpm6KeyCodec = {
  size: 20,
  read(view: DataView, offset: number): Lpm6Key {
    return {
      length: view.getUint32(offset, true),
      address: bytes(view, offset + 4, 16),
    };
  },
  write(view: DataView, offset: number, value: Lpm6Key): void {
    clear(view, offset, 20);
    view.setUint32(offset, value.length, true);
    setBytes(view, offset + 4, value.address, 16);
  },
};

export interface PoolAddress {
  readonly slot: number;
  readonly shared: number;
  readonly draining: number;
}

export const poolAddressCodec = {
  size: 16,
  read(view: DataView, offset: number): PoolAddress {
    return {
      slot: view.getUint32(offset, true),
      shared: view.getUint32(offset + 4, true),
      draining: view.getUint32(offset + 8, true),
    };
  },
  write(view: DataView, offset: number, value: PoolAddress): void {
    clear(view, offset, 16);
    view.setUint32(offset, value.slot, true);
    view.setUint32(offset + 4, value.shared, true);
    view.setUint32(offset + 8, value.draining, true);
  },
};

export interface FragKey {
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
  readonly id: number;
  readonly protocol: number;
  readonly direction: number;
}

export const fragKeyCodec = {
  size: 40,
  read(view: DataView, offset: number): FragKey {
    return {
      src: bytes(view, offset, 16),
      dst: bytes(view, offset + 16, 16),
      id: view.getUint32(offset + 32, false),
      protocol: view.getUint8(offset + 36),
      direction: view.getUint8(offset + 37),
    };
  },
  write(view: DataView, offset: number, value: FragKey): void {
    clear(view, offset, 40);
    setBytes(view, offset, value.src, 16);
    setBytes(view, offset + 16, value.dst, 16);
    view.setUint32(offset + 32, value.id, false);
    view.setUint8(offset + 36, value.protocol);
    view.setUint8(offset + 37, value.direction);
  },
};

export interface Frag {
  readonly expiresNs: bigint;
  readonly key: FragKey;
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
}

export const fragCodec = {
  size: 80,
  read(view: DataView, offset: number): Frag {
    return {
      expiresNs: view.getBigUint64(offset, true),
      key: fragKeyCodec.read(view, offset + 8),
      src: bytes(view, offset + 48, 16),
      dst: bytes(view, offset + 64, 16),
    };
  },
  write(view: DataView, offset: number, value: Frag): void {
    clear(view, offset, 80);
    view.setBigUint64(offset, value.expiresNs, true);
    fragKeyCodec.write(view, offset + 8, value.key);
    setBytes(view, offset + 48, value.src, 16);
    setBytes(view, offset + 64, value.dst, 16);
  },
};

export interface Hold {
  readonly expiresNs: bigint;
  readonly payloadLength: number;
  readonly sum: number;
}

export const holdCodec = {
  size: 16,
  read(view: DataView, offset: number): Hold {
    return {
      expiresNs: view.getBigUint64(offset, true),
      payloadLength: view.getUint32(offset + 8, true),
      sum: view.getUint32(offset + 12, true),
    };
  },
  write(view: DataView, offset: number, value: Hold): void {
    clear(view, offset, 16);
    view.setBigUint64(offset, value.expiresNs, true);
    view.setUint32(offset + 8, value.payloadLength, true);
    view.setUint32(offset + 12, value.sum, true);
  },
};

export interface Counter {
  readonly packets: bigint;
  readonly bytes: bigint;
}

export const counterCodec = {
  size: 16,
  read(view: DataView, offset: number): Counter {
    return {
      packets: view.getBigUint64(offset, true),
      bytes: view.getBigUint64(offset + 8, true),
    };
  },
  write(view: DataView, offset: number, value: Counter): void {
    clear(view, offset, 16);
    view.setBigUint64(offset, value.packets, true);
    view.setBigUint64(offset + 8, value.bytes, true);
  },
};

export interface DropSample {
  readonly atNs: bigint;
  readonly src: Uint8Array;
  readonly dst: Uint8Array;
  readonly sport: number;
  readonly dport: number;
  readonly length: number;
  readonly family: number;
  readonly protocol: number;
}

export const dropSampleCodec = {
  size: 56,
  read(view: DataView, offset: number): DropSample {
    return {
      atNs: view.getBigUint64(offset, true),
      src: bytes(view, offset + 8, 16),
      dst: bytes(view, offset + 24, 16),
      sport: view.getUint16(offset + 40, false),
      dport: view.getUint16(offset + 42, false),
      length: view.getUint32(offset + 44, true),
      family: view.getUint8(offset + 48),
      protocol: view.getUint8(offset + 49),
    };
  },
  write(view: DataView, offset: number, value: DropSample): void {
    clear(view, offset, 56);
    view.setBigUint64(offset, value.atNs, true);
    setBytes(view, offset + 8, value.src, 16);
    setBytes(view, offset + 24, value.dst, 16);
    view.setUint16(offset + 40, value.sport, false);
    view.setUint16(offset + 42, value.dport, false);
    view.setUint32(offset + 44, value.length, true);
    view.setUint8(offset + 48, value.family);
    view.setUint8(offset + 49, value.protocol);
  },
};

export interface Event {
  readonly atNs: bigint;
  readonly type: number;
  readonly block: number;
  readonly holder: Uint8Array;
}

export const eventCodec = {
  size: 32,
  read(view: DataView, offset: number): Event {
    return {
      atNs: view.getBigUint64(offset, true),
      type: view.getUint32(offset + 8, true),
      block: view.getUint32(offset + 12, true),
      holder: bytes(view, offset + 16, 16),
    };
  },
  write(view: DataView, offset: number, value: Event): void {
    clear(view, offset, 32);
    view.setBigUint64(offset, value.atNs, true);
    view.setUint32(offset + 8, value.type, true);
    view.setUint32(offset + 12, value.block, true);
    setBytes(view, offset + 16, value.holder, 16);
  },
};

export interface Watching {
  readonly untilNs: bigint;
  readonly pod: Uint8Array;
  readonly podMask: Uint8Array;
  readonly dst: number;
  readonly dstMask: number;
  readonly kinds: number;
  readonly reason: number;
  readonly protocol: number;
}

export const watchingCodec = {
  size: 64,
  read(view: DataView, offset: number): Watching {
    return {
      untilNs: view.getBigUint64(offset, true),
      pod: bytes(view, offset + 8, 16),
      podMask: bytes(view, offset + 24, 16),
      dst: view.getUint32(offset + 40, false),
      dstMask: view.getUint32(offset + 44, false),
      kinds: view.getUint32(offset + 48, true),
      reason: view.getUint32(offset + 52, true),
      protocol: view.getUint32(offset + 56, true),
    };
  },
  write(view: DataView, offset: number, value: Watching): void {
    clear(view, offset, 64);
    view.setBigUint64(offset, value.untilNs, true);
    setBytes(view, offset + 8, value.pod, 16);
    setBytes(view, offset + 24, value.podMask, 16);
    view.setUint32(offset + 40, value.dst, false);
    view.setUint32(offset + 44, value.dstMask, false);
    view.setUint32(offset + 48, value.kinds, true);
    view.setUint32(offset + 52, value.reason, true);
    view.setUint32(offset + 56, value.protocol, true);
  },
};

export interface Watched {
  readonly atNs: bigint;
  readonly kind: number;
  readonly detail: number;
}

export const watchedCodec = {
  size: 16,
  read(view: DataView, offset: number): Watched {
    return {
      atNs: view.getBigUint64(offset, true),
      kind: view.getUint32(offset + 8, true),
      detail: view.getUint32(offset + 12, true),
    };
  },
  write(view: DataView, offset: number, value: Watched): void {
    clear(view, offset, 16);
    view.setBigUint64(offset, value.atNs, true);
    view.setUint32(offset + 8, value.kind, true);
    view.setUint32(offset + 12, value.detail, true);
  },
};

export interface WatchedDrop {
  readonly head: Watched;
  readonly packet: DropSample;
}

export const watchedDropCodec = {
  size: 72,
  read(view: DataView, offset: number): WatchedDrop {
    return {
      head: watchedCodec.read(view, offset),
      packet: dropSampleCodec.read(view, offset + 16),
    };
  },
  write(view: DataView, offset: number, value: WatchedDrop): void {
    clear(view, offset, 72);
    watchedCodec.write(view, offset, value.head);
    dropSampleCodec.write(view, offset + 16, value.packet);
  },
};

export interface WatchedSession {
  readonly head: Watched;
  readonly session: SessionRecord;
}

export const watchedSessionCodec = {
  size: 144,
  read(view: DataView, offset: number): WatchedSession {
    return {
      head: watchedCodec.read(view, offset),
      session: sessionRecordCodec.read(view, offset + 16),
    };
  },
  write(view: DataView, offset: number, value: WatchedSession): void {
    clear(view, offset, 144);
    watchedCodec.write(view, offset, value.head);
    sessionRecordCodec.write(view, offset + 16, value.session);
  },
};

export interface WatchedLease {
  readonly head: Watched;
  readonly holder: Uint8Array;
}

export const watchedLeaseCodec = {
  size: 32,
  read(view: DataView, offset: number): WatchedLease {
    return {
      head: watchedCodec.read(view, offset),
      holder: bytes(view, offset + 16, 16),
    };
  },
  write(view: DataView, offset: number, value: WatchedLease): void {
    clear(view, offset, 32);
    watchedCodec.write(view, offset, value.head);
    setBytes(view, offset + 16, value.holder, 16);
  },
};
