// SPDX-License-Identifier: Apache-2.0
// Closed connections give way. RFC 6146 §4 keeps what a closed TCP connection holds for four minutes, which takes
// 240 ports for each new connection a second. As ports or sessions run short, closed sessions live the shorter the less is
// left, so that they make room before anybody is refused: the oldest go first, open ones never.

import type { ClosingTime, Datapath, LiveCounts } from '../datapath/datapath.ts';
import type { Log } from './log.ts';

/** Up to here closed sessions live as configured. */
const EASE = 0.25;
/** From here on they live as short as they may. */
const WANT = 0.8;
/**
 * How steeply life shortens in between. A pod that opens 1000 connections a second then settles at some three fifths of its
 * ports, which leaves ten seconds for a service that is away; on a straight line it settled at nine tenths.
 */
const STEEPNESS = 3;
/** Segments that are on their way when a connection closes have arrived by then. */
const SHORTEST_MS = 2000;

/** How much of something is in use. */
export interface Fill {
  readonly used: number;
  readonly total: number;
}

/** How long closed sessions may live with this fill, in milliseconds; undefined: as long as is configured. */
export function closingMs({ used, total }: Fill, configuredMs: number): number | undefined {
  const fill = total > 0 ? used / total : 1;
  if (used === 0 || fill <= EASE) return undefined;
  const left = Math.max(0, (WANT - fill) / (WANT - EASE)) ** STEEPNESS;
  return Math.min(configuredMs, Math.max(SHORTEST_MS, Math.round(configuredMs * left)));
}

export interface PressureLimits {
  readonly tcpClosingMs: number;
  readonly maxSessions: number;
  readonly maxSessionsPerPod: number;
  readonly maxBlocksPerPod: number;
  /** The last blocks, which are for pods that hold none: whoever holds one gets none of these. */
  readonly reservedBlocks: number;
}

/** What the ledger knows of blocks. */
export interface BlockUse {
  /** Blocks of each pod that holds any, by its text. */
  readonly holders: ReadonlyMap<string, { readonly pod: Uint8Array; readonly blocks: readonly number[] }>;
  /** Ports of the pool that may be given out or are in use, a protocol. */
  readonly ports: number;
  /** Blocks that may be given out or are held. */
  readonly blocks: number;
  readonly blockSize: number;
}

export class Pressure {
  readonly #datapath: Datapath;
  readonly #log: Log;
  /** What the data plane was told last, as text; undefined: what it has an earlier process may have told it. */
  #told: string | undefined;
  #isPressed = false;

  constructor(datapath: Datapath, log: Log) {
    this.#datapath = datapath;
    this.#log = log;
  }

  /** To be called about once a second; cheap while nothing runs short. */
  tick(limits: PressureLimits, use: BlockUse): void {
    const counts = this.#datapath.counts();
    const times = [...everybody(limits, use, counts), ...this.#pods(limits, use, counts)];
    const text = times
      .map(({ pod, ms }) => `${pod === undefined ? '' : Buffer.from(pod).toString('hex')} ${ms}`)
      .join();
    if (text === this.#told) return;
    this.#datapath.setClosingTimes(times);
    this.#told = text;
    const isPressed = times.length > 0;
    if (isPressed === this.#isPressed) return;
    this.#isPressed = isPressed;
    if (isPressed) {
      const shortest = Math.min(...times.map(({ ms }) => ms));
      const fields = { pods: times.filter(({ pod }) => pod !== undefined).length, seconds: shortest / 1000 };
      this.#log.info(fields, 'ports or sessions run short; closed connections give way sooner');
    } else {
      this.#log.info({}, 'ports and sessions are plenty again; closed connections are kept as configured');
    }
  }

  #pods(limits: PressureLimits, use: BlockUse, { sessions: all }: LiveCounts): ClosingTime[] {
    const { tcpClosingMs, maxBlocksPerPod, maxSessionsPerPod } = limits;
    const times = new Map<string, ClosingTime>();
    const press = (name: string, pod: Uint8Array, fill: Fill) => {
      const ms = closingMs(fill, tcpClosingMs);
      if (ms !== undefined && ms < (times.get(name)?.ms ?? Infinity)) times.set(name, { pod, ms });
    };
    for (const [name, { pod, blocks }] of use.holders) {
      if (blocks.length <= maxBlocksPerPod * EASE) continue;
      const used = this.#datapath.blocksAt(blocks).reduce((sum, row) => sum + row.used.tcp, 0);
      press(name, pod, { used, total: maxBlocksPerPod * use.blockSize });
    }
    // Otherwise nobody can have so many.
    if (all.tcp > maxSessionsPerPod * EASE) {
      for (const { pod, sessions } of this.#datapath.pods()) {
        press(Buffer.from(pod).toString('hex'), pod, { used: sessions, total: maxSessionsPerPod });
      }
    }
    return [...times.values()];
  }
}

/** The least of what the pool and the table allow; nothing when both are eased. */
function everybody(
  { tcpClosingMs, maxSessions, reservedBlocks }: PressureLimits,
  use: BlockUse,
  { sessions, bindings }: LiveCounts,
): ClosingTime[] {
  // The last block of a pod is half empty on average, and nobody else's.
  const total = Math.max(use.ports / 10, use.ports - (use.holders.size * use.blockSize) / 2);
  // Pods that are gone hold blocks of which hardly a port is in use: those who come next find no block, not no port.
  const leased = [...use.holders.values()].reduce((sum, { blocks }) => sum + blocks.length, 0);
  const fills = [
    { used: bindings.tcp, total },
    { used: leased, total: use.blocks - reservedBlocks },
    { used: sessions.tcp + sessions.udp + sessions.icmp, total: maxSessions },
  ];
  const times = fills.flatMap((fill) => closingMs(fill, tcpClosingMs) ?? []);
  return times.length === 0 ? [] : [{ ms: Math.min(...times) }];
}
