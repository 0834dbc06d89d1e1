// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share: a clock that stands still, a log that can be read, a data plane in memory.

import { destinationRules } from '../../../src/addr/destinations.ts';
import { parseIp4, parseIp6, parseIp4Net, type Ip4Net, type Ip6Net } from '../../../src/addr/ip.ts';
import type { PoolRange } from '../../../src/model/pool.ts';
import { embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import type { Protocol, StaticBinding } from '../../../src/model/binding.ts';
import type { SessionRow } from '../../../src/datapath/datapath.ts';
import type { Clock } from '../../../src/nat64/clock.ts';
import type { DesiredDatapath } from '../../../src/plan/desired.ts';
import type { Log } from '../../../src/nat64/log.ts';
import { FakeDatapath, type FlowResult } from '../../fakes/datapath.ts';
import { programsOf, testPrograms, TIMEOUTS, type TestPrograms } from '../../helpers/programs.ts';

export const PREFIX = parsePrefix64('2001:db8:64::/96');

export class TestClock implements Clock {
  time = Date.parse('2026-01-01T00:00:00Z');
  /** By how much somebody has set the wall clock. */
  stepMs = 0;
  #timers: { at: number; action: () => void }[] = [];

  now(): number {
    return this.time;
  }

  wall(): number {
    return this.time + this.stepMs;
  }

  after(delayMs: number, action: () => void): () => void {
    const timer = { at: this.time + delayMs, action };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Lets time pass, timers included. */
  advance(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.time = Math.max(this.time, next.at);
      next.action();
    }
    this.time = end;
  }

  pending(): number {
    return this.#timers.length;
  }
}

export class TestLog implements Log {
  readonly lines: { level: string; message: string; fields: Record<string, unknown> }[] = [];

  debug(fields: object, message: string): void {
    this.#add('debug', fields, message);
  }
  info(fields: object, message: string): void {
    this.#add('info', fields, message);
  }
  warn(fields: object, message: string): void {
    this.#add('warn', fields, message);
  }
  error(fields: object, message: string): void {
    this.#add('error', fields, message);
  }

  with(message: string): Record<string, unknown>[] {
    return this.lines.filter((line) => line.message === message).map((line) => line.fields);
  }

  #add(level: string, fields: object, message: string): void {
    this.lines.push({ level, message, fields: { ...fields } });
  }
}

export function fakeDatapath(clock: Clock, overrides: Partial<TestPrograms> = {}, maxSessions = 10_000): FakeDatapath {
  const programs = programsOf(testPrograms({ prefixes: [PREFIX], ...overrides }));
  return new FakeDatapath({ programs, sizes: { maxSessions }, now: () => clock.now() });
}

/** "192.0.2.0/30", 1024, 2047 → a range. */
export function range(net: string, firstPort: number, lastPort: number, shared = false): PoolRange {
  return { net: parseIp4Net(net), firstPort, lastPort, shared };
}

export function pod(n: number): Uint8Array {
  return parseIp6(`2001:db8:1::${n.toString(16)}`);
}

export function flow(
  datapath: FakeDatapath,
  n: number,
  port: number,
  protocol: Protocol = 'udp',
  to = '198.51.100.1',
): FlowResult {
  const destination6 = embedIp4(PREFIX, parseIp4(to));
  return datapath.openFlow({ protocol, source: { v6: pod(n), port }, destination6, port: 53 });
}

/** The session of a flow that must have passed. */
export function passed(result: FlowResult): SessionRow {
  if (result === undefined || typeof result === 'string') throw new Error(`dropped: ${result ?? 'detached'}`);
  return result;
}

export interface Settings extends Partial<TestPrograms> {
  readonly blockSize?: number;
  readonly deny?: readonly Ip4Net[];
  readonly allowSources?: readonly Ip6Net[];
  readonly static?: readonly StaticBinding[];
}
export interface Facts {
  readonly pool?: readonly PoolRange[];
  readonly nodeAddresses?: readonly number[];
  readonly device?: TestPrograms['device'];
}

/** What is to be true with these settings on that node. */
export function desired(changed: Settings, node: Facts): DesiredDatapath {
  const { blockSize = 4, deny = [], allowSources = [], static: statics = [], ...programs } = changed;
  const { pool = [range('192.0.2.1', 1000, 1007)], nodeAddresses = [parseIp4('203.0.113.2')], ...more } = node;
  const { slots: _, ...rest } = programsOf(
    testPrograms({
      prefixes: [PREFIX],
      maxBlocksPerPod: 2,
      restrictSources: allowSources.length > 0,
      ...programs,
      ...more,
    }),
  );
  return {
    programs: rest,
    destinations: destinationRules({ allowNonGlobalIpv4: [], deny, nodeAddresses, pool: pool.map(({ net }) => net) }),
    sources: allowSources,
    pool,
    blockSize,
    timeouts: TIMEOUTS,
    statics,
    nodeAddresses,
    podDevices: [],
    sizes: { maxSessions: 10_000, maxBlocks: 16_384 },
  };
}
