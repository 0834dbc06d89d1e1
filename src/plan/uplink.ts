// SPDX-License-Identifier: Apache-2.0
// Which interface leads to the IPv4 internet, which ones lead outside at all (packets from there are refused: no open
// relay), and the node's own addresses.

import { nonGlobalIp4 } from '../addr/non-global.ts';
import { embedIp4, isWellKnownPrefix, type Prefix64 } from '../addr/rfc6052.ts';
import { parseIp4, parseIp4Net, type Ip4Net } from '../addr/ip.ts';
import type { Interface, Route } from '../model/facts.ts';
import { refuse } from './findings.ts';
import { shellWord } from './shell.ts';

const DEFAULT4 = '0.0.0.0/0';
const DEFAULT6 = '::/0';

export interface UplinkRequest {
  /** nat64.uplink: "auto" or a name. */
  readonly uplink: string;
  readonly egress: 'masquerade' | 'direct';
  readonly device: string;
}

/** The way out. Throws FindingError saying what to do. */
export function findUplink(
  interfaces: readonly Interface[],
  routes4: readonly Route[],
  request: UplinkRequest,
): Interface {
  const uplink =
    request.uplink === 'auto' ? automatic(interfaces, routes4, request.device) : named(interfaces, request);
  // direct mode redirects whole frames to a neighbour; a tunnel has no Ethernet header to write.
  if (request.egress === 'direct' && uplink.linkType !== 'ether') {
    throw refuse(
      'uplink-not-ethernet',
      `the uplink "${uplink.name}" is of type ${uplink.linkType}, and nat64.egress "direct" needs Ethernet`,
      'Set nat64.egress to masquerade, or nat64.uplink to an Ethernet interface.',
    );
  }
  return uplink;
}

function automatic(interfaces: readonly Interface[], routes4: readonly Route[], device: string): Interface {
  const best = defaultRoutes(routes4, DEFAULT4)
    .sort((a, b) => a.metric - b.metric)
    .flatMap((route) => route.devices)
    .flatMap((name) => interfaces.filter((candidate) => candidate.name === name && name !== device))[0];
  if (best !== undefined) return best;
  throw refuse(
    'uplink-missing',
    'this node has no IPv4 default route, so no interface leads to the IPv4 internet',
    'Add a default route, or name the interface that leads to IPv4 in nat64.uplink.',
  );
}

function named(interfaces: readonly Interface[], { uplink, device }: UplinkRequest): Interface {
  const found = interfaces.find(({ name }) => name === uplink);
  const usable = interfaces.filter(({ name, linkType }) => linkType !== 'loopback' && !name.startsWith(device));
  const hint = `Interfaces here: ${usable.map(({ name }) => name).join(', ') || 'none but loopback'}. "auto" takes the one of the IPv4 default route.`;
  if (found === undefined) {
    throw refuse('uplink-missing', `nat64.uplink names "${uplink}", but there is no such interface`, hint);
  }
  if (!found.isUp) {
    const command = `ip link set dev ${shellWord(found.name)} up`;
    const message = `nat64.uplink names "${uplink}", which is down`;
    throw refuse('uplink-missing', message, `${hint} To bring it up: ${command}`, { command });
  }
  return found;
}

function defaultRoutes(routes: readonly Route[], dst: string): Route[] {
  return routes.filter((route) => route.dst === dst && route.type === 'unicast' && route.table === 'main');
}

/** Interfaces with a default route of either family, the way out first. */
export function outsideInterfaces(
  interfaces: readonly Interface[],
  routes4: readonly Route[],
  routes6: readonly Route[],
  wayOut: Interface,
): Interface[] {
  const names = new Set(
    [...defaultRoutes(routes4, DEFAULT4), ...defaultRoutes(routes6, DEFAULT6)].flatMap((route) => route.devices),
  );
  return [wayOut, ...interfaces.filter(({ name, ifindex }) => names.has(name) && ifindex !== wayOut.ifindex)];
}

/**
 * Interfaces that answers may come by with a direct way out, whichever of them a packet left by: the Ethernet ones on
 * an IPv4 network, or with a route by a gateway; the uplink first. Those of single pods have neither.
 */
export function returnInterfaces(
  interfaces: readonly Interface[],
  routes4: readonly Route[],
  { uplink, own }: { readonly uplink: Interface; readonly own: readonly string[] },
): Interface[] {
  const led = new Set(
    routes4
      .filter(({ type, table, gateways }) => type === 'unicast' && table === 'main' && gateways.length > 0)
      .flatMap((route) => route.devices),
  );
  const others = interfaces.filter(
    ({ name, linkType, isUp, addresses4 }) =>
      isUp &&
      linkType === 'ether' &&
      (addresses4.some(({ length }) => length < 32) || led.has(name)) &&
      name !== uplink.name &&
      !own.includes(name),
  );
  return [uplink, ...others.toSorted((a, b) => a.ifindex - b.ifindex)];
}

/** The uplink's own address: the one its default route asks for, else its first. */
export function uplinkAddress(uplink: Interface, routes4: readonly Route[]): number | undefined {
  const source = defaultRoutes(routes4, DEFAULT4).find(
    (route) => route.devices.includes(uplink.name) && route.source !== undefined,
  )?.source;
  if (source !== undefined) return parseIp4(source);
  return (uplink.addresses4.find((address) => !address.secondary) ?? uplink.addresses4[0])?.v4;
}

/** Every IPv4 address of the node but loopback's, without duplicates. */
export function nodeAddresses4(interfaces: readonly Interface[]): number[] {
  const all = interfaces.flatMap((entry) => entry.addresses4.map((address) => address.v4));
  return [...new Set(all)].filter((v4) => v4 >>> 24 !== 127);
}

/**
 * What the node takes for its own beyond the addresses of its interfaces: whatever the kernel's table of local routes holds
 * (agents of cloud platforms put addresses there), and apart from that the addresses of broadcast.
 */
export function nodeNets4(routes4: readonly Route[]): { local: Ip4Net[]; broadcast: Ip4Net[] } {
  const netsOf = (isBroadcast: boolean) => {
    const own = routes4.filter((route) => isOwn(route) && (route.type === 'broadcast') === isBroadcast);
    return [...new Set(own.map(({ dst }) => dst))].map(parseIp4Net).filter(({ v4 }) => v4 >>> 24 !== 127);
  };
  return { local: netsOf(false), broadcast: netsOf(true) };
}

/** Tables of VRFs have the kernel's own of these too; a local route in another is for marked packets (TPROXY). */
function isOwn({ type, table, protocol }: Route): boolean {
  const isOfNode = type === 'local' || type === 'broadcast' || type === 'anycast';
  return isOfNode && (table === 'local' || protocol === 'kernel');
}

/** RFC 7600: the IPv4 address that stands for a translator which has none to show. */
const DUMMY = parseIp4('192.0.0.8');

/**
 * Source of the ICMPv6 errors that the data plane makes (RFC 4443 §2.2, RFC 6791): the node's IPv4 address under a prefix, as
 * RFC 7915 §4.2 lets a translator do. It is routed to gate64's device, by which the errors come in, so that a reverse-path
 * filter lets them pass. The well-known prefix shows no address that is not global (RFC 6052 §3.1): the dummy stands for it.
 */
export function errorSource6(prefix: Prefix64, v4: number | undefined): Uint8Array {
  const hidden = v4 === undefined || (isWellKnownPrefix(prefix) && nonGlobalIp4(v4) !== undefined);
  return embedIp4(prefix, hidden ? DUMMY : v4);
}
