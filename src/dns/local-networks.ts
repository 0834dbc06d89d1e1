// SPDX-License-Identifier: Apache-2.0
// The networks that are this host's: those of its interfaces, and those that it has a route to other than the default one,
// as to the pods of a CNI that routes. Read from /proc, which needs no command and no privilege.

import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';

/** A route to more is one to the internet's parts, or to a provider's. */
const WIDEST = { ipv4: 16, ipv6: 32 } as const;
/** RTF_REJECT of linux/route.h: a route that refuses. */
const REJECT = 0x0200;
const MAX_NETS = 4096;

/** As `ADDRESS/LENGTH`, each once. */
export function localNetworks(): string[] {
  const interfaces = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).flatMap(({ cidr }) => cidr ?? []));
  const routes = [...routes6(read('/proc/self/net/ipv6_route')), ...routes4(read('/proc/self/net/route'))];
  // A length of 0 is no network of this host, whoever says so.
  return [...new Set([...interfaces, ...routes])].filter((net) => !net.endsWith('/0')).slice(0, MAX_NETS);
}

/** The networks in /proc/net/ipv6_route: destination and length first, in hexadecimal; flags and device last. */
export function routes6(table: string): string[] {
  return lines(table).flatMap((fields) => {
    const [to = '', length = ''] = fields;
    const [flags = '', device = ''] = fields.slice(-2);
    if (device === 'lo' || (Number.parseInt(flags, 16) & REJECT) !== 0 || to.length !== 32) return [];
    const bits = Number.parseInt(length, 16);
    if (!(bits >= WIDEST.ipv6)) return [];
    return `${(to.match(/.{4}/g) as string[]).join(':')}/${bits}`;
  });
}

/** The networks in /proc/net/route: device, destination, gateway, flags, …, mask at 7, in hexadecimal of this host's order. */
export function routes4(table: string): string[] {
  return lines(table).flatMap(([device, to = '', , flags = '', , , , mask = '']) => {
    if (device === 'lo' || !/^[\dA-F]{8}$/.test(to) || (Number.parseInt(flags, 16) & REJECT) !== 0) return [];
    const bits = [...Number.parseInt(mask, 16).toString(2)].filter((bit) => bit === '1').length;
    if (bits < WIDEST.ipv4) return [];
    return `${[6, 4, 2, 0].map((at) => Number.parseInt(to.slice(at, at + 2), 16)).join('.')}/${bits}`;
  });
}

function lines(table: string): string[][] {
  return table.split('\n').map((line) => line.trim().split(/\s+/));
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    // A kernel without IPv6 has no such table.
    return '';
  }
}
