// SPDX-License-Identifier: Apache-2.0
// The record of what gate64 changed on the node, in a file: kept until uninstall puts it back.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatIp4, parseIp4 } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';
import type { HostRecord } from '../model/facts.ts';

export const STATE_FILE = '/run/gate64/host.json';

const VERSION = 1;

/** As it stands in the file: addresses as text. */
type StateJson = Omit<HostRecord, 'proxies' | 'withoutQdisc' | 'wasRouter'> & {
  readonly version: number;
  readonly withoutQdisc?: readonly string[];
  readonly wasRouter?: boolean;
  readonly proxies: readonly { readonly v4: string; readonly device: string }[];
};

export const EMPTY_RECORD: HostRecord = {
  device: undefined,
  sysctls: {},
  proxies: [],
  withoutQdisc: [],
  wasRouter: false,
};

export class StateFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Empty when there is no file. Throws G64_HOST_STATE when it cannot be read or is not one of gate64's. */
  read(): HostRecord {
    const text = this.#load();
    if (text === undefined) return EMPTY_RECORD;
    try {
      const json = JSON.parse(text) as StateJson;
      if (json.version !== VERSION) {
        throw this.#failure(`has version ${json.version}; this gate64 knows version ${VERSION}`);
      }
      const proxies = json.proxies.map(({ v4, device }) => ({ v4: parseIp4(v4), device }));
      const { device, sysctls, withoutQdisc = [], wasRouter = false } = json;
      return { device, sysctls, proxies, withoutQdisc, wasRouter };
    } catch (error) {
      throw error instanceof Gate64Error && error.code === 'G64_HOST_STATE'
        ? error
        : this.#failure('is not what gate64 writes', error);
    }
  }

  write(record: HostRecord): void {
    const proxies = record.proxies.map(({ v4, device }) => ({ v4: formatIp4(v4), device }));
    try {
      mkdirSync(dirname(this.#path), { recursive: true, mode: 0o755 });
      // A rename is whole or not at all, whenever the process dies.
      writeFileSync(`${this.#path}.new`, `${JSON.stringify({ version: VERSION, ...record, proxies }, undefined, 2)}\n`);
      renameSync(`${this.#path}.new`, this.#path);
    } catch (error) {
      throw this.#failure('cannot be written', error);
    }
  }

  /** True when there was one. */
  remove(): boolean {
    const had = this.#load() !== undefined;
    rmSync(this.#path, { force: true });
    return had;
  }

  #load(): string | undefined {
    try {
      return readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw this.#failure('cannot be read', error);
    }
  }

  #failure(message: string, cause?: unknown): Gate64Error {
    return new Gate64Error('G64_HOST_STATE', `${this.#path} ${message}`, {
      cause,
      hint: 'It holds the old values of sysctls that gate64 set. If you do not need them back, remove the file.',
    });
  }
}
