// SPDX-License-Identifier: Apache-2.0
// Finds out the facts of one flow: asks the DNS64, reads the data plane, looks at the node. Changes nothing.

import { formatEndpoint, formatIp4, formatIp6, parseIp4, parseIp6, type Endpoint } from '../../addr/ip.ts';
import { embedIp4, extractWithAny } from '../../addr/rfc6052.ts';
import type { Config } from '../../config/config.ts';
import type { DatapathReader, DropRow, SessionRow } from '../../datapath/datapath.ts';
import { Gate64Error } from '../../errors.ts';
import type { Protocol } from '../../model/binding.ts';
import type { CliContext } from '../context.ts';
import { refusal } from '../destination.ts';
import {
  isUnseen,
  poolInUse,
  type DatapathFlow,
  type Destination,
  type NameFacts,
  type TraceFacts,
  type Unseen,
} from './facts.ts';

export interface TraceQuestion {
  readonly config: Config;
  readonly source: Uint8Array;
  /** A name, an IPv4 or an IPv6 address. */
  readonly destination: string;
  readonly protocol: Protocol;
  readonly port: number | undefined;
  readonly server: Endpoint;
}

export async function observe(question: TraceQuestion, context: CliContext): Promise<TraceFacts> {
  const { config, source, protocol, port } = question;
  const end = await destinationOf(question, context);
  const { destination } = end;
  const base = { config, now: context.now(), protocol, source, port, ...end };
  if (destination === undefined) return { ...base, node: undefined, datapath: undefined };
  const datapath = await attempt(async () => {
    using reader = await context.openReader();
    return readFlow(reader, { ...question, destination });
  });
  const node = await attempt(() =>
    context.examineFlow(config, {
      source,
      destination6: destination.v6,
      destination: destination.v4,
      device: config.nat64.device,
      uplink: uplinkOf(config, datapath),
      pool: poolInUse({ datapath, source }),
    }),
  );
  // What was read meanwhile is not from the future.
  return { ...base, now: context.now(), node, datapath };
}

/** A direct way out writes to one interface; undefined leaves it to the host's routes. */
function uplinkOf({ nat64 }: Config, datapath: DatapathFlow | Unseen): number | undefined {
  if (nat64.egress !== 'direct' || isUnseen(datapath)) return undefined;
  return datapath.settings.uplinkIfindex[0];
}

type End = Pick<TraceFacts, 'name' | 'native' | 'destination'>;

async function destinationOf({ destination: text, config, server }: TraceQuestion, context: CliContext): Promise<End> {
  const nothing = { name: undefined, native: undefined, destination: undefined };
  if (text.includes(':')) {
    const v6 = usage(() => parseIp6(text));
    const destination = under(v6, config);
    return destination === undefined ? { ...nothing, native: v6 } : { ...nothing, destination };
  }
  if (/^[\d.]+$/.test(text)) {
    const v4 = usage(() => parseIp4(text));
    const [prefix] = config.prefixes;
    return { ...nothing, destination: prefix && under(embedIp4(prefix, v4), config) };
  }
  const at = formatEndpoint(server);
  try {
    const [aaaa, a] = await Promise.all([context.lookup(server, text, 'AAAA'), context.lookup(server, text, 'A')]);
    const addresses = aaaa.records.map(({ address }) => parseIp6(address));
    const destination = addresses.map((v6) => under(v6, config)).find((found) => found !== undefined);
    const refused = destination !== undefined || addresses.length > 0 ? [] : refusals(a.records, config);
    const name: NameFacts = { name: text, server: at, aaaa, a, failure: undefined, refused };
    return { name, native: destination === undefined ? addresses[0] : undefined, destination };
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    const failure = { message: error.message, hint: error.hint };
    return { ...nothing, name: { name: text, server: at, aaaa: undefined, a: undefined, failure, refused: [] } };
  }
}

function refusals(records: readonly { readonly address: string }[], { prefixes, nat64 }: Config) {
  const [prefix] = prefixes;
  return records.flatMap(({ address }) => {
    const reason = prefix === undefined ? null : refusal(parseIp4(address), prefix, nat64);
    return reason === null ? [] : [{ ipv4: address, reason }];
  });
}

function under(v6: Uint8Array, { prefixes, nat64 }: Config): Destination | undefined {
  const found = extractWithAny(prefixes, v6);
  return found && { v4: found.v4, v6, prefix: found.prefix, refused: refusal(found.v4, found.prefix, nat64) };
}

function usage<T>(parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new Gate64Error('G64_USAGE', cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

async function attempt<T>(look: () => Promise<T>): Promise<T | Unseen> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    return { unseen: error.message, hint: error.hint };
  }
}

export interface FlowKey extends Pick<TraceQuestion, 'source' | 'protocol' | 'port'> {
  readonly destination: Destination;
}

/** What a reader shows of the flow. */
export function readFlow(reader: DatapathReader, key: FlowKey): DatapathFlow {
  const { source, protocol } = key;
  const pod = Buffer.from(source);
  const ofPod = reader.sessions({ sources: [{ v6: source, length: 128 }] });
  const sessions = flowSessions(ofPod, key);
  const table = reader.mapFill().find(({ map }) => map === 'flow6');
  const blocks = reader.blocks();
  const pools = blocks.filter(({ holder }) => holder !== undefined && pod.equals(holder)).map(({ v4 }) => v4);
  return {
    settings: reader.settings(),
    attachments: reader.attachments(),
    sessions,
    podSessions: ofPod.length,
    blocks,
    draining: reader.drainingAddresses(),
    statics: reader.bindings().filter((row) => row.isStatic && row.protocol === protocol && pod.equals(row.source.v6)),
    table: { entries: table?.entries ?? 0, maxEntries: table?.maxEntries ?? 0 },
    drops: reader.drops().filter((row) => isOfFlow(row, key, pools)),
  };
}

/** The most recently used first. */
export function flowSessions(
  rows: readonly SessionRow[],
  { source, protocol, port, destination }: FlowKey,
): SessionRow[] {
  const pod = Buffer.from(source);
  const isPort = (row: SessionRow) => protocol === 'icmp' || port === undefined || row.destination.port === port;
  return rows
    .filter((row) => row.protocol === protocol && pod.equals(row.source.v6))
    .filter((row) => row.destination.v4 === destination.v4 && isPort(row))
    .sort((a, b) => b.lastSeenAt - a.lastSeenAt);
}

const IP_PROTOCOLS: Readonly<Record<Protocol, readonly number[]>> = { tcp: [6], udp: [17], icmp: [1, 58] };

/** Whether the last packet of that kind was of this flow: of its pod's on the way out, to a pool address of its on the way back. */
function isOfFlow(
  { last }: DropRow,
  { source, protocol, port, destination }: FlowKey,
  pools: readonly number[],
): boolean {
  if (last === undefined || !IP_PROTOCOLS[protocol].includes(last.protocol)) return false;
  const isPort = (seen: number) => protocol === 'icmp' || port === undefined || seen === port;
  if (last.source === formatIp6(source))
    return last.destination === formatIp6(destination.v6) && isPort(last.destinationPort);
  const isBack = last.source === formatIp4(destination.v4) && pools.some((v4) => last.destination === formatIp4(v4));
  return isBack && isPort(last.sourcePort);
}
