// SPDX-License-Identifier: Apache-2.0
// What the tests of plans and of changes share: configurations, and nodes as facts. A node that is not described is the
// fake host's: an uplink up0 with 203.0.113.2/24 and 2001:db8::2.

import { parseIp4, parseIp4Net, parseIp6 } from '../../../src/addr/ip.ts';
import { parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { Config, Nat64Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/parse.ts';
import type { HostRecord, Interface, InterfaceAddress4, NodeFacts } from '../../../src/model/facts.ts';
import { GUARD_METRIC, ROUTE_PROTOCOL } from '../../../src/plan/own-routes.ts';
import { FakeHost, fakeInterface, fakeRoute } from '../../fakes/host.ts';

export const WELL_KNOWN = '64:ff9b::/96';
export const NO_RECORD: HostRecord = {
  device: undefined,
  sysctls: {},
  proxies: [],
  withoutQdisc: [],
  wasRouter: false,
};

const DEFAULTS = parseConfig('', 'defaults');

export function settings(nat64: Partial<Nat64Config> = {}, prefixes: readonly string[] = [WELL_KNOWN]): Config {
  return { ...DEFAULTS, prefixes: prefixes.map(parsePrefix64), nat64: { ...DEFAULTS.nat64, ...nat64 } };
}

export function pool(addresses: 'uplink' | readonly string[], firstPort = 1024, lastPort = 65535): Nat64Config['pool'] {
  const nets = addresses === 'uplink' ? addresses : addresses.map(parseIp4Net);
  return [{ addresses: nets, firstPort, lastPort, portsGiven: true }];
}

export const SHARED = pool('uplink', 61001);

type State = Pick<
  FakeHost,
  | 'interfaces'
  | 'routes'
  | 'rules6'
  | 'sockets'
  | 'proxies'
  | 'masquerade'
  | 'droppingForwards'
  | 'snatRules'
  | 'record'
  | 'sysctls'
> & {
  readonly withQdisc: readonly string[] | undefined;
};

/** What a look at the node tells. */
export function facts(state: Partial<State> = {}): NodeFacts {
  const { routes, sysctls, ...rest } = { ...new FakeHost(), withQdisc: [], ...state };
  const { interfaces, rules6, sockets, proxies, withQdisc, masquerade, droppingForwards, snatRules, record } = rest;
  return {
    interfaces,
    routes4: routes.filter(({ family }) => family === 4),
    routes6: routes.filter(({ family }) => family === 6),
    rules4: [],
    rules6,
    sockets,
    proxies,
    withQdisc,
    masquerade,
    droppingForwards,
    snatRules,
    record,
    sysctl: (name) => sysctls.get(name),
  };
}

/** The fake host's sysctls, some of them otherwise; undefined: there is none of that name. */
export function sysctls(other: Readonly<Record<string, string | undefined>>): Map<string, string> {
  const all = { ...Object.fromEntries(new FakeHost().sysctls), ...other };
  return new Map(Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const])));
}

/** "203.0.113.2/24": an address with its network's length. */
export function address4(text: string): InterfaceAddress4 {
  const [address = '', length] = text.split('/');
  return { v4: parseIp4(address), length: Number(length), secondary: false };
}

export function address6(text: string, scope = 'global'): Interface['addresses6'][number] {
  return { v6: parseIp6(text), scope, usable: true };
}

export function uplink(more: Partial<Interface> = {}): Interface {
  return fakeInterface('up0', 2, {
    addresses4: [address4('203.0.113.2/24')],
    addresses6: [address6('2001:db8::2')],
    ...more,
  });
}

/** gate64's own device and its peer, as they must be. */
export function ownDevice(name = 'gate64', mtu = 9000, more: Partial<Interface> = {}): [Interface, Interface] {
  const peer = `${name}x`;
  const is = { kind: 'veth', mtu, arpOff: true, addrGenMode: 'none', ...more };
  return [fakeInterface(name, 10, { ...is, peer }), fakeInterface(peer, 11, { ...is, peer: name })];
}

/** The node's ends of `count` pods, with addresses that differ in the last octet. */
export function pods(count: number, mtu = 1450): Interface[] {
  return Array.from({ length: count }, (_, i) =>
    fakeInterface(`pod${i + 1}`, 20 + i, {
      kind: 'veth',
      mtu,
      addresses4: [address4(`198.51.100.${i + 1}/32`)],
      addresses6: [address6(`fe80::${(i + 1).toString(16)}`, 'link')],
    }),
  );
}

/** Routes of gate64's for a prefix: the guard and the device's. */
export function prefixRoutes(dst = WELL_KNOWN, device = 'gate64') {
  return [guardRoute(dst), fakeRoute(dst, device, { protocol: ROUTE_PROTOCOL })];
}

export function guardRoute(dst = WELL_KNOWN) {
  return fakeRoute(dst, 'lo', { type: 'unreachable', metric: GUARD_METRIC, protocol: ROUTE_PROTOCOL });
}
