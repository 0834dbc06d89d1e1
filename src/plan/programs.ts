// SPDX-License-Identifier: Apache-2.0
// What is compiled into the programs when they are loaded (struct n64_config of bpf/types.h): settings and facts in the
// programs' own terms.

import { ip6Mask } from '../addr/ip.ts';
import { isWellKnownPrefix, type Prefix64 } from '../addr/rfc6052.ts';
import type { Nat64Config, Timeouts } from '../config/config.ts';
import type { Interface } from '../model/facts.ts';
import {
  INBOUND_REFRESH,
  MAX_PREFIXES,
  MAX_RETURNS,
  MAX_UPLINKS,
  MSS_AUTO,
  SOURCE_CHECK,
  STATE,
  type Prefix,
} from '../model/layout.gen.ts';
import type { DesiredPrograms } from './desired.ts';

/**
 * RFC 6146 §4: no timer fires early. The programs note a packet's time at most once a second, by a clock that is behind by
 * up to a tick; that much is added to every session timer.
 */
const SLACK_NS = 1_020_000_000n;

/** Length 0 is no prefix; its first 32 bits, which a program may look at all the same, are of no address in use. */
const NO_PREFIX: Prefix = { address: new Uint8Array(16).fill(0xff), length: 0, wellKnown: 0 };

const NO_ERROR_PREFIX: Prefix = { ...NO_PREFIX, address: new Uint8Array(16) };

const prefixStruct = (prefix: Prefix64): Prefix => ({
  address: prefix.v6,
  length: prefix.length,
  wellKnown: Number(isWellKnownPrefix(prefix)),
});

const CHECKS = {
  off: SOURCE_CHECK.SOURCE_UNCHECKED,
  loose: SOURCE_CHECK.SOURCE_LOOSE,
  strict: SOURCE_CHECK.SOURCE_STRICT,
} as const;

const REFRESHES = {
  never: INBOUND_REFRESH.REFRESH_NEVER,
  bounded: INBOUND_REFRESH.REFRESH_ONCE,
  always: INBOUND_REFRESH.REFRESH_ALWAYS,
} as const;

const MSS_WORDS: Readonly<Record<string, number>> = { off: 0, auto: MSS_AUTO };

/** The settings that programs know, by their names in the configuration. */
export type ProgramSettings = Pick<
  Nat64Config,
  | 'egress'
  | 'maxSessionsPerPod'
  | 'lowestIpv6Mtu'
  | 'mssClamp'
  | 'filtering'
  | 'allowSources'
  | 'inboundRefresh'
  | 'errorSources'
  | 'checkSources'
  | 'podPrefixLength'
  | 'admit'
  | 'endDeniedSessions'
  | 'timeouts'
> & {
  /** As configured, or what fits the pool. */
  readonly maxBlocksPerPod: number;
  /** The last blocks, for pods that hold none. */
  readonly reservedBlocks: number;
  /** Whether answers go straight to the devices of pods that n64_accel hangs at; with a direct way out alone. */
  readonly accelerate: boolean;
};

/** What programs know of the node. */
export interface ProgramFacts {
  readonly device: Pick<Interface, 'ifindex' | 'mac' | 'mtu'>;
  /** Interfaces that lead outside; the first is the way out. Those beyond N64_MAX_UPLINKS are left out. */
  readonly uplinks: readonly Pick<Interface, 'ifindex' | 'mtu'>[];
  /** Interfaces that answers may come by with a direct way out; those beyond N64_MAX_RETURNS are left out. */
  readonly returns: readonly Pick<Interface, 'ifindex'>[];
  /** Source of the ICMPv6 errors that the data plane makes (RFC 4443 §2.2, RFC 6791). */
  readonly node6: Uint8Array;
  /** Where prefixes stand in the programs whose sessions are taken over. */
  readonly places: readonly Prefix[];
}

