// SPDX-License-Identifier: Apache-2.0
// What one foreign file came to: settings of gate64 that it amounts to, and notes of what has no counterpart.

export const KINDS = ['corefile', 'jool', 'tayga', 'unbound', 'bind'] as const;
export type Kind = (typeof KINDS)[number];

/** Keys that hold a list; what is carried to one of these is an element. */
export const LIST_KEYS = [
  'prefix',
  'dns.allowClients',
  'dns.upstreams',
  'dns.excludeAaaa',
  'nat64.pool',
  'nat64.deny',
  'nat64.static',
] as const;

const SCALAR_KEYS = [
  'dns.tls.ca',
  'dns.translateAll',
  'nat64.enabled',
  'nat64.egress',
  'nat64.lowestIpv6Mtu',
  'nat64.filtering',
  'nat64.timeouts.udp',
  'nat64.timeouts.tcpEstablished',
  'nat64.timeouts.tcpTransitory',
  'nat64.timeouts.tcpClosing',
  'nat64.timeouts.icmp',
] as const;

export type SettingKey = (typeof LIST_KEYS)[number] | (typeof SCALAR_KEYS)[number];

/** `line` counts from 1, in the foreign file. */
export interface Setting {
  readonly line: number;
  readonly key: SettingKey;
  readonly value: unknown;
}

export interface Note {
  readonly line: number;
  /** As it stands in the file. */
  readonly what: string;
  readonly why: string;
  /** What to do instead; empty: nothing. */
  readonly instead: string;
  /** Whether gate64 would behave in another way than what it replaces. */
  readonly matters: boolean;
}

/** Far beyond what a file of people has, and small enough for rules that compare each with each. */
const MAX_SETTINGS = 512;
const MAX_NOTES = 200;

/** Gathers what a reader finds. Bounded, since the file may be anybody's: what is too much is counted and said. */
export class Reading {
  readonly settings: Setting[] = [];
  readonly notes: Note[] = [];
  #unlisted = 0;
  #unlistedMatters = false;

  carry(line: number, key: SettingKey, value: unknown): void {
    if (this.settings.length < MAX_SETTINGS) this.settings.push({ line, key, value });
    else this.lost(line, key, `the file has more than ${MAX_SETTINGS} settings`, 'write the rest by hand');
  }

  /** Something that matters and has no counterpart. */
  lost(line: number, what: string, why: string, instead = ''): void {
    this.#note({ line, what, why, instead, matters: true });
  }

  /** Something that is left out without harm. */
  aside(line: number, what: string, why: string, instead = ''): void {
    this.#note({ line, what, why, instead, matters: false });
  }

  /** The notes, with one more for those beyond the bound. */
  allNotes(): readonly Note[] {
    if (this.#unlisted === 0) return this.notes;
    const what = `${this.#unlisted} more`;
    const why = `only the first ${MAX_NOTES} are listed`;
    const last = this.notes.at(-1)?.line ?? 1;
    return [...this.notes, { line: last, what, why, instead: '', matters: this.#unlistedMatters }];
  }

  #note(note: Note): void {
    if (this.notes.length < MAX_NOTES) {
      this.notes.push(note);
      return;
    }
    this.#unlisted++;
    this.#unlistedMatters ||= note.matters;
  }
}
