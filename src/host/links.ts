// SPDX-License-Identifier: Apache-2.0
// Interfaces of the node, as `ip` tells.

import { parseIp4, parseIp6 } from '../addr/ip.ts';
import type { Interface } from '../model/facts.ts';
import { ipRows, type Exec } from './exec.ts';

interface AddressJson {
  family: string;
  local?: string;
  prefixlen: number;
  scope: string;
  secondary?: boolean;
  tentative?: boolean;
  deprecated?: boolean;
  dadfailed?: boolean;
}

interface LinkJson {
  ifindex?: number;
  ifname?: string;
  link?: string;
  link_type: string;
  address?: string;
  mtu: number;
  flags: string[];
  master?: string;
  linkinfo?: { info_kind?: string };
  inet6_addr_gen_mode?: string;
  /** Since Linux 6.3 and iproute2 6.3. */
  gro_ipv4_max_size?: number;
}

export async function listInterfaces(exec: Exec): Promise<Interface[]> {
  // Only the first shows kinds and addrgenmode, only the second addresses.
  const [rows, addressRows] = await Promise.all([
    ipRows<LinkJson>(exec, ['-d', 'link', 'show']),
    ipRows<{ ifindex?: number; addr_info?: AddressJson[] }>(exec, ['address', 'show']),
  ]);
  const addresses = new Map(addressRows.map((row) => [row.ifindex, row.addr_info ?? []]));
  return rows.flatMap((row) => {
    // ip prints an empty object for an interface that went while it listed them.
    if (row.ifindex === undefined || row.ifname === undefined) return [];
    return [interfaceOf(row, row.ifindex, row.ifname, addresses.get(row.ifindex) ?? [])];
  });
}

function interfaceOf(row: LinkJson, ifindex: number, name: string, addresses: readonly AddressJson[]): Interface {
  return {
    ifindex,
    name,
    kind: row.linkinfo?.info_kind,
    linkType: row.link_type,
    mac: Uint8Array.from((row.address ?? '').split(':').map((octet) => Number.parseInt(octet, 16) || 0)),
    mtu: row.mtu,
    isUp: row.flags.includes('UP'),
    arpOff: row.flags.includes('NOARP'),
    addrGenMode: row.inet6_addr_gen_mode,
    peer: row.link,
    master: row.master,
    groIp4: row.gro_ipv4_max_size,
    addresses4: addresses.flatMap((a) =>
      a.family === 'inet' && a.local !== undefined
        ? [{ v4: parseIp4(a.local), length: a.prefixlen, secondary: a.secondary === true }]
        : [],
    ),
    addresses6: addresses.flatMap((a) =>
      a.family === 'inet6' && a.local !== undefined
        ? [{ v6: parseIp6(a.local), scope: a.scope, usable: !a.tentative && !a.deprecated && !a.dadfailed }]
        : [],
    ),
  };
}
