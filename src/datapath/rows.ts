// SPDX-License-Identifier: Apache-2.0
// Structs of the programs → rows that the rest of gate64 reads.

import { formatIp4, formatIp6 } from '../addr/ip.ts';
import { embedIp4 } from '../addr/rfc6052.ts';
import { signedNs } from './clock.ts';
import type { Protocol } from '../model/binding.ts';
import type { BindingRow, DropSample, SessionRow, SessionState } from './datapath.ts';
import { PROTOCOLS } from '../model/binding.ts';
import {
  REFS_DEAD,
  INBOUND_REFRESH,
  PROTOCOL,
  STATE,
  type Bib6,
  type Bib6Key,
  type Config,
  type DropSample as DropSampleStruct,
  type Flow4,
  type Flow4Key,
  type Flow6,
  type Flow6Key,
} from '../model/layout.gen.ts';

const IPPROTO_ICMP = 1;
const IPPROTO_TCP = 6;
const IPPROTO_UDP = 17;
const IPPROTO_ICMPV6 = 58;

type ToEpoch = (ns: bigint) => number;

const STATES: Readonly<Record<number, SessionState>> = {
  [STATE.OPEN_UDP]: 'open',
  [STATE.OPEN_ICMP]: 'open',
  [STATE.V4_INIT]: 'v4Init',
  [STATE.V6_INIT]: 'v6Init',
  [STATE.ESTABLISHED]: 'established',
  [STATE.V4_FIN_RCV]: 'v4FinReceived',
  [STATE.V6_FIN_RCV]: 'v6FinReceived',
  [STATE.BOTH_FIN_RCV]: 'bothFinReceived',
  [STATE.TRANS]: 'transitory',
};

export const protocolName = (index: number): Protocol => PROTOCOLS[index] ?? 'tcp';

export const protocolIndex = (protocol: Protocol): number => PROTOCOLS.indexOf(protocol);

/** The other entry's key, as flow4_key_of of session.h. */
export function flow4KeyOf(key: Flow6Key, flow: Flow6): Flow4Key {
  return { src: key.dst4, dst: flow.pool, sport: key.dport, dport: flow.port, protocol: key.protocol };
}

/** `four` is missing when the entry went between two readings. */
export function sessionRow(
  key: Flow6Key,
  six: Flow6,
  four: Flow4 | undefined,
  config: Config,
  toEpoch: ToEpoch,
): SessionRow {
  const protocol = protocolName(key.protocol);
  const prefix = config.prefixes[key.prefix];
  const lastNs = four && signedNs(four.lastNs - six.lastNs) > 0n ? four.lastNs : six.lastNs;
  const identifier = key.protocol === PROTOCOL.ICMP;
  return {
    protocol,
    state: STATES[six.state] ?? 'open',
    source: { v6: key.src, port: key.sport },
    destination6: prefix?.length
      ? embedIp4({ v6: prefix.address, length: prefix.length }, key.dst4)
      : new Uint8Array(16),
    pool: { v4: six.pool, port: six.port },
    destination: { v4: key.dst4, port: identifier ? six.port : key.dport },
    createdAt: toEpoch(six.createdNs),
    lastSeenAt: toEpoch(lastNs),
    expiresAt: toEpoch(expiryNs(six, lastNs, config)),
    packetsOut: Number(six.packets),
    bytesOut: Number(six.bytes),
    packetsIn: Number(four?.packets ?? 0n),
    bytesIn: Number(four?.bytes ?? 0n),
  };
}

/** As the sweep judges (bpf/sweep.h): what came from outside alone counts for a while. */
function expiryNs(six: Flow6, lastNs: bigint, config: Config): bigint {
  const lifetime = config.timeoutNs[six.state] ?? 0n;
  if (config.inboundRefresh === INBOUND_REFRESH.REFRESH_ALWAYS) return lastNs + lifetime;
  const bound = config.inboundRefresh === INBOUND_REFRESH.REFRESH_ONCE ? 2n * lifetime : lifetime;
  const within = signedNs(lastNs + lifetime - six.lastNs - bound) < 0n;
  return within ? lastNs + lifetime : six.lastNs + bound;
}

export function bindingRow(key: Bib6Key, bib: Bib6, toEpoch: ToEpoch): BindingRow {
  return {
    protocol: protocolName(key.protocol),
    source: { v6: key.src, port: key.port },
    pool: { v4: bib.pool, port: bib.port },
    sessions: bib.refs >= REFS_DEAD ? 0 : bib.refs,
    isStatic: bib.isStatic !== 0,
    createdAt: toEpoch(bib.createdNs),
  };
}

/** IPv4 addresses stand in the last four bytes. */
function addressText(address: Uint8Array, family: number): string {
  if (family === 6) return formatIp6(address);
  return formatIp4(new DataView(address.buffer, address.byteOffset).getUint32(12));
}

/** Undefined for a reason that has not happened. */
export function dropSample(sample: DropSampleStruct, toEpoch: ToEpoch): DropSample | undefined {
  if (sample.atNs === 0n) return undefined;
  // The first four bytes behind the IP header: two ports, or ICMP's type and code.
  const icmp = sample.protocol === IPPROTO_ICMP || sample.protocol === IPPROTO_ICMPV6;
  const ports = sample.protocol === IPPROTO_TCP || sample.protocol === IPPROTO_UDP;
  return {
    at: toEpoch(sample.atNs),
    source: addressText(sample.src, sample.family),
    destination: addressText(sample.dst, sample.family),
    protocol: sample.protocol,
    sourcePort: ports ? sample.sport : 0,
    destinationPort: ports ? sample.dport : 0,
    icmpType: icmp ? sample.sport >> 8 : null,
    icmpCode: icmp ? sample.sport & 255 : null,
    length: sample.length,
  };
}
