// SPDX-License-Identifier: Apache-2.0
// The configuration as the rest of gate64 sees it: every default filled in, every address parsed. What the schema makes of
// a file is the configuration, so that no key has to be written down twice. Seconds where a number is a time; IPv4 as u32,
// IPv6 as 16 bytes.

import type { z } from 'zod';
import type { configSchema } from './schema.ts';

type Immutable<T> = T extends Uint8Array
  ? T
  : T extends readonly (infer E)[]
    ? readonly Immutable<E>[]
    : T extends object
      ? { readonly [K in keyof T]: Immutable<T[K]> }
      : T;

/** `prefixes`: at least one; names are synthesized with each, in this order. `dns.upstreams` empty: those of /etc/resolv.conf. */
export type Config = Immutable<z.output<typeof configSchema>>;
export type Nat64Config = Config['nat64'];
/** All in seconds. */
export type Timeouts = Nat64Config['timeouts'];

/** `tls`: DNS over TLS (RFC 7858); without `serverName` the certificate must name the address. */
export type { Upstream } from './values.ts';
