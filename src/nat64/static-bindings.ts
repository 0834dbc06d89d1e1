// SPDX-License-Identifier: Apache-2.0
// Static bindings (RFC 6146 §3.1: manually configured BIB entries): makes the data plane's agree with nat64.static.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import type { Protocol, StaticBinding } from '../model/binding.ts';
import type { Block, Datapath } from '../datapath/datapath.ts';

export interface RefusedBinding {
  readonly binding: StaticBinding;
  readonly reason: string;
}

export interface StaticBindingsResult {
  readonly added: readonly StaticBinding[];
  readonly removed: readonly StaticBinding[];
  /** What is in the way now; asking again later may succeed. */
  readonly refused: readonly RefusedBinding[];
}

/** "tcp 192.0.2.2:8080 → [2001:db8::5]:80" */
export function formatStaticBinding(binding: StaticBinding): string {
  const { protocol, pool, source } = binding;
  return `${protocol} ${formatIp4(pool.v4)}:${pool.port} → [${formatIp6(source.v6)}]:${source.port}`;
}

/** Ports of `block` that static bindings hold. */
export function staticPortsOf(
  block: Pick<Block, 'v4' | 'firstPort' | 'size'>,
  bindings: readonly StaticBinding[],
): Record<Protocol, number[]> {
  const of = (protocol: Protocol) =>
    bindings
      .filter((binding) => binding.protocol === protocol && binding.pool.v4 === block.v4)
      .map((binding) => binding.pool.port)
      .filter((port) => port >= block.firstPort && port < block.firstPort + block.size);
  return { tcp: of('tcp'), udp: of('udp'), icmp: of('icmp') };
}

/**
 * Removes what is no longer wanted, then adds what is missing. A port outside every range of its pool address is fine (it
 * then belongs to no block), an address outside the pool is not: nothing would bring its packets here.
 */
export function applyStaticBindings(
  datapath: Datapath,
  wanted: readonly StaticBinding[],
  poolAddresses: ReadonlySet<number>,
): StaticBindingsResult {
  const wantedKeys = new Set(wanted.map(bindingKey));
  const removed = datapath.staticBindings().filter((binding) => !wantedKeys.has(bindingKey(binding)));
  for (const binding of removed) datapath.deleteStaticBinding(binding);

  const present = new Set(datapath.staticBindings().map(bindingKey));
  const added: StaticBinding[] = [];
  const refused: RefusedBinding[] = [];
  for (const binding of wanted) {
    if (present.has(bindingKey(binding))) continue;
    const reason = inTheWay(binding, datapath, poolAddresses);
    if (reason !== undefined) {
      refused.push({ binding, reason });
      continue;
    }
    try {
      datapath.putStaticBinding(binding);
    } catch (error) {
      // A pod may have taken the port between the look and the write.
      refused.push({ binding, reason: error instanceof Error ? error.message : String(error) });
      continue;
    }
    added.push(binding);
  }
  return { added, removed, refused };
}

function inTheWay(
  binding: StaticBinding,
  datapath: Pick<Datapath, 'staticHolders'>,
  poolAddresses: ReadonlySet<number>,
): string | undefined {
  if (!poolAddresses.has(binding.pool.v4)) return `${formatIp4(binding.pool.v4)} is no address of nat64.pool`;
  // RFC 6146 §3.1: a transport address stands once on either side of a BIB.
  const { source, pool } = datapath.staticHolders(binding);
  if (source !== undefined) {
    return `the port is in use by [${formatIp6(source.v6)}]:${source.port} until its sessions end`;
  }
  if (pool !== undefined) {
    return `the pod's port is bound to ${formatIp4(pool.v4)}:${pool.port} until its sessions end`;
  }
  return undefined;
}

function side4(binding: StaticBinding): string {
  return `${binding.protocol} ${binding.pool.v4} ${binding.pool.port}`;
}

function side6(binding: StaticBinding): string {
  return `${binding.protocol} ${formatIp6(binding.source.v6)} ${binding.source.port}`;
}

function bindingKey(binding: StaticBinding): string {
  return `${side4(binding)} ${side6(binding)}`;
}
