// SPDX-License-Identifier: Apache-2.0
// The nameservers of a resolv.conf, read again when the file changes (resolv.conf(5)).

import { readFileSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { formatEndpoint, parseZonedEndpoint } from '../addr/ip.ts';
import type { Upstream } from '../config/config.ts';
import { Gate64Error } from '../errors.ts';

export const RESOLV_CONF = '/etc/resolv.conf';
const POLL_MS = 2000;

/** Lines that are no nameserver are skipped; `onUnusable` gets what stands where an address should. */
export function parseResolvConf(text: string, onUnusable: (address: string) => void = () => {}): Upstream[] {
  const found = new Map<string, Upstream>();
  for (const line of text.split('\n')) {
    const match = /^\s*nameserver\s+([^\s#;]+)/.exec(line);
    if (match?.[1] === undefined) continue;
    try {
      const endpoint = parseZonedEndpoint(match[1], 53);
      found.set(formatEndpoint(endpoint), { kind: 'plain', endpoint });
    } catch {
      // As the resolver library does: the other nameservers still serve.
      onUnusable(match[1]);
    }
  }
  return [...found.values()];
}

/** Throws G64_DNS_UPSTREAM when the file cannot be read. An empty list is a list. */
export function readResolvConf(path: string, onUnusable?: (address: string) => void): Upstream[] {
  try {
    return parseResolvConf(readFileSync(path, 'utf8'), onUnusable);
  } catch (cause) {
    throw new Gate64Error('G64_DNS_UPSTREAM', `cannot read the nameservers of ${path}`, {
      cause,
      hint: 'set dns.upstreams in the configuration',
    });
  }
}

/** Reads the file again and again, which also sees mounts and symbolic links change. */
export class ResolvConfWatch {
  readonly path: string;
  readonly #onChange: (upstreams: Upstream[]) => void;
  readonly #onUnusable: ((address: string) => void) | undefined;
  readonly #timer: NodeJS.Timeout;
  #last: Upstream[] | undefined;

  /** `onChange` gets what the file says: at the first look, and when it says something else. */
  constructor(
    path: string,
    onChange: (upstreams: Upstream[]) => void,
    pollMs = POLL_MS,
    onUnusable?: (address: string) => void,
  ) {
    this.path = path;
    this.#onUnusable = onUnusable;
    this.#onChange = onChange;
    this.#timer = setInterval(() => this.#look(), pollMs).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    let upstreams: Upstream[];
    try {
      upstreams = readResolvConf(this.path, this.#onUnusable);
    } catch {
      // Half-written or gone for a moment: what was known stays, the next look reads it again.
      return;
    }
    if (isDeepStrictEqual(upstreams, this.#last)) return;
    this.#last = upstreams;
    this.#onChange(upstreams);
  }
}
