// SPDX-License-Identifier: Apache-2.0
// Which name led to which IPv4 address: what the DNS half hands out, for listings, metrics and policy. Bounded; a name
// outlives its TTL by a grace, since resolvers and programs on the way hold answers longer than they should.

/** Milliseconds on a clock that only counts forward. */
export type Clock = () => number;

export interface NameTableOptions {
  /** Addresses kept at most; beyond, the ones longest not handed out go first. */
  readonly maxAddresses?: number;
  /** Names kept per address at most; beyond, the ones longest not handed out go first. */
  readonly maxNamesPerAddress?: number;
  /** How long after its TTL a name is still known. Connections outlive the answers that opened them. */
  readonly graceSeconds?: number;
  readonly now?: Clock;
}

const DEFAULT_MAX_ADDRESSES = 65_536;
/** A load balancer of a provider may stand behind thousands of names; a listing wants a few. */
const DEFAULT_MAX_NAMES = 16;
const DEFAULT_GRACE_SECONDS = 3600;

export class NameTable {
  /** Address → name → when it is forgotten. Both in order of use, oldest first. */
  readonly #byAddress = new Map<number, Map<string, number>>();
  readonly #maxAddresses: number;
  readonly #maxNames: number;
  readonly #graceMs: number;
  readonly #now: Clock;

  constructor(options: NameTableOptions = {}) {
    this.#maxAddresses = options.maxAddresses ?? DEFAULT_MAX_ADDRESSES;
    this.#maxNames = options.maxNamesPerAddress ?? DEFAULT_MAX_NAMES;
    this.#graceMs = (options.graceSeconds ?? DEFAULT_GRACE_SECONDS) * 1000;
    this.#now = options.now ?? performance.now.bind(performance);
  }

  /** Addresses held, forgotten ones that nothing has looked at included. */
  get size(): number {
    return this.#byAddress.size;
  }

  /** Notes that `name` was answered with `v4` for `ttlSeconds`. Never shortens what was said before. */
  remember(name: string, v4: number, ttlSeconds: number): void {
    const names = this.#byAddress.get(v4) ?? new Map<string, number>();
    const forgetAtMs = Math.max(this.#now() + ttlSeconds * 1000 + this.#graceMs, names.get(name) ?? 0);
    names.delete(name);
    names.set(name, forgetAtMs);
    if (names.size > this.#maxNames) dropFirst(names);
    this.#byAddress.delete(v4);
    this.#byAddress.set(v4, names);
    if (this.#byAddress.size > this.#maxAddresses) dropFirst(this.#byAddress);
  }

  /** The names that led to `v4`, the latest first. */
  namesOf(v4: number): string[] {
    return [...(this.#live(v4)?.keys() ?? [])].toReversed();
  }

  /** True while some name's answer with `v4` counts. */
  has(v4: number): boolean {
    return this.#live(v4) !== undefined;
  }

  #live(v4: number): Map<string, number> | undefined {
    const names = this.#byAddress.get(v4);
    if (names === undefined) return undefined;
    const now = this.#now();
    for (const [name, forgetAtMs] of names) if (forgetAtMs <= now) names.delete(name);
    if (names.size > 0) return names;
    this.#byAddress.delete(v4);
    return undefined;
  }
}

function dropFirst<K>(map: Map<K, unknown>): void {
  const first = map.keys().next();
  if (!first.done) map.delete(first.value);
}
