// SPDX-License-Identifier: Apache-2.0
// The few sysctls that gate64 sets. Names are paths below net/, with "/" (an interface name may hold a dot).

import type { NodeFacts } from '../model/facts.ts';
import type { PoolRange } from '../model/pool.ts';
import type { DesiredSysctl } from './desired.ts';
import { formatPortList, parsePortList } from './ports.ts';

export const RESERVED_PORTS = 'ipv4/ip_local_reserved_ports';
export const LOCAL_PORT_RANGE = 'ipv4/ip_local_port_range';
/** Connection tracking that does not see all of a connection must not judge its sequence numbers. */
export const LIBERAL_TRACKING = 'netfilter/nf_conntrack_tcp_be_liberal';
export const ALL_FORWARDING6 = 'ipv6/conf/all/forwarding';
/** Written, it sets every interface's own; packets are forwarded by the one of the interface that they come in by. */
export const IP_FORWARD = 'ipv4/ip_forward';

function forwardingOf(name: string): string {
  return `ipv4/conf/${name}/forwarding`;
}

/** The interface whose forwarding of IPv4 the sysctl is; undefined for any other sysctl. */
export function forwardedInterface(sysctl: string): string | undefined {
  return /^ipv4\/conf\/(.+)\/forwarding$/.exec(sysctl)?.[1];
}

/**
 * Interfaces that forward IPv4 because gate64 switched it on, now or by an earlier configuration, and for nobody else's
 * sake. Whoever makes the node a router later (ip_forward) wants it for all of them, and has it. IPv6 is never switched on
 * but for the device itself, by which nothing is forwarded while the node forwards none.
 */
export function closedInterfaces(
  { record, sysctl }: Pick<NodeFacts, 'record' | 'sysctl'>,
  desired: readonly DesiredSysctl[],
): string[] {
  const isRouter = sysctl(IP_FORWARD) === '1';
  const names = new Set([...Object.keys(record.sysctls), ...desired.flatMap(({ name, owned }) => (owned ? [] : name))]);
  return [...names].flatMap((name) => {
    const device = forwardedInterface(name);
    const known = record.sysctls[name];
    const now = sysctl(name);
    if (device === undefined || now === undefined || (known?.before ?? now) !== '0') return [];
    // One that was off on a router was meant to be.
    const wasMeant = known === undefined || record.wasRouter;
    return !isRouter || wasMeant ? device : [];
  });
}

export function desiredSysctls(options: {
  readonly device: string;
  /** The uplink when packets that arrive there have to be forwarded or answered for by ARP. */
  readonly forwardingUplink: string | undefined;
  readonly pool: readonly PoolRange[];
  /** Value of ip_local_reserved_ports now. */
  readonly reserved: string;
  /** Whether the node sees only some of a connection's segments (nat64.accelerate). */
  readonly liberalTracking: boolean;
}): DesiredSysctl[] {
  const { device, forwardingUplink, pool, reserved, liberalTracking } = options;
  const desired = [
    // Routes to the prefix are refused on a device without IPv6.
    { name: `ipv6/conf/${device}/disable_ipv6`, value: '0', owned: true },
    { name: `ipv6/conf/${device}/forwarding`, value: '1', owned: true },
    { name: `ipv6/conf/${device}/accept_ra`, value: '0', owned: true },
    { name: `ipv4/conf/${device}/forwarding`, value: '1', owned: true },
    // The kernel takes the larger of this and conf/all. That is fine: a pool that is routed to the device passes rp_filter
    // 1 and 2, too; 0 is set for nodes whose conf/default is 1 and whose routing rules are not ours to know.
    { name: `ipv4/conf/${device}/rp_filter`, value: '0', owned: true },
  ];
  if (forwardingUplink !== undefined) {
    desired.push({ name: forwardingOf(forwardingUplink), value: '1', owned: false });
  }
  if (liberalTracking) desired.push({ name: LIBERAL_TRACKING, value: '1', owned: false });
  const shared = pool.filter((range) => range.shared);
  if (shared.length > 0) {
    const ports = parsePortList(reserved);
    for (const { firstPort, lastPort } of shared) for (let port = firstPort; port <= lastPort; port++) ports.add(port);
    desired.push({ name: RESERVED_PORTS, value: formatPortList(ports), owned: false });
  }
  return desired;
}
