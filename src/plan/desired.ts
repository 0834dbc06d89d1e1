// SPDX-License-Identifier: Apache-2.0
// Everything that is to be true of a node and of the data plane on it. Made by plan(); src/host/ and src/nat64/ make it so.

import type { DestinationRule } from '../addr/destinations.ts';
import type { Ip4Net, Ip6Net } from '../addr/ip.ts';
import type { Timeouts } from '../config/config.ts';
import type { StaticBinding } from '../model/binding.ts';
import type { LeavingSource, ProxyNeighbour, TrackingTimes } from '../model/facts.ts';
import type { Config as ProgramConfig } from '../model/layout.gen.ts';
import type { PoolRange } from '../model/pool.ts';

/** A sysctl with the value it must have. `owned`: it goes with gate64's device, so nothing has to be remembered. */
export interface DesiredSysctl {
  readonly name: string;
  readonly value: string;
  readonly owned: boolean;
}

/** `guard`: an unreachable route of the worst metric, which decides only when the device's route is gone. */
export interface DesiredRoute {
  readonly family: 4 | 6;
  /** Text with a length. */
  readonly dst: string;
  readonly guard: boolean;
}

export interface DesiredNode {
  /** The owned veth; its MTU is that or more. */
  readonly device: { readonly name: string; readonly mtu: number };
  readonly sysctls: readonly DesiredSysctl[];
  readonly routes: readonly DesiredRoute[];
  readonly proxies: readonly ProxyNeighbour[];
  /** Networks that leave with the uplink's address; empty: none do. */
  readonly masquerade: readonly Ip4Net[];
  /** With which addresses, where routes name others than masquerade takes. */
  readonly leaving: readonly LeavingSource[];
  /** Addresses that nothing leaves with any more, as the node has lost them. */
  readonly lost: readonly number[];
  /** Networks of the node's own that pods may reach. */
  readonly opened: readonly Ip4Net[];
  /** Interfaces that forward for gate64's sake alone: what comes in by them is forwarded to the device and nowhere else. */
  readonly closed: readonly string[];
  readonly trackingTimes: TrackingTimes;
  /** Interfaces that programs hang on besides the device. */
  readonly tcDevices: readonly string[];
}

/** All but what the ledger of port blocks alone can say. */
export type DesiredPrograms = Omit<ProgramConfig, 'slots'>;

export interface DesiredDatapath {
  readonly programs: DesiredPrograms;
  readonly destinations: readonly DestinationRule[];
  readonly sources: readonly Ip6Net[];
  /** Indexes of the interfaces of pods that the accelerator hangs at. */
  readonly podDevices: readonly number[];
  readonly pool: readonly PoolRange[];
  readonly blockSize: number;
  readonly timeouts: Timeouts;
  readonly statics: readonly StaticBinding[];
  /** Addresses that the node uses too: what is not ours passes to it. */
  readonly nodeAddresses: readonly number[];
  readonly sizes: { readonly maxSessions: number; readonly maxBlocks: number };
}

export interface Desired {
  readonly node: DesiredNode;
  /** Undefined while the device, which it hangs on, is not there. */
  readonly datapath: DesiredDatapath | undefined;
  readonly egress: 'masquerade' | 'direct';
  /** Names of the interfaces that lead outside; the first is the way out. */
  readonly uplinks: readonly string[];
}
