// SPDX-License-Identifier: Apache-2.0
// Who may ask: a resolver that answers anyone is a weapon against others (RFC 5358).

import { BlockList, isIPv6 } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { formatIp4, formatIp6, type Ip4Net, type Ip6Net } from '../addr/ip.ts';
import { renderRefusal } from './answer.ts';
import { localNetworks } from './local-networks.ts';
import { readQuery } from './query.ts';
import { RCODE } from './wire.ts';

/** "local": what no packet from the internet has for its source, and this host's networks. */
export type AllowedClients = readonly ('local' | Ip4Net | Ip6Net)[];

const LOCAL_NETS = [
  ['127.0.0.0', 8],
  ['10.0.0.0', 8],
  ['172.16.0.0', 12],
  ['192.168.0.0', 16],
  ['100.64.0.0', 10],
  ['169.254.0.0', 16],
  ['::1', 128],
  ['fc00::', 7],
  ['fe80::', 10],
] as const;
/** The host's networks are looked at this often, and for who is refused this soon after they were. */
const LOOK_MS = 10_000;
const LOOK_FOR_REFUSED_MS = 1000;
const MAX_KNOWN = 10_000;
/** Refusals by UDP a second; sources may be forged, so that each goes to a bystander. */
const MAX_UDP_REFUSALS = 10;

export class Clients {
  readonly #allowed: AllowedClients;
  readonly #localNetworks: () => string[];
  readonly #known = new Map<string, boolean>();
  #nets = new BlockList();
  #found: string | undefined;
  #lookedAt = -Infinity;
  /** The last one that was found to be allowed; most ask again and again. */
  #latest: string | undefined;
  #refusalsSince = -Infinity;
  #refusals = 0;

  constructor(allowed: AllowedClients, networks: () => string[] = localNetworks) {
    this.#allowed = allowed;
    this.#localNetworks = networks;
    this.#look(performance.now());
  }

  /** Who is allowed after a reload; itself, and what it knows, where that is the same. */
  allowing(allowed: AllowedClients): Clients {
    return isDeepStrictEqual(allowed, this.#allowed) ? this : new Clients(allowed, this.#localNetworks);
  }

  /** `now`: milliseconds on a monotonic clock. */
  allows(address: string, now = performance.now()): boolean {
    if (now - this.#lookedAt > LOOK_MS) this.#look(now);
    if (this.#isAllowed(address)) return true;
    if (now - this.#lookedAt <= LOOK_FOR_REFUSED_MS) return false;
    this.#look(now);
    return this.#isAllowed(address);
  }

  /** The refusal of a query; undefined where it is better to be silent. */
  refusal(bytes: Buffer, transport: 'udp' | 'tcp'): Buffer | undefined {
    if (transport === 'udp') {
      const now = performance.now();
      if (now - this.#refusalsSince > 1000) {
        this.#refusalsSince = now;
        this.#refusals = 0;
      }
      if (++this.#refusals > MAX_UDP_REFUSALS) return undefined;
    }
    const query = readQuery(bytes);
    return query && renderRefusal(bytes, 'rcode' in query ? query : { ...query, rcode: RCODE.REFUSED });
  }

  #isAllowed(address: string): boolean {
    if (address === this.#latest) return true;
    const known = this.#known.get(address);
    if (known !== undefined) {
      if (known) this.#latest = address;
      return known;
    }
    const bare = address.split('%', 1)[0] as string;
    const isAllowed = this.#nets.check(bare, isIPv6(bare) ? 'ipv6' : 'ipv4');
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(address, isAllowed);
    return isAllowed;
  }

  #look(now: number): void {
    this.#lookedAt = now;
    let found: string[] = [];
    if (this.#allowed.includes('local')) {
      try {
        found = this.#localNetworks();
      } catch {
        // Those known before stay.
        return;
      }
    }
    if (found.join() === this.#found) return;
    this.#found = found.join();
    this.#known.clear();
    this.#latest = undefined;
    this.#nets = new BlockList();
    const add = (address: string, length: number) =>
      this.#nets.addSubnet(address, length, isIPv6(address) ? 'ipv6' : 'ipv4');
    for (const net of this.#allowed) {
      if (net === 'local') for (const [address, length] of LOCAL_NETS) add(address, length);
      else if ('v4' in net) add(formatIp4(net.v4), net.length);
      else add(formatIp6(net.v6), net.length);
    }
    for (const cidr of found) {
      const [address, length] = cidr.split('/') as [string, string];
      add(address, Number(length));
    }
  }
}
