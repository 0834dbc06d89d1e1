// SPDX-License-Identifier: Apache-2.0
// BIG TCP towards pods. Up to Linux 6.18 an IPv6 packet of more than 65,535 octets takes a jumbo option (RFC 2675). The kernel
// takes it out again before a device that has such packets whole, since bpf_skb_change_proto() has marked the packet as one
// to be checked, and the pod then finds no length. bpf/xlat46.h drops them, counted as `malformed`.

import type { Interface } from '../model/facts.ts';
import type { Finding } from './findings.ts';
import { shellWord } from './shell.ts';

/** GRO_LEGACY_MAX_SIZE of the kernel, and its default: what is joined stays below. */
const MOST = 65_536;

/** `incoming` are those that answers may come by. Packets are joined by what lies below a bond, a bridge or a VLAN. */
export function longPackets(interfaces: readonly Interface[], incoming: readonly Interface[]): Finding[] {
  const names = new Set(incoming.map(({ name }) => name));
  const below = new Set(incoming.flatMap(({ kind, peer }) => (kind === 'veth' ? [] : [peer])));
  return interfaces
    .filter(({ name, master }) => names.has(name) || below.has(name) || (master !== undefined && names.has(master)))
    .flatMap(({ name, groIp4 = 0 }) => (groIp4 > MOST ? [longPacketsOf(name, groIp4)] : []));
}

function longPacketsOf(name: string, groIp4: number): Finding {
  const command = `ip link set dev ${shellWord(name)} gro_ipv4_max_size ${MOST}`;
  return {
    name: 'uplink-packets-long',
    severity: 'warning',
    message: `IPv4 packets that come in by "${name}" are joined to up to ${groIp4} octets (BIG TCP); what is longer than 65,535 does not get to pods: large downloads crawl`,
    remedy: `Have them joined to less: ${command}.`,
    command,
  };
}
