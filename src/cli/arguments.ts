// SPDX-License-Identifier: Apache-2.0
// Parsers of options and arguments; what is wrong is a usage error (exit 2).

import { InvalidArgumentError } from 'commander';
import { parseEndpoint, parseIp4Net, parseIp6Net, type Endpoint, type Ip4Net, type Ip6Net } from '../addr/ip.ts';
import { parsePrefix64, type Prefix64 } from '../addr/rfc6052.ts';

function usage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

export function ip6NetArgument(text: string): Ip6Net {
  return usage(() => parseIp6Net(text));
}

export function ip4NetArgument(text: string): Ip4Net {
  return usage(() => parseIp4Net(text));
}

/** An IPv4 network, or an IPv6 one when there is a colon. */
export function netArgument(text: string): { family: 4; net: Ip4Net } | { family: 6; net: Ip6Net } {
  return usage(() =>
    text.includes(':') ? { family: 6, net: parseIp6Net(text) } : { family: 4, net: parseIp4Net(text) },
  );
}

export function prefixArgument(text: string): Prefix64 {
  return usage(() => parsePrefix64(text));
}

export function endpointArgument(text: string): Endpoint {
  return usage(() => parseEndpoint(text, 53));
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** "90s", "30m", "12h", "7d" → seconds. */
export function durationArgument(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  const unitSeconds = UNIT_SECONDS[unit];
  if (unitSeconds === undefined) throw new InvalidArgumentError(`"${text}" is no duration such as 90s, 30m, 12h or 7d`);
  return Number(count) * unitSeconds;
}

export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError(`"${text}" is not a whole number from 1`);
  }
  return value;
}