export function desiredPrograms(
  prefixes: readonly Prefix64[],
  settings: ProgramSettings,
  facts: ProgramFacts,
): DesiredPrograms {
  const placed = placePrefixes(prefixes, facts.places);
  const uplinks = facts.uplinks.slice(0, MAX_UPLINKS);
  const returns = settings.egress === 'direct' ? facts.returns.slice(0, MAX_RETURNS) : [];
  return {
    timeoutNs: timeoutNs(settings.timeouts),
    fragmentNs: nanoseconds(settings.timeouts.fragment),
    prefixes: padded(placed, MAX_PREFIXES, NO_PREFIX),
    prefixCount: placed.length,
    direct: Number(settings.egress === 'direct'),
    deviceIfindex: facts.device.ifindex,
    deviceMtu: facts.device.mtu,
    uplinkIfindex: padded(
      uplinks.map(({ ifindex }) => ifindex),
      MAX_UPLINKS,
      0,
    ),
    uplinkCount: uplinks.length,
    uplinkMtu: uplinks[0]?.mtu ?? 0,
    returnIfindex: padded(
      returns.map(({ ifindex }) => ifindex),
      MAX_RETURNS,
      0,
    ),
    returnCount: returns.length,
    endpointIndependentFiltering: Number(settings.filtering === 'endpointIndependent'),
    restrictSources: Number(settings.allowSources.length > 0),
    endDeniedSessions: Number(settings.endDeniedSessions),
    admitListed: Number(settings.admit === 'dns'),
    inboundRefresh: REFRESHES[settings.inboundRefresh],
    maxBlocksPerPod: settings.maxBlocksPerPod,
    maxSessionsPerPod: settings.maxSessionsPerPod,
    lowestIpv6Mtu: settings.lowestIpv6Mtu,
    mssClamp: MSS_WORDS[settings.mssClamp] ?? Number(settings.mssClamp),
    reservedBlocks: settings.reservedBlocks,
    checkSources: CHECKS[settings.checkSources],
    podMask: ip6Mask(settings.podPrefixLength),
    node6: facts.node6,
    errorPrefix: settings.errorSources === 'translator' ? NO_ERROR_PREFIX : prefixStruct(settings.errorSources),
    deviceMac: facts.device.mac,
    accelerate: Number(settings.egress === 'direct' && settings.accelerate),
  };
}

/**
 * Sessions name their prefix by its place, so one that stays keeps it, whatever the order in the configuration; the others
 * get what is free. Reaches up to the last place in use.
 */
export function placePrefixes(prefixes: readonly Prefix64[], before: readonly Prefix[]): Prefix[] {
  const keyOf = (address: Uint8Array, length: number) => `${Buffer.from(address).toString('hex')}/${length}`;
  const waiting = new Map(
    prefixes.map((prefix): [string, Prefix] => [keyOf(prefix.v6, prefix.length), prefixStruct(prefix)]),
  );
  const places = before.map(({ address, length }): Prefix => {
    const key = keyOf(address, length);
    const stays = waiting.get(key);
    waiting.delete(key);
    return stays ?? NO_PREFIX;
  });
  for (const prefix of waiting.values()) {
    const free = places.findIndex(({ length }) => length === 0);
    if (free < 0) places.push(prefix);
    else places[free] = prefix;
  }
  return places.slice(0, places.findLastIndex(({ length }) => length !== 0) + 1);
}

function padded<T>(values: readonly T[], size: number, filler: T): T[] {
  return Array.from({ length: size }, (_, i) => values[i] ?? filler);
}

function nanoseconds(seconds: number): bigint {
  return BigInt(Math.round(seconds * 1000)) * 1_000_000n;
}

function timeoutNs({ udp, icmp, tcpEstablished, tcpTransitory, tcpClosing }: Timeouts): bigint[] {
  const byState: Record<number, number> = {
    [STATE.OPEN_UDP]: udp,
    [STATE.OPEN_ICMP]: icmp,
    [STATE.V4_INIT]: tcpTransitory,
    [STATE.V6_INIT]: tcpTransitory,
    // RFC 6146 §3.5.2.2: when the timer of ESTABLISHED ends, the session is transitory for one more.
    [STATE.ESTABLISHED]: tcpEstablished + tcpTransitory,
    [STATE.V4_FIN_RCV]: tcpEstablished,
    [STATE.V6_FIN_RCV]: tcpEstablished,
    [STATE.BOTH_FIN_RCV]: tcpClosing,
    [STATE.TRANS]: tcpClosing,
  };
  return Array.from({ length: STATE.STATES }, (_, state) => nanoseconds(byState[state] ?? 0) + SLACK_NS);
}
