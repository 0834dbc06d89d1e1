// SPDX-License-Identifier: Apache-2.0
// What the tests of this room share: a clock that stands still, a log that can be read, a data plane in memory.

import { parseIp4, parseIp6, parseIp4Net } from '../../../src/addr/ip.ts';
import type { PoolRange } from '../../../src/addr/pool-ranges.ts';
import { embedIp4, parsePrefix64 } from '../../../src/addr/rfc6052.ts';
import { FakeDatapath } from '../../../src/datapath/fake.ts';
import type { DatapathConfig, Protocol, SessionRow } from '../../../src/datapath/datapath.ts';
import type { Clock, Log } from '../../../src/nat64/log.ts';

export const PREFIX = parsePrefix64('2001:db8:64::/96');

export class TestClock implements Clock {
  time = Date.parse('2026-01-01T00:00:00Z');
  #timers: { at: number; action: () => void }[] = [];

  now(): number {
    return this.time;
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

export function datapathConfig(overrides: Partial<DatapathConfig> = {}): DatapathConfig {
  return {
    prefixes: [PREFIX],
    egress: 'masquerade',
    device: { ifindex: 7, mac: new Uint8Array(6), mtu: 9000 },
    uplinks: [{ ifindex: 2, name: 'up0', mtu: 1500 }],
    node6: parseIp6('2001:db8::2'),
    filtering: 'addressDependent',
    restrictSources: false,
    maxBlocksPerPod: 8,
    maxSessionsPerPod: 1000,
    lowestIpv6Mtu: 1280,
    slots: 1,
    timeouts: {
      udp: 300,
      tcpEstablished: 7200,
      tcpTransitory: 240,
      tcpClosing: 240,
      tcpIncomingSyn: 6,
      icmp: 60,
      fragment: 2,
    },
    ...overrides,
  };
}

export function fakeDatapath(
  clock: Clock,
  overrides: Partial<DatapathConfig> = {},
  maxSessions = 10_000,
): FakeDatapath {
  return new FakeDatapath({ config: datapathConfig(overrides), sizes: { maxSessions }, now: () => clock.now() });
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
): ReturnType<FakeDatapath['openFlow']> {
  const destination6 = embedIp4(PREFIX, parseIp4(to));
  return datapath.openFlow({ protocol, source: { v6: pod(n), port }, destination6, port: 53 });
}

/** The session of a flow that must have passed. */
export function passed(result: ReturnType<FakeDatapath['openFlow']>): SessionRow {
  if (typeof result === 'string') throw new Error(`dropped: ${result}`);
  return result;
}
