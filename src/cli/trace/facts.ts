// SPDX-License-Identifier: Apache-2.0
// What is known of one flow before anything is said about it. observe.ts finds out, stages.ts decides by nothing else.

import { formatIp6 } from '../../addr/ip.ts';
import type { Prefix64 } from '../../addr/rfc6052.ts';
import type { Config } from '../../config/config.ts';
import type { AttachmentRow, BlockRow, DropRow, ProgramConfig, SessionRow } from '../../datapath/datapath.ts';
import type { FlowExamination } from '../../host/examine.ts';
import type { Protocol, StaticBinding } from '../../model/binding.ts';
import type { LookupAnswer } from '../lookup.ts';

/** What the DNS64 says of a name. */
export interface NameFacts {
  readonly name: string;
  /** "127.0.0.1:5364" */
  readonly server: string;
  /** Undefined: it does not answer, and `failure` says why. */
  readonly aaaa: LookupAnswer | undefined;
  readonly a: LookupAnswer | undefined;
  readonly failure: { readonly message: string; readonly hint: string | undefined } | undefined;
  /** IPv4 addresses that no AAAA is made of, with the reason. */
  readonly refused: readonly { readonly ipv4: string; readonly reason: string }[];
}

export interface Destination {
  readonly v4: number;
  readonly v6: Uint8Array;
  readonly prefix: Prefix64;
  /** Why the configuration refuses it, in words; null when it does not. */
  readonly refused: string | null;
}

/** What the data plane shows of the flow and of the pod. */
export interface DatapathFlow {
  readonly settings: ProgramConfig;
  readonly attachments: readonly AttachmentRow[];
  /** Of this pod to this destination (and port), the most recently used first. */
  readonly sessions: readonly SessionRow[];
  /** How many the pod has, to wherever. */
  readonly podSessions: number;
  readonly blocks: readonly BlockRow[];
  /** Addresses that left the pool: what runs on them goes on, and no new flow gets a port of theirs. */
  readonly draining: readonly number[];
  /** A static binding that this pod's packets may go by. */
  readonly statics: readonly StaticBinding[];
  readonly table: { readonly entries: number; readonly maxEntries: number };
  /** Those whose last packet was of this flow. */
  readonly drops: readonly DropRow[];
}

/** A look that failed, in words. */
export interface Unseen {
  readonly unseen: string;
  readonly hint: string | undefined;
}

export interface TraceFacts {
  readonly config: Config;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly protocol: Protocol;
  readonly source: Uint8Array;
  /** Undefined: any. */
  readonly port: number | undefined;
  /** Undefined when DEST is an address. */
  readonly name: NameFacts | undefined;
  /** An address of DEST that no prefix holds: gate64 is not in the way. */
  readonly native: Uint8Array | undefined;
  /** Undefined: there is none, or the destination is native. */
  readonly destination: Destination | undefined;
  readonly node: FlowExamination | Unseen | undefined;
  readonly datapath: DatapathFlow | Unseen | undefined;
}

export function isUnseen(look: object | undefined): look is Unseen {
  return look !== undefined && 'unseen' in look && typeof look.unseen === 'string';
}

/** The pool address that the flow goes by, or the next one would; undefined when that cannot be told. */
export function poolInUse({ datapath, source }: Pick<TraceFacts, 'datapath' | 'source'>): number | undefined {
  if (datapath === undefined || isUnseen(datapath)) return undefined;
  const { sessions, draining } = datapath;
  const blocks = datapath.blocks.filter(({ v4 }) => !draining.includes(v4));
  const pod = formatIp6(source);
  const held = blocks.find(
    ({ state, holder }) => state === 'leased' && holder !== undefined && formatIp6(holder) === pod,
  );
  const next = held ?? blocks.find(({ state }) => state === 'offered') ?? blocks[0];
  return sessions[0]?.pool.v4 ?? next?.v4;
}

/** Facts of a flow that has a destination. */
export interface Flow {
  readonly facts: TraceFacts;
  readonly destination: Destination;
}
