// SPDX-License-Identifier: Apache-2.0
// Single values of the configuration file: text to parsed value, each refused with what was expected instead.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import {
  type Endpoint,
  formatEndpoint,
  formatIp4,
  formatIp4Net,
  ip4NetsOverlap,
  parseEndpoint,
  parseIp4,
  parseIp4Net,
  parseIp6,
  parseIp6Net,
  parseZonedEndpoint,
  type Ip4Net,
  type Ip6Net,
} from '../addr/ip.ts';
import { NEVER_IP4 } from '../addr/non-global.ts';

/** `message` is what was expected: it follows "VALUE is not". */
export class ValueError extends Error {
  override name = 'ValueError';
}

export const UPSTREAM_EXPECTED =
  'an address such as 192.0.2.53, 192.0.2.53:53, [2001:db8::53]:53 or tls://192.0.2.53#dns.example';
export const PORTS_EXPECTED = 'a port or a range of ports such as 1024-65535';
export const POOL_ADDRESS_EXPECTED = 'an IPv4 address, an IPv4 network such as 192.0.2.0/28, or "uplink"';

/** `tls`: DNS over TLS (RFC 7858); without `serverName` the certificate must name the address. */
export interface Upstream {
  readonly kind: 'plain' | 'tls';
  readonly endpoint: Endpoint;
  readonly serverName?: string;
}

/** A way to reach a resolver. Names are refused: nothing could resolve them before there is a resolver. */
export function parseUpstream(text: string): Upstream {
  const tls = /^tls:\/\/([^#]*)(?:#(.*))?$/.exec(text);
  if (tls === null) {
    if (text.includes('://')) throw new ValueError(`${UPSTREAM_EXPECTED}; of the schemes only tls:// is known`);
    return { kind: 'plain', endpoint: endpointOr(text, 53) };
  }
  const endpoint = endpointOr(tls[1] ?? '', 853);
  const serverName = tls[2];
  if (serverName === undefined) return { kind: 'tls', endpoint };
  if (!/^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]*)(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]*))*\.?$/.test(serverName)) {
    throw new ValueError(`${UPSTREAM_EXPECTED}; what follows # must be the server's host name`);
  }
  return { kind: 'tls', endpoint, serverName };
}

function endpointOr(text: string, defaultPort: number) {
  try {
    return parseZonedEndpoint(text, defaultPort);
  } catch (cause) {
    throw new ValueError(UPSTREAM_EXPECTED, { cause });
  }
}

/** `ADDRESS:PORT`, the port required. */
export function parseListen(text: string) {
  try {
    return parseEndpoint(text);
  } catch (cause) {
    const bare = text.replace(/^\[(.*)\]$/, '$1');
    if (isIPv4(bare) || isIPv6(bare)) {
      const example = formatEndpoint({ host: bare, port: 5364 });
      throw new ValueError(`an address with a port: the port is missing; ${example} would be one`, { cause });
    }
    throw new ValueError('an address with a port such as 127.0.0.1:5364 or [::1]:5364', { cause });
  }
}

export const NAME_SOURCE_EXPECTED = 'a host name or an address with a port, such as gate64-names:9164';

/** Where another gate64 serves HTTP. */
export function parseNameSource(text: string): { readonly host: string; readonly port: number } {
  const [, host = '', digits = ''] = /^([a-z0-9_](?:[a-z0-9_.-]{0,252}[a-z0-9_.])?):(\d{1,5})$/i.exec(text) ?? [];
  const port = Number(digits);
  if (host === '' || isIPv4(host)) {
    try {
      const { host: address, port: number } = parseEndpoint(text);
      return { host: address, port: number };
    } catch (cause) {
      throw new ValueError(NAME_SOURCE_EXPECTED, { cause });
    }
  }
  if (port < 1 || port > 65_535) throw new ValueError(NAME_SOURCE_EXPECTED);
  return { host, port };
}

export const CLIENTS_EXPECTED = '"local", or a network such as 192.0.2.0/24 or 2001:db8::/32';

