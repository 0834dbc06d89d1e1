// SPDX-License-Identifier: Apache-2.0
// The configuration as the rest of gate64 sees it: every default filled in, every address parsed. Seconds where a number
// is a time; IPv4 as u32, IPv6 as 16 bytes.

import type { Endpoint, Ip4Net, Ip6Net } from '../addr/ip.ts';
import type { Prefix64 } from '../addr/rfc6052.ts';

export interface Config {
  /** At least one; names are synthesized with each, in this order. */
  readonly prefixes: readonly Prefix64[];
  readonly dns: DnsConfig;
  readonly nat64: Nat64Config;
  readonly http: { readonly listen: Endpoint };
  readonly log: LogConfig;
}

export interface DnsConfig {
  readonly enabled: boolean;
  /** UDP and TCP each. */
  readonly listen: readonly Endpoint[];
  /** Empty: the nameservers of /etc/resolv.conf. */
  readonly upstreams: readonly Upstream[];
  readonly translateAll: boolean;
  readonly excludeAaaa: readonly Ip6Net[];
  readonly cache: { readonly maxEntries: number };
}

/** `tls`: DNS over TLS (RFC 7858); without `serverName` the certificate must name the address. */
export interface Upstream {
  readonly kind: 'plain' | 'tls';
  readonly endpoint: Endpoint;
  readonly serverName?: string;
}

export interface Nat64Config {
  readonly enabled: boolean;
  readonly device: string;
  readonly egress: 'masquerade' | 'direct';
  /** "auto" or the name of an interface. */
  readonly uplink: string;
  readonly pool: readonly PoolEntry[];
  readonly blockSize: number;
  readonly maxSessions: number;
  readonly maxBlocksPerPod: number;
  readonly maxSessionsPerPod: number;
  readonly lowestIpv6Mtu: number;
  readonly filtering: 'addressDependent' | 'endpointIndependent';
  readonly allowNonGlobalIpv4: readonly Ip4Net[];
  readonly deny: readonly Ip4Net[];
  readonly allowSources: readonly Ip6Net[];
  readonly static: readonly StaticBindingConfig[];
  readonly timeouts: TimeoutsConfig;
}

/** One range of ports on some addresses; an entry of the file with several ranges becomes several of these. */
export interface PoolEntry {
  /** "uplink": the uplink's own address, known when the node is looked at. A network stands for all its addresses. */
  readonly addresses: 'uplink' | readonly Ip4Net[];
  readonly firstPort: number;
  readonly lastPort: number;
  /** False when the range is the default: an address that turns out to be the node's own may then get a smaller one. */
  readonly portsGiven: boolean;
}

/** A fixed binding (RFC 6146 §3.1); for ICMP the ports are identifiers. */
export interface StaticBindingConfig {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly source: { readonly v6: Uint8Array; readonly port: number };
  readonly pool: { readonly v4: number; readonly port: number };
}

/** All in seconds. */
export interface TimeoutsConfig {
  readonly udp: number;
  readonly tcpEstablished: number;
  readonly tcpTransitory: number;
  readonly tcpClosing: number;
  readonly tcpIncomingSyn: number;
  readonly icmp: number;
  readonly fragment: number;
}

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export const LOG_FORMATS = ['auto', 'json', 'text'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

export interface LogConfig {
  readonly level: LogLevel;
  readonly format: LogFormat;
}
