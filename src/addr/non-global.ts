// SPDX-License-Identifier: Apache-2.0
// IPv4 ranges that NAT64 does not lead to. Sources: the IANA IPv4 Special-Purpose Address Registry (RFC 6890),
// RFC 6052 §3.1 (no non-global IPv4 under the well-known prefix), RFC 7915 §4.1 and §8 (illegal addresses).

import { ip4InNet, parseIp4Net, type Ip4Net } from './ip.ts';

export interface NamedIp4Net {
  readonly net: Ip4Net;
  readonly name: string;
}

const list = (rows: readonly (readonly [string, string])[]): readonly NamedIp4Net[] =>
  rows.map(([text, name]) => ({ net: parseIp4Net(text), name }));

/** Refused under every prefix: no packet may be sent there, or the node itself would answer. */
export const NEVER_IP4 = list([
  ['0.0.0.0/8', 'this network'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link-local, cloud metadata'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved, broadcast'],
]);

/** Refused under 64:ff9b::/96 alone: not globally reachable (RFC 6052 §3.1). */
export const NON_GLOBAL_IP4 = list([
  ['10.0.0.0/8', 'private use'],
  ['100.64.0.0/10', 'shared address space'],
  ['172.16.0.0/12', 'private use'],
  ['192.0.0.0/24', 'IETF protocol assignments'],
  ['192.0.2.0/24', 'documentation'],
  ['192.88.99.0/24', 'deprecated 6to4 relay anycast'],
  ['192.168.0.0/16', 'private use'],
  ['198.18.0.0/15', 'benchmarking'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
]);

export function neverIp4(v4: number): NamedIp4Net | undefined {
  return NEVER_IP4.find((entry) => ip4InNet(v4, entry.net));
}

/** True for an address that the well-known prefix must not carry (RFC 6052 §3.1). */
export function nonGlobalIp4(v4: number): NamedIp4Net | undefined {
  return neverIp4(v4) ?? NON_GLOBAL_IP4.find((entry) => ip4InNet(v4, entry.net));
}
