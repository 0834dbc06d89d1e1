// SPDX-License-Identifier: Apache-2.0
// DatapathConfig → struct n64_config, which is compiled into the programs when they are loaded.

import { isWellKnownPrefix, type Prefix64 } from '../addr/rfc6052.ts';
import type { DatapathConfig } from './datapath.ts';
import { MAX_PREFIXES, MAX_SLOTS, MAX_UPLINKS, STATE, type Config, type Prefix } from './layout.gen.ts';

/**
 * RFC 6146 §4: no timer fires early. The programs note a packet's time at most once a second, by a clock that is behind by
 * up to a tick; that much is added to every session timer.
 */
const SLACK_NS = 1_020_000_000n;

/** Length 0 is no prefix; its first 32 bits, which a program may look at all the same, are of no address in use. */
const NO_PREFIX: Prefix = { address: new Uint8Array(16).fill(0xff), length: 0, wellKnown: 0 };

/** A configuration whose prefixes have their places; undefined is a place that none has. */
export type PlacedConfig = Omit<DatapathConfig, 'prefixes'> & { readonly prefixes: readonly (Prefix64 | undefined)[] };

/**
 * Sessions name their prefix by its place, so one that stays keeps it, whatever the order in the configuration; the others
 * get what is free. `before` are the places of the programs whose maps are taken over.
 */
export function placePrefixes(config: DatapathConfig, before: readonly Prefix[]): PlacedConfig {
  const text = (address: Uint8Array, length: number) => `${Buffer.from(address).toString('hex')}/${length}`;
  const waiting = new Map(config.prefixes.map((prefix) => [text(prefix.v6, prefix.length), prefix]));
  const places = before.map(({ address, length }) => {
    const key = text(address, length);
    const stays = waiting.get(key);
    waiting.delete(key);
    return stays;
  });
  for (const prefix of waiting.values()) {
    const free = places.indexOf(undefined);
    if (free < 0) places.push(prefix);
    else places[free] = prefix;
  }
  return { ...config, prefixes: places.slice(0, places.findLastIndex((prefix) => prefix !== undefined) + 1) };
}

const seconds = (value: number): bigint => BigInt(Math.round(value * 1000)) * 1_000_000n;

function padded<T>(values: readonly T[], size: number, filler: T, what: string): T[] {
  if (values.length > size) throw new RangeError(`${values.length} ${what}: the programs take ${size} at most`);
  return Array.from({ length: size }, (_, i) => values[i] ?? filler);
}

function timeoutNs(config: PlacedConfig): bigint[] {
  const { udp, icmp, tcpEstablished, tcpTransitory, tcpClosing } = config.timeouts;
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
  return Array.from({ length: STATE.STATES }, (_, state) => seconds(byState[state] ?? 0) + SLACK_NS);
}

export function programConfig(config: PlacedConfig): Config {
  if (config.slots > MAX_SLOTS) throw new RangeError(`${config.slots} pool addresses: the programs take ${MAX_SLOTS}`);
  const prefixes = config.prefixes.map((prefix) =>
    prefix === undefined
      ? NO_PREFIX
      : { address: prefix.v6, length: prefix.length, wellKnown: Number(isWellKnownPrefix(prefix)) },
  );
  const uplinks = config.uplinks.map((uplink) => uplink.ifindex);
  return {
    timeoutNs: timeoutNs(config),
    fragmentNs: seconds(config.timeouts.fragment),
    prefixes: padded(prefixes, MAX_PREFIXES, NO_PREFIX, 'prefixes'),
    prefixCount: prefixes.length,
    direct: Number(config.egress === 'direct'),
    deviceIfindex: config.device.ifindex,
    deviceMtu: config.device.mtu,
    uplinkIfindex: padded(uplinks, MAX_UPLINKS, 0, 'uplinks'),
    uplinkCount: uplinks.length,
    uplinkMtu: config.uplinks[0]?.mtu ?? 0,
    endpointIndependentFiltering: Number(config.filtering === 'endpointIndependent'),
    restrictSources: Number(config.restrictSources),
    maxBlocksPerPod: config.maxBlocksPerPod,
    maxSessionsPerPod: config.maxSessionsPerPod,
    slots: config.slots,
    lowestIpv6Mtu: config.lowestIpv6Mtu,
    node6: config.node6,
    deviceMac: config.device.mac,
  };
}
