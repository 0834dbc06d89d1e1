// SPDX-License-Identifier: Apache-2.0
// What is known of the node and of the data plane on it when a plan is made. src/host/ finds out the one, src/datapath/
// the other; src/plan/ decides by nothing else.

import type { Ip4Net } from '../addr/ip.ts';
import type { Prefix } from './layout.gen.ts';

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
  /** To how many octets the kernel joins IPv4 packets that come in; undefined where it, or `ip`, does not tell. */
  readonly groIp4: number | undefined;
  readonly addresses4: readonly InterfaceAddress4[];
  readonly addresses6: readonly InterfaceAddress6[];
}

export interface Route {
  readonly family: 4 | 6;
  /** Text with a length, "0.0.0.0/0" and "::/0" for the default route. */
  readonly dst: string;
  readonly type: string;
  readonly table: string;
  readonly devices: readonly string[];
  readonly gateways: readonly string[];
  readonly source: string | undefined;
  readonly protocol: string | undefined;
  readonly metric: number;
}

/** A rule of routing: which table decides about which packets. */
export interface Rule {
  readonly priority: number;
  /** "all" or an address, with its length unless that is the whole. */
  readonly src: string;
  /** A network as text with a length; undefined: any. */
  readonly dst: string | undefined;
  readonly iif: string | undefined;
  /** Undefined for one that looks up none. */
  readonly table: string | undefined;
  /** "blackhole", "goto", …; undefined for one that looks up a table. */
  readonly action: string | undefined;
  /** It is about what its selectors do not match. */
  readonly isInverted: boolean;
  /** About packets with a mark. */
  readonly isMarked: boolean;
  /** About packets of the node's own sockets, or of a VRF. */
  readonly isLocal: boolean;
  /** About some protocols, ports or classes of service. */
  readonly isNarrow: boolean;
  /** Routes of this length or shorter do not decide. */
  readonly suppressedLength: number | undefined;
}

/** A bound socket of the node. */
export interface Socket {
  readonly protocol: string;
  /** Undefined: every IPv4 address. */
  readonly v4: number | undefined;
  readonly port: number;
  /** False for a connection with a peer. */
  readonly listens: boolean;
  /** Name of the program, when it could be seen. */
  readonly program: string | undefined;
}

/** An address that an interface answers for by ARP. */
export interface ProxyNeighbour {
  readonly v4: number;
  readonly device: string;
}

/** How long the node's connection tracking keeps masqueraded flows, in seconds. */
export interface TrackingTimes {
  readonly udp: number;
  readonly tcpEstablished: number;
  readonly tcpTransitory: number;
}

/** With which address masqueraded packets to a network leave by an interface. */
export interface LeavingSource {
  readonly device: string;
  readonly dst: Ip4Net;
  /** Undefined: the one that nftables' masquerade takes. */
  readonly source: number | undefined;
}

/** gate64's own nftables table, as far as it decides anything. */
export interface MasqueradeTable {
  /** Networks that leave with the uplink's address, in the order of the rules; undefined: the table is not as it was made. */
  readonly nets: readonly Ip4Net[] | undefined;
  /** By any device but this one. */
  readonly device: string | undefined;
  /** Whether packets that come in by the device are kept from the node itself. */
  readonly guardsNode: boolean;
  /** Networks of the node's own that are not kept from them. */
  readonly opened: readonly Ip4Net[];
  /** Interfaces from which packets are forwarded to the device alone. */
  readonly closed: readonly string[];
  /** In order; whatever none is about is masqueraded. */
  readonly leaving: readonly LeavingSource[];
  /** Addresses that packets left with and that the node has lost since: flows that still have them are dropped. */
  readonly lost: readonly number[];
  /** What it was made for; undefined: none. */
  readonly times: TrackingTimes | undefined;
  /** False where the kernel would not take them. */
  readonly hasTimes: boolean;
}

/** A chain of nftables that drops forwarded packets unless a rule accepts them. */
export interface ForwardChain {
  readonly family: 'ip' | 'ip6' | 'inet';
  readonly table: string;
  readonly name: string;
  /** By name, what its table's rules accept that comes in or goes out by a device; "gate*" is a wildcard. */
  readonly accepted: readonly { readonly direction: 'in' | 'out'; readonly device: string }[];
}

/** A rule of others that gives packets that leave another source. */
export interface SnatRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  /** The one interface that it is about; undefined: several, or any. */
  readonly device: string | undefined;
  /** The one address that it gives; undefined: the interface's, or one of several. */
  readonly to: number | undefined;
  /** First and last of the ports that it picks from; undefined: any, or they are not shown. */
  readonly ports: readonly [number, number] | undefined;
  readonly isRandom: boolean;
}

/** What gate64 changed on the node beyond what its device, routes and table show: kept until uninstall puts it back. */
export interface HostRecord {
  readonly device: string | undefined;
  readonly sysctls: Readonly<Record<string, { readonly before: string; readonly written: string }>>;
  readonly proxies: readonly ProxyNeighbour[];
  /** Devices that had no clsact qdisc before. */
  readonly withoutQdisc: readonly string[];
  /** Whether the node forwarded IPv4 (ip_forward) when gate64 switched it on for an interface. */
  readonly wasRouter: boolean;
}

export interface NodeFacts {
  readonly interfaces: readonly Interface[];
  readonly routes4: readonly Route[];
  readonly routes6: readonly Route[];
  /** Empty where nobody looked. */
  readonly rules4: readonly Rule[];
  readonly rules6: readonly Rule[];
  /** Empty where no pool address is the node's own, or nobody looked. */
  readonly sockets: readonly Socket[];
  /** Of devices that gate64 may have made entries for; empty where there can be none. */
  readonly proxies: readonly ProxyNeighbour[];
  /** Names of devices with a clsact qdisc; undefined: nobody looked. */
  readonly withQdisc: readonly string[] | undefined;
  /** Undefined: there is no table of gate64's. */
  readonly masquerade: MasqueradeTable | undefined;
  /** Empty where nobody looked. */
  readonly droppingForwards: readonly ForwardChain[];
  /** Empty where nobody looked. */
  readonly snatRules: readonly SnatRule[];
  readonly record: HostRecord;
  /** A sysctl below net/ as it is now; undefined where there is none of that name. */
  sysctl(name: string): string | undefined;
}

export interface DatapathFacts {
  /** Addresses of which pods hold ports, of the pool or not: packets for these have to find their way here. */
  readonly leased: readonly number[];
  /** Addresses, of the pool or drained from it, that the data plane took for the node's own as well when it was told last. */
  readonly shared: readonly number[];
  /** Where prefixes stand in the programs that run now; sessions name them by their place. */
  readonly places: readonly Prefix[];
}
