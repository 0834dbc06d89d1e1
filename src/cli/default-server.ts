// SPDX-License-Identifier: Apache-2.0
// Which resolver a command asks that was given none: gate64's own DNS64, or what this machine asks where that runs elsewhere.

import type { Endpoint } from '../addr/ip.ts';
import type { Config } from '../config/config.ts';
import { RESOLV_CONF, readResolvConf } from '../dns/resolv-conf.ts';
import { Gate64Error } from '../errors.ts';

/** In the DaemonSet's pod that is cluster DNS, which pods ask. Throws G64_USAGE or G64_DNS_UPSTREAM when there is none. */
export function defaultServer({ dns }: Pick<Config, 'dns'>, resolvConf: string = RESOLV_CONF): Endpoint {
  const known = dns.enabled ? dns.listen[0] : readResolvConf(resolvConf)[0]?.endpoint;
  if (known !== undefined) return known;
  const why = dns.enabled ? 'dns.listen is empty' : `dns.enabled is false, and ${resolvConf} names no resolver`;
  throw new Gate64Error('G64_USAGE', `${why}; name a resolver with --server`);
}
