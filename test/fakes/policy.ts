// SPDX-License-Identifier: Apache-2.0
// Who may use the data plane in memory, and where to: what bpf/policy.h says of the lists, for one packet
// or one session; what they are.

import type { DestinationRule, DestinationVerdict } from '../../src/addr/destinations.ts';
import { ip4InNet, ip6InNet, type Ip6Net } from '../../src/addr/ip.ts';
import type { PoolAddress, ProgramConfig, SessionRow } from '../../src/datapath/datapath.ts';
import { Gate64Error } from '../../src/errors.ts';
import type { DropReason } from '../../src/model/drops.gen.ts';
import type { Prefix } from '../../src/model/layout.gen.ts';

interface Lists {
  readonly programs: ProgramConfig;
  readonly destinations: readonly DestinationRule[];
  readonly sources: readonly Ip6Net[];
  readonly poolAddresses: readonly PoolAddress[];
}

export function refusedSource({ programs, sources }: Lists, v6: Uint8Array): DropReason | undefined {
  const isAllowed = programs.restrictSources === 0 || sources.some((net) => ip6InNet(v6, net));
  return isAllowed ? undefined : 'source_not_allowed';
}

export function refusedDestination(
  { destinations, poolAddresses }: Lists,
  v4: number,
  prefix: Prefix | undefined,
): DropReason | undefined {
  const [rule] = destinations.filter(({ net }) => ip4InNet(v4, net)).toSorted((a, b) => b.net.length - a.net.length);
  const isPool = poolAddresses.some((address) => address.v4 === v4 && !(address.shared && address.draining));
  const reasons: Readonly<Record<DestinationVerdict, DropReason | undefined>> = {
    allow: undefined,
    never: 'dst_never',
    nonGlobal: prefix?.wellKnown === 1 ? 'dst_non_global' : undefined,
    node: isPool ? 'dst_pool' : 'dst_node',
    configured: 'dst_denied',
  };
  return reasons[rule?.verdict ?? 'allow'] ?? (isPool ? 'dst_pool' : undefined);
}

/** Addresses and until when, as DNS64 told them; they stay when the programs change. */
export function refusedAsUnknown(
  programs: ProgramConfig,
  until: number | undefined,
  now: number,
  isStatic: boolean | undefined,
): DropReason | undefined {
  if (programs.admitListed === 0 || isStatic === true) return undefined;
  return until !== undefined && until > now ? undefined : 'not_admitted';
}

export function refuseMoreThan(room: number, entries: readonly unknown[]): void {
  if (entries.length > room) throw new Gate64Error('G64_DATAPATH_MAP', `${entries.length} entries, room for ${room}`);
}

export function addressesThat(addresses: readonly PoolAddress[], are: 'shared' | 'draining'): number[] {
  return addresses.flatMap((address) => (address[are] ? [address.v4] : [])).sort((a, b) => a - b);
}

/** Whether a sweep ends the session. A static binding is reached from outside without being on the list of sources. */
export function isDenied(
  lists: Lists,
  { source, destination }: SessionRow,
  { prefix, isStatic }: { readonly prefix: Prefix | undefined; readonly isStatic: boolean },
): boolean {
  if (lists.programs.endDeniedSessions === 0) return false;
  if (refusedDestination(lists, destination.v4, prefix) !== undefined) return true;
  return !isStatic && refusedSource(lists, source.v6) !== undefined;
}
