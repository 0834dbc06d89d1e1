// SPDX-License-Identifier: Apache-2.0
// A DatapathReader in memory: the rows a test gives it.

import { parseIp4, parseIp6 } from '../../src/addr/ip.ts';
import type { Protocol } from '../../src/model/binding.ts';
import { configCodec } from '../../src/model/layout.gen.ts';
import type {
  AcceleratedCounterRow,
  AttachmentRow,
  BindingRow,
  BlockRow,
  DatapathReader,
  DropRow,
  LiveCounts,
  MapFillRow,
  PacketCounterRow,
  ProgramConfig,
  SessionRow,
} from '../../src/datapath/datapath.ts';
import { isWanted, type SessionsWanted } from '../../src/datapath/wanted.ts';

export interface ReaderRows {
  readonly sessions?: readonly SessionRow[];
  readonly bindings?: readonly BindingRow[];
  readonly blocks?: readonly BlockRow[];
  readonly drops?: readonly DropRow[];
  readonly packetCounters?: readonly PacketCounterRow[];
  readonly mapFill?: readonly MapFillRow[];
  readonly settings?: Partial<ProgramConfig>;
  readonly attachments?: readonly AttachmentRow[];
  /** Addresses that left the pool. */
  readonly draining?: readonly number[];
}

export class MemoryReader implements DatapathReader {
  rows: ReaderRows;
  disposed = false;

  constructor(rows: ReaderRows = {}) {
    this.rows = rows;
  }

  sessions(wanted: SessionsWanted = {}): SessionRow[] {
    return (this.rows.sessions ?? []).filter(({ source, destination, protocol }) =>
      isWanted(wanted, source.v6, destination.v4, protocol),
    );
  }

  bindings(): BindingRow[] {
    return [...(this.rows.bindings ?? [])];
  }

  blocks(): BlockRow[] {
    return [...(this.rows.blocks ?? [])];
  }

  drops(): DropRow[] {
    return [...(this.rows.drops ?? [])].sort((a, b) => b.count - a.count);
  }

  packetCounters(): PacketCounterRow[] {
    return [...(this.rows.packetCounters ?? [])];
  }

  counts(): LiveCounts {
    return { sessions: countByProtocol(this.sessions()), bindings: countByProtocol(this.bindings()) };
  }

  mapFill(): MapFillRow[] {
    return [...(this.rows.mapFill ?? [])];
  }

  sharedAddresses(): number[] {
    return [];
  }

  drainingAddresses(): number[] {
    return [...(this.rows.draining ?? [])];
  }

  settings(): ProgramConfig {
    const zero = configCodec.read(new DataView(new ArrayBuffer(configCodec.size)), 0);
    return { ...zero, slots: 1, maxBlocksPerPod: 64, maxSessionsPerPod: 65536, ...this.rows.settings };
  }

  acceleratedCounters(): AcceleratedCounterRow[] {
    return [];
  }

  attachments(): AttachmentRow[] {
    return [...(this.rows.attachments ?? [])];
  }

  [Symbol.dispose](): void {
    this.disposed = true;
  }
}

function countByProtocol(rows: readonly { readonly protocol: Protocol }[]): Record<Protocol, number> {
  const counts = { tcp: 0, udp: 0, icmp: 0 };
  for (const { protocol } of rows) counts[protocol]++;
  return counts;
}

export function bindingRow(nowMs: number, changes: Partial<BindingRow> = {}): BindingRow {
  return {
    protocol: 'tcp',
    source: { v6: parseIp6('2001:db8::5'), port: 40_000 },
    pool: { v4: parseIp4('192.0.2.1'), port: 61_001 },
    sessions: 1,
    isStatic: false,
    createdAt: nowMs - 60_000,
    ...changes,
  };
}

/** A session of documentation addresses, with what the test cares about put over it. */
export function sessionRow(nowMs: number, changes: Partial<SessionRow> = {}): SessionRow {
  return {
    protocol: 'tcp',
    state: 'established',
    source: { v6: parseIp6('2001:db8::5'), port: 40_000 },
    destination6: parseIp6('2001:db8:64::203.0.113.7'),
    pool: { v4: parseIp4('192.0.2.1'), port: 61_001 },
    destination: { v4: parseIp4('203.0.113.7'), port: 443 },
    createdAt: nowMs - 60_000,
    lastSeenAt: nowMs - 5000,
    expiresAt: nowMs + 7_195_000,
    packetsOut: 10,
    bytesOut: 1536,
    packetsIn: 20,
    bytesIn: 3_145_728,
    ...changes,
  };
}

export function blockRow(changes: Partial<BlockRow> = {}): BlockRow {
  return {
    index: 0,
    slot: 0,
    v4: parseIp4('192.0.2.1'),
    firstPort: 1024,
    size: 256,
    state: 'offered',
    holder: undefined,
    since: undefined,
    wasLeased: false,
    used: { tcp: 0, udp: 0, icmp: 0 },
    ...changes,
  };
}
