// SPDX-License-Identifier: Apache-2.0
// Programs for tests of the data plane: settings and facts by their usual names, made into what programs are loaded with
// as the service makes it.

import { parseIp6, parseIp6Net } from '../../src/addr/ip.ts';
import { parsePrefix64, type Prefix64 } from '../../src/addr/rfc6052.ts';
import type { Timeouts } from '../../src/config/config.ts';
import type { Prefix, Config as ProgramConfig } from '../../src/model/layout.gen.ts';
import { desiredPrograms, type ProgramFacts, type ProgramSettings } from '../../src/plan/programs.ts';

export interface TestPrograms extends Omit<ProgramSettings, 'allowSources'>, Omit<ProgramFacts, 'places' | 'returns'> {
  readonly prefixes: readonly Prefix64[];
  /** Whether an allow list of sources is in force. */
  readonly restrictSources: boolean;
  /** Pool addresses: how many slots a new pod may be put on. */
  readonly slots: number;
  /** By state, shorter than settings and their slack can be. */
  readonly timeoutNs?: readonly bigint[];
}

export const TIMEOUTS: Timeouts = {
  udp: 300,
  tcpEstablished: 7200,
  tcpTransitory: 240,
  tcpClosing: 240,
  tcpIncomingSyn: 6,
  icmp: 60,
  fragment: 2,
};

export function testPrograms(overrides: Partial<TestPrograms> = {}): TestPrograms {
  return {
    prefixes: [parsePrefix64('2001:db8:64::/96')],
    egress: 'masquerade',
    device: { ifindex: 7, mac: new Uint8Array(6), mtu: 9000 },
    uplinks: [{ ifindex: 2, mtu: 1500 }],
    node6: parseIp6('2001:db8::2'),
    filtering: 'addressDependent',
    restrictSources: false,
    inboundRefresh: 'bounded',
    errorSources: 'translator',
    checkSources: 'loose',
    podPrefixLength: 128,
    reservedBlocks: 0,
    admit: 'all',
    endDeniedSessions: true,
    accelerate: false,
    maxBlocksPerPod: 8,
    maxSessionsPerPod: 1000,
    lowestIpv6Mtu: 1280,
    mssClamp: 'off',
    slots: 1,
    timeouts: TIMEOUTS,
    ...overrides,
  };
}

/** `places`: where prefixes stood in the programs before. */
export function programsOf(test: TestPrograms, places: readonly Prefix[] = []): ProgramConfig {
  const { prefixes, restrictSources, slots, device, uplinks, node6, timeoutNs, ...settings } = test;
  const allowSources = restrictSources ? [parseIp6Net('::/0')] : [];
  const facts = { device, uplinks, returns: uplinks.slice(0, 1), node6, places };
  const programs = { ...desiredPrograms(prefixes, { ...settings, allowSources }, facts), slots };
  return timeoutNs === undefined ? programs : { ...programs, timeoutNs };
}
