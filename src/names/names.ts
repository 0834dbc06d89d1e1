// SPDX-License-Identifier: Apache-2.0
// Names and what pods used them for, with the files of both and the names of other nodes: what the service holds of this room.

import { createHash, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { HttpReply } from '../telemetry/http.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { NamesStatus } from '../telemetry/status.ts';
import type { LinesFile } from './lines-file.ts';
import { NameFeed } from './name-feed.ts';
import { keepNames } from './name-file.ts';
import { NameFollower, type NameSource } from './name-follower.ts';
import { exposeNames } from './name-metrics.ts';
import { NameTable } from './name-table.ts';
import { UsageTable } from './usage.ts';
import { keepUsage } from './usage-file.ts';

/** Of the configuration's `telemetry`. */
export interface NameSettings {
  readonly namesInMetrics: number;
  readonly shareNames: boolean;
  readonly namesFrom: readonly NameSource[];
  readonly namesToken: string;
}

export class Names {
  readonly table = new NameTable();
  readonly usage = new UsageTable();
  readonly #settings: () => NameSettings;
  readonly #log: Logger;
  readonly #files: LinesFile[] = [];
  #isKept = false;
  #feed: NameFeed | undefined;
  #follower: NameFollower | undefined;

  /** `settings` as they are at the time. */
  constructor(settings: () => NameSettings, log: Logger, metrics: Metrics) {
    this.#settings = settings;
    this.#log = log;
    exposeNames(metrics, this.usage, () => settings().namesInMetrics);
  }

  /** Takes up the names of before, and keeps them in their file from now on. */
  keepNames(): void {
    if (this.#isKept) return;
    this.#isKept = true;
    this.#files.push(keepNames(this.table, this.#log));
  }

  keepUsage(): void {
    this.#files.push(keepUsage(this.usage, this.#log));
  }

  /** Asks the DNS64s of telemetry.namesFrom from now on. */
  follow(): void {
    this.#follower = new NameFollower({
      table: this.table,
      sources: () => this.#settings().namesFrom,
      token: () => this.#token(),
      log: this.#log,
      onNames: () => this.keepNames(),
    });
  }

  /** Of a request for /names: `after` from its query, and its header Authorization. */
  reply(after: string, authorization: string | undefined): HttpReply {
    const { shareNames, namesToken } = this.#settings();
    if (!shareNames) return { code: 404, body: 'names are not shared: telemetry.shareNames is false' };
    const token = this.#token();
    if (token === undefined) return { code: 404, body: `names are not shared: there is no token in ${namesToken}` };
    if (!isSame(authorization ?? '', `Bearer ${token}`)) {
      const headers = { 'www-authenticate': 'Bearer' };
      return { code: 401, headers, body: `the token is another one than that in ${namesToken}` };
    }
    this.#feed ??= new NameFeed(this.table);
    return { code: 200, type: 'application/json', body: JSON.stringify(this.#feed.reply(after)) };
  }

  /** Undefined where no names are to come from elsewhere. */
  status(): NamesStatus | undefined {
    const { namesFrom } = this.#settings();
    if (this.#follower === undefined || namesFrom.length === 0) return undefined;
    return { ...this.#follower.status, isOff: this.#token() === undefined };
  }

  async stop(): Promise<void> {
    this.#follower?.stop();
    for (const file of this.#files) await file.stop();
  }

  /** Read anew each time: a mounted secret is replaced, or comes later. Undefined where there is none. */
  #token(): string | undefined {
    try {
      return readFileSync(this.#settings().namesToken, 'utf8').trim() || undefined;
    } catch {
      return undefined;
    }
  }
}

/** In a time that tells nothing of how much of it is the same. */
function isSame(given: string, wanted: string): boolean {
  const [a, b] = [given, wanted].map((text) => createHash('sha256').update(text).digest()) as [Buffer, Buffer];
  return timingSafeEqual(a, b);
}
