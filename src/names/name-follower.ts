// SPDX-License-Identifier: Apache-2.0
// Names of DNS64s that run elsewhere: asks each of them again and again what is new (name-feed.ts), and puts it into the table.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { formatEndpoint } from '../addr/ip.ts';
import type { Logger } from '../telemetry/logger.ts';
import { isCount, readRecord } from './name-file.ts';
import type { NameRecord, NameTable } from './name-table.ts';

/** A DNS64's `http.listen`; a host name stands for all its addresses. */
export interface NameSource {
  readonly host: string;
  readonly port: number;
}

export interface FollowerOptions {
  readonly table: NameTable;
  /** Asked before each round. */
  readonly sources: () => readonly NameSource[];
  /** Undefined: there is none, so nobody is asked. */
  readonly token: () => string | undefined;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Something is about to be put into the table. */
  readonly onNames?: () => void;
  readonly intervalMs?: number;
}

/** What became of the last round. `following`: the DNS64s that told names. */
export interface FollowerStatus {
  readonly following: readonly string[];
  readonly failing: readonly { readonly source: string; readonly reason: string }[];
}

interface Reply {
  readonly next: string;
  readonly isMore: boolean;
  readonly now: number;
  readonly records: readonly NameRecord[];
}

// As in telemetry/http.ts: an import of node:http costs 12 MiB.
const http = process.getBuiltinModule('node:http');

const INTERVAL_MS = 5_000;
const TIMEOUT_MS = 5_000;
/** Of replies in a row to one DNS64: more than a table holds. */
const MAX_REPLIES = 200;
/** 500 records with names of 255 octets, each written as \\DDD. */
const MAX_REPLY_OCTETS = 1 << 20;

export class NameFollower {
  readonly #options: FollowerOptions;
  /** By address and port: what to ask with next. */
  #next = new Map<string, string>();
  #status: FollowerStatus = { following: [], failing: [] };
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;

  constructor(options: FollowerOptions) {
    this.#options = options;
    void this.#turn();
  }

  get status(): FollowerStatus {
    return this.#status;
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #turn(): Promise<void> {
    const { token, sources, intervalMs = INTERVAL_MS } = this.#options;
    const secret = token();
    const status = secret === undefined ? { following: [], failing: [] } : await this.#askAll(sources(), secret);
    if (this.#isStopped) return;
    this.#say(status);
    this.#status = status;
    this.#timer = setTimeout(() => void this.#turn(), intervalMs).unref();
  }

  /** What is new, once. */
  #say(status: FollowerStatus): void {
    const { log } = this.#options;
    const before = this.#status;
    for (const { source, reason } of status.failing) {
      const isSaid = before.failing.some((other) => other.source === source && other.reason === reason);
      if (!isSaid) log.warn({ source, reason }, 'a DNS64 tells no names (telemetry.namesFrom)');
    }
    for (const source of status.following) {
      if (!before.following.includes(source)) log.info({ source }, 'names are taken from a DNS64');
    }
  }

  async #askAll(sources: readonly NameSource[], token: string): Promise<FollowerStatus> {
    const following: string[] = [];
    const failing: { source: string; reason: string }[] = [];
    const next = new Map<string, string>();
    const attempt = async (source: string, run: () => Promise<void>) => {
      try {
        await run();
      } catch (error) {
        failing.push({ source, reason: error instanceof Error ? error.message : String(error) });
      }
    };
    await Promise.all(
      sources.map(async ({ host, port }) =>
        attempt(formatEndpoint({ host, port }), async () => {
          const addresses = isIP(host) ? [{ address: host }] : await lookup(host, { all: true });
          const one = async (address: string) => {
            const key = formatEndpoint({ host: address, port });
            await attempt(key, async () => {
              next.set(key, await this.#pull({ host: address, port }, token, this.#next.get(key) ?? ''));
              following.push(key);
            });
          };
          await Promise.all(addresses.map(({ address }) => one(address)));
        }),
      ),
    );
    this.#next = next;
    return { following: following.toSorted(), failing };
  }

  /** Gives what to ask with the next time. */
  async #pull(source: NameSource, token: string, after: string): Promise<string> {
    const { table, onNames } = this.#options;
    for (let replies = 0; replies < MAX_REPLIES; replies++) {
      const reply = readReply(await get(source, `/names?after=${encodeURIComponent(after)}`, token));
      if (this.#isStopped) break;
      if (reply.records.length > 0) onNames?.();
      table.restore(reply.records, reply.now);
      after = reply.next;
      if (!reply.isMore) break;
    }
    return after;
  }
}

/** Throws for what is no reply; what is no record in it is left out. */
function readReply(text: string): Reply {
  const json: unknown = JSON.parse(text);
  const { next, isMore, now, records } = (json ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof next !== 'string' || typeof isMore !== 'boolean' || !isCount(now) || !Array.isArray(records)) {
    throw new Error('what it says are no names');
  }
  const read = records.flatMap((record: unknown) => {
    if (typeof record !== 'object' || record === null) return [];
    return readRecord({ ...record }) ?? [];
  });
  return { next, isMore, now, records: read };
}

/** Rejects for anything but 200, and for more or slower than is bearable. */
function get({ host, port }: NameSource, path: string, token: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { authorization: `Bearer ${token}` };
  const request = http.get({ host, port, path, headers, agent: false, signal }, (response) => {
    const chunks: Buffer[] = [];
    let octets = 0;
    response.on('data', (chunk: Buffer) => {
      octets += chunk.length;
      if (octets > MAX_REPLY_OCTETS) request.destroy(new Error('its reply is too long'));
      else chunks.push(chunk);
    });
    response.on('error', reject);
    response.on('end', () => {
      const text = Buffer.concat(chunks).toString();
      if (response.statusCode === 200) resolve(text);
      else reject(new Error(`HTTP ${String(response.statusCode)}: ${firstLine(text)}`));
    });
  });
  request.on('error', (error) => {
    reject(signal.aborted ? new Error(`no answer in ${TIMEOUT_MS / 1000} s`) : error);
  });
  return promise;
}

/** Of what somebody else says, for a log. */
function firstLine(text: string): string {
  return JSON.stringify((text.split('\n', 1)[0] ?? '').slice(0, 200));
}
