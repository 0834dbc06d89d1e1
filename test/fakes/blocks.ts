// SPDX-License-Identifier: Apache-2.0
// Port blocks and their queues in memory, as bpf/port.h and block-store.ts keep them: for the data plane in memory.

import { formatIp6 } from '../../src/addr/ip.ts';
import type { Block, BlockRow, BlockState, ClosingTime } from '../../src/datapath/datapath.ts';
import { Gate64Error } from '../../src/errors.ts';
import { PROTOCOLS, type Protocol } from '../../src/model/binding.ts';

export interface FakeBlock extends Block {
  state: BlockState;
  holder: Uint8Array | undefined;
  since: number | undefined;
  wasLeased: boolean;
  emptySince: number;
  /** Dynamic ports in use, all protocols together. */
  users: number;
  /** Ports that are not to be had; those of static bindings are always among them. */
  readonly taken: Record<Protocol, Set<number>>;
}

export class FakeBlocks {
  readonly #room: number;
  readonly #now: () => number;
  readonly #blocks = new Map<number, FakeBlock>();
  readonly #queues = new Map<number, number[]>();
  readonly #held = new Map<string, Set<FakeBlock>>();

  constructor(room: number, now: () => number) {
    this.#room = room;
    this.#now = now;
  }

  write(block: Block, staticPorts: Readonly<Record<Protocol, readonly number[]>>): void {
    const { index, slot, v4, firstPort, size } = block;
    if (index >= this.#room) throw new Gate64Error('G64_DATAPATH_MAP', `there is no room for block ${index}`);
    for (const port of PROTOCOLS.flatMap((protocol) => staticPorts[protocol])) {
      if (port >= firstPort && port < firstPort + size) continue;
      throw new Gate64Error('G64_DATAPATH_MAP', `port ${port} lies outside block ${index}`);
    }
    const { tcp, udp, icmp } = staticPorts;
    const taken = { tcp: new Set(tcp), udp: new Set(udp), icmp: new Set(icmp) };
    const fresh = { state: 'resting', holder: undefined, since: undefined, wasLeased: false, users: 0 } as const;
    this.#blocks.set(index, { index, slot, v4, firstPort, size, ...fresh, emptySince: this.#now(), taken });
  }

  offer(index: number): void {
    const block = this.#blocks.get(index);
    if (block === undefined) throw new Gate64Error('G64_DATAPATH_MAP', `block ${index} was never written`);
    block.state = 'offered';
    this.#queue(block.slot).push(index);
  }

  queued(slot: number): Set<number> {
    return new Set(this.#queue(slot));
  }

  retire(indexes: Iterable<number>): Set<number> {
    const retired = new Set<number>();
    for (const index of indexes) {
      const block = this.#blocks.get(index);
      if (block === undefined || (block.state !== 'resting' && !this.dequeue(index))) continue;
      block.state = 'retired';
      retired.add(index);
    }
    return retired;
  }

  rows(): BlockRow[] {
    return [...this.#blocks.values()].map(rowOf).sort((a, b) => a.index - b.index);
  }

  /** Takes back what has been empty for long enough; `sessions`: of each pod that has any. */
  reclaim(idleMs: number, times: readonly ClosingTime[], sessions: ReadonlyMap<string, number>): BlockRow[] {
    const returned: BlockRow[] = [];
    for (const block of this.#blocks.values()) {
      if (block.state !== 'leased' || block.users > 0) continue;
      const pod = formatIp6(block.holder as Uint8Array);
      const held = this.#held.get(pod)?.size ?? 0;
      const hasSpare = held > 1 && (sessions.get(pod) ?? 0) < held;
      if (this.#now() - block.emptySince < shortest(idleMs, times, hasSpare)) continue;
      block.state = 'resting';
      returned.push(rowOf(block));
      this.#forget(block);
    }
    return returned;
  }

  heldBy(holder: Uint8Array): FakeBlock[] {
    return [...(this.#held.get(formatIp6(holder)) ?? [])];
  }

  /** Pods that have a block. */
  holders(): string[] {
    return [...this.#held.keys()];
  }

  /** The next of a slot's queue becomes the pod's. */
  lease(slot: number, holder: Uint8Array): FakeBlock | undefined {
    const index = this.#queue(slot).shift();
    const block = index === undefined ? undefined : this.#blocks.get(index);
    if (block === undefined) return undefined;
    block.state = 'leased';
    block.holder = holder;
    block.since = this.#now();
    block.wasLeased = true;
    block.emptySince = this.#now();
    const name = formatIp6(holder);
    this.#held.set(name, (this.#held.get(name) ?? new Set()).add(block));
    return block;
  }

  /** `wanted` itself, or any port when that is undefined. */
  takePort(block: FakeBlock, protocol: Protocol, wanted?: number): number | undefined {
    const end = block.firstPort + block.size;
    const from = wanted === undefined ? block.firstPort : Math.max(wanted, block.firstPort);
    for (let port = from; port < (wanted === undefined ? end : Math.min(wanted + 1, end)); port++) {
      if (block.taken[protocol].has(port)) continue;
      block.taken[protocol].add(port);
      block.users++;
      return port;
    }
    return undefined;
  }

  release(block: FakeBlock, protocol: Protocol, port: number): void {
    block.taken[protocol].delete(port);
    this.passOver(block);
  }

  /** The port that was taken is another's: it stays taken, the block does without this user. */
  passOver(block: FakeBlock): void {
    if (--block.users === 0) block.emptySince = this.#now();
  }

  /** False when it lay in no queue. */
  dequeue(index: number): boolean {
    for (const queue of this.#queues.values()) {
      const at = queue.indexOf(index);
      if (at < 0) continue;
      queue.splice(at, 1);
      return true;
    }
    return false;
  }

  #forget(block: FakeBlock): void {
    const name = formatIp6(block.holder ?? new Uint8Array(16));
    const held = this.#held.get(name);
    held?.delete(block);
    if (held?.size === 0) this.#held.delete(name);
    block.holder = undefined;
    block.since = undefined;
  }

  #queue(slot: number): number[] {
    let queue = this.#queues.get(slot);
    if (queue === undefined) this.#queues.set(slot, (queue = []));
    return queue;
  }
}

function rowOf({ index, slot, v4, firstPort, size, state, holder, since, wasLeased, taken }: FakeBlock): BlockRow {
  const used = { tcp: taken.tcp.size, udp: taken.udp.size, icmp: taken.icmp.size };
  return { index, slot, v4, firstPort, size, state, holder, since, wasLeased, used };
}

/**
 * Slots in the order they are asked for a block. Paired pooling (RFC 6888 REQ-2): a pod stays on the address it has while
 * that has blocks. Then, as one that has none, it may have any, from the one on that its own address points at.
 */
export function slotsFor(pod: Uint8Array, held: number | undefined, slots: number): number[] {
  const first = new DataView(pod.buffer, pod.byteOffset).getUint32(12) % slots;
  const any = Array.from({ length: slots }, (_, i) => (first + i) % slots);
  return held === undefined ? any : [held, ...any];
}

/** How long an empty block is kept: as long as everybody's closed sessions where that is less; ten seconds unless spare. */
function shortest(idleMs: number, times: readonly ClosingTime[], isSpare: boolean): number {
  const least = isSpare ? 0 : 10_000;
  return Math.min(idleMs, ...times.flatMap(({ pod, ms }) => (pod === undefined ? [Math.max(ms, least)] : [])));
}
