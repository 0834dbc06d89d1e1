// SPDX-License-Identifier: Apache-2.0
// To whom the page is shown: it has names and pods, which metrics have not.

import { isIPv4, isIPv6 } from 'node:net';
import type { Config } from '../config/config.ts';

/** By `http.page`; "auto": only where nobody but this node reaches it. */
export function isPageServed({ page, listen }: Pick<Config['http'], 'page' | 'listen'>): boolean {
  return page === 'auto' ? isLoopback(listen.host) : page;
}

function isLoopback(host: string): boolean {
  return host === '::1' || (isIPv4(host) && host.startsWith('127.'));
}

/**
 * Whether a request with this Host header may have the page. A site whose name leads to this address (DNS rebinding) would
 * otherwise read it by the browser of whoever looks at that site; an address or "localhost" is no name that a site can have.
 */
export function isHostAllowed(header: string | undefined, names: readonly string[]): boolean {
  const host = (header ?? '').toLowerCase().replace(/:\d{1,5}$/, '');
  if (host.startsWith('[') && host.endsWith(']')) return isIPv6(host.slice(1, -1));
  return host === 'localhost' || isIPv4(host) || names.some((name) => name.toLowerCase() === host);
}
