// SPDX-License-Identifier: Apache-2.0
// Interfaces of the node, and the one that gate64 owns: a veth pair without addresses, ARP or generated link-local
// addresses, so that the prefix can be routed to it and no CNI takes it for an uplink.

import { parseIp4, parseIp6 } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import { ipRows, run, type Exec } from './exec.ts';

const DEFAULT_MTU = 9000;
const MAX_MTU = 65535;
/** IFNAMSIZ without its zero byte; the peer's name is one longer than the device's. */
const MAX_NAME = 15;

export interface InterfaceAddress4 {
  readonly v4: number;
  readonly length: number;
  readonly secondary: boolean;
}

export interface InterfaceAddress6 {
  readonly v6: Uint8Array;
  readonly scope: string;
  /** Neither tentative nor deprecated nor a duplicate. */
  readonly usable: boolean;
}

export interface Interface {
  readonly ifindex: number;
  readonly name: string;
  /** "veth", "bridge", …; undefined for a physical interface. */
  readonly kind: string | undefined;
  /** "ether", "none", "loopback", … */
  readonly linkType: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  readonly isUp: boolean;
  readonly arpOff: boolean;
  readonly addrGenMode: string | undefined;
  /** Name of a veth's other end, when that is in this namespace. */
  readonly peer: string | undefined;
  /** The bridge or bond it is part of. */
  readonly master: string | undefined;
  readonly addresses4: readonly InterfaceAddress4[];
  readonly addresses6: readonly InterfaceAddress6[];
}

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

export function peerName(device: string): string {
  return `${device}x`;
}

/** At least every pod's MTU: under eBPF host routing a larger packet vanishes without a Packet Too Big. */
export function deviceMtu(interfaces: readonly Interface[], device: string): number {
  const others = interfaces.filter(
    ({ name, linkType }) => linkType !== 'loopback' && name !== device && name !== peerName(device),
  );
  return Math.min(
    MAX_MTU,
    others.reduce((mtu, other) => Math.max(mtu, other.mtu), DEFAULT_MTU),
  );
}

/** Why the device's name cannot be used, if so. */
export function deviceConflict(interfaces: readonly Interface[], device: string): Gate64Error | undefined {
  const peer = peerName(device);
  const refuse = (message: string) =>
    new Gate64Error('G64_DEVICE_CONFLICT', message, {
      hint: 'Remove that interface, or set nat64.device to another name.',
    });
  if (peer.length > MAX_NAME) return refuse(`nat64.device "${device}" is longer than ${MAX_NAME - 1} characters`);
  for (const name of [device, peer]) {
    const found = interfaces.find((candidate) => candidate.name === name);
    if (found === undefined) continue;
    const what = `the interface "${name}" is there already and is not gate64's`;
    if (found.kind !== 'veth') return refuse(`${what}: its kind is ${found.kind ?? found.linkType}, not veth`);
    const other = name === device ? peer : device;
    if (found.peer !== other)
      return refuse(`${what}: its peer is ${found.peer ?? 'in another namespace'}, not "${other}"`);
    if (found.master !== undefined) return refuse(`${what}: it is part of "${found.master}"`);
    if (found.addresses4.length > 0 || found.addresses6.some((address) => address.scope !== 'link')) {
      return refuse(`${what}: it has an address`);
    }
  }
  return undefined;
}

/** One change to make: what it is in words, the commands, and what takes it back. */
export interface Change {
  readonly what: string;
  readonly make: () => Promise<void>;
  readonly undo: () => Promise<void>;
}

/** What is missing for the device to be there and right. Call deviceConflict() first. */
export function deviceChanges(exec: Exec, interfaces: readonly Interface[], device: string): Change[] {
  const peer = peerName(device);
  const mtu = deviceMtu(interfaces, device);
  const ip = (...args: string[]) => run(exec, 'ip', args);
  const existing = interfaces.find(({ name }) => name === device);
  if (existing === undefined) {
    return [
      {
        what: `device ${device}`,
        make: async () => {
          await ip('link', 'add', device, 'type', 'veth', 'peer', 'name', peer);
          try {
            for (const name of [device, peer])
              await ip('link', 'set', name, 'addrgenmode', 'none', 'arp', 'off', 'mtu', `${mtu}`);
            for (const name of [peer, device]) await ip('link', 'set', name, 'up');
          } catch (error) {
            await exec('ip', ['link', 'del', device]);
            throw error;
          }
        },
        undo: async () => void (await ip('link', 'del', device)),
      },
    ];
  }
  return [peer, device].flatMap((name): Change[] => {
    const found = interfaces.find((candidate) => candidate.name === name);
    if (found === undefined) return [];
    const wrong: [string, string[], string[]][] = [];
    // First, since the kernel has no IPv6 on a device below 1280 bytes, nor settings of it.
    if (found.mtu < mtu) wrong.push([`mtu ${mtu}`, ['mtu', `${mtu}`], ['mtu', `${found.mtu}`]]);
    if (found.addrGenMode !== 'none')
      wrong.push(['addrgenmode none', ['addrgenmode', 'none'], ['addrgenmode', found.addrGenMode ?? 'eui64']]);
    if (!found.arpOff) wrong.push(['arp off', ['arp', 'off'], ['arp', 'on']]);
    if (!found.isUp) wrong.push(['up', ['up'], ['down']]);
    const changes = wrong.map(([what, set, reset]): Change => ({
      what: `device ${name} ${what}`,
      make: async () => void (await ip('link', 'set', name, ...set)),
      undo: async () => void (await ip('link', 'set', name, ...reset)),
    }));
    if (found.addresses6.length > 0) {
      changes.push({
        what: `device ${name} without addresses`,
        make: async () => void (await ip('-6', 'address', 'flush', 'dev', name)),
        undo: async () => {
          // A generated link-local address is no loss.
        },
      });
    }
    return changes;
  });
}