/** A network, or "local". */
export function parseClients(text: string): 'local' | Ip4Net | Ip6Net {
  if (text === 'local') return 'local';
  if (!isIP(text.split('/', 1)[0] ?? '')) throw new ValueError(CLIENTS_EXPECTED);
  return text.includes(':') ? parseIp6Net(text) : parseIp4Net(text);
}

export interface PortRange {
  readonly firstPort: number;
  readonly lastPort: number;
}

/** "1024-65535" or "8080". */
export function parsePorts(value: string | number): PortRange {
  const match = /^(\d+)(?:\s*-\s*(\d+))?$/.exec(String(value));
  if (match === null) throw new ValueError(PORTS_EXPECTED);
  const firstPort = Number(match[1]);
  const lastPort = Number(match[2] ?? match[1]);
  if (firstPort < 1 || lastPort < 1) throw new ValueError(`${PORTS_EXPECTED}: the lowest port is 1`);
  if (firstPort > 65535 || lastPort > 65535) throw new ValueError(`${PORTS_EXPECTED}: the highest port is 65535`);
  if (firstPort > lastPort) {
    throw new ValueError(`${PORTS_EXPECTED}: it is reversed; ${lastPort}-${firstPort} would be one`);
  }
  return { firstPort, lastPort };
}

export function parsePoolAddress(text: string): 'uplink' | Ip4Net {
  if (text === 'uplink') return 'uplink';
  const address = text.split('/', 1)[0] ?? '';
  if (isIPv6(address)) throw new ValueError(`${POOL_ADDRESS_EXPECTED}: the pool is the IPv4 side, this is IPv6`);
  if (!isIPv4(address)) throw new ValueError(POOL_ADDRESS_EXPECTED);
  const net = parseIp4Net(text);
  const never = NEVER_IP4.find((entry) => ip4NetsOverlap(entry.net, net));
  if (never !== undefined) {
    throw new ValueError(
      `${POOL_ADDRESS_EXPECTED}: no packet can come from ${formatIp4Net(never.net)} (${never.name})`,
    );
  }
  return net;
}

/** "[2001:db8::5]:80", the IPv6 side of a static binding. */
export function parseTransport6(text: string): { v6: Uint8Array; port: number } {
  const expected = 'an IPv6 address with a port such as [2001:db8::5]:80';
  const endpoint = transport(text, expected);
  if (endpoint.family !== 6) throw new ValueError(expected);
  return { v6: parseIp6(endpoint.host), port: endpoint.port };
}

/** "192.0.2.2:8080", the IPv4 side of a static binding. */
export function parseTransport4(text: string): { v4: number; port: number } {
  const expected = 'an IPv4 address with a port such as 192.0.2.2:8080';
  const endpoint = transport(text, expected);
  if (endpoint.family !== 4) throw new ValueError(expected);
  const v4 = parseIp4(endpoint.host);
  const never = NEVER_IP4.find((entry) => ip4NetsOverlap(entry.net, { v4, length: 32 }));
  if (never !== undefined)
    throw new ValueError(`${expected}: no packet can come from ${formatIp4(v4)} (${never.name})`);
  return { v4, port: endpoint.port };
}

function transport(text: string, expected: string) {
  try {
    return parseEndpoint(text);
  } catch (cause) {
    throw new ValueError(expected, { cause });
  }
}

/** The kernel's IFNAMSIZ is 16 with the closing zero. */
export const MAX_INTERFACE_NAME = 15;

/** `maxLength` below 15 where a name derived from it must fit too. */
export function parseInterfaceName(text: string, maxLength: number, why = ''): string {
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@-]*$/.test(text)) {
    throw new ValueError('the name of a network interface: letters, digits, "-", "_" and "."');
  }
  if (text.length > maxLength) {
    throw new ValueError(
      `the name of a network interface: at most ${maxLength} characters${why}, it has ${text.length}`,
    );
  }
  return text;
}

/** A name in which * stands for any characters. */
export function parseInterfacePattern(text: string): string {
  if (!/^[A-Za-z0-9_*][A-Za-z0-9_.@*-]*$/.test(text) || text.length > MAX_INTERFACE_NAME) {
    throw new ValueError(
      `a name of a network interface in which * stands for any characters, at most ${MAX_INTERFACE_NAME} characters`,
    );
  }
  return text;
}
