// SPDX-License-Identifier: Apache-2.0
// What gate64 changed on the node beyond what its own device, routes and table show: kept until uninstall puts it back.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { formatIp4, parseIp4 } from '../addr/ip.ts';
import { Gate64Error } from '../errors.ts';

export const STATE_FILE = '/run/gate64/host.json';

export interface HostState {
  readonly version: 1;
  readonly device: string | undefined;
  readonly sysctls: Readonly<Record<string, { readonly before: string; readonly written: string }>>;
  /** Addresses that an interface answers for by ARP. */
  readonly proxies: readonly { readonly v4: number; readonly device: string }[];
  /** Devices that had no clsact qdisc before. */
  readonly withoutQdisc: readonly string[];
}

/** As it stands in the file: addresses as text. */
type StateJson = Omit<HostState, 'version' | 'proxies' | 'withoutQdisc'> & {
  readonly version: number;
  readonly withoutQdisc?: readonly string[];
  readonly proxies: readonly { readonly v4: string; readonly device: string }[];
};

const EMPTY: HostState = { version: 1, device: undefined, sysctls: {}, proxies: [], withoutQdisc: [] };

export interface StateFile {
  /** Empty when there is no file. Throws G64_HOST_STATE when it cannot be read or is not one of gate64's. */
  read(): HostState;
  write(state: HostState): void;
  /** True when there was one. */
  remove(): boolean;
}

export function openStateFile(path: string): StateFile {
  const fail = (message: string, cause?: unknown) =>
    new Gate64Error('G64_HOST_STATE', `${path} ${message}`, {
      cause,
      hint: 'It holds the old values of sysctls that gate64 set. If you do not need them back, remove the file.',
    });
  const load = (): string | undefined => {
    try {
      return readFileSync(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw fail('cannot be read', error);
    }
  };
  return {
    read() {
      const text = load();
      if (text === undefined) return EMPTY;
      try {
        const json = JSON.parse(text) as StateJson;
        if (json.version !== 1) throw fail(`has version ${json.version}; this gate64 knows version 1`);
        const proxies = json.proxies.map(({ v4, device }) => ({ v4: parseIp4(v4), device }));
        return {
          version: 1,
          device: json.device,
          sysctls: json.sysctls,
          proxies,
          withoutQdisc: json.withoutQdisc ?? [],
        };
      } catch (error) {
        throw error instanceof Gate64Error && error.code === 'G64_HOST_STATE'
          ? error
          : fail('is not what gate64 writes', error);
      }
    },
    write(state) {
      const proxies = state.proxies.map(({ v4, device }) => ({ v4: formatIp4(v4), device }));
      try {
        mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
        // A rename is whole or not at all, whenever the process dies.
        writeFileSync(`${path}.new`, `${JSON.stringify({ ...state, proxies }, undefined, 2)}\n`);
        renameSync(`${path}.new`, path);
      } catch (error) {
        throw fail('cannot be written', error);
      }
    },
    remove() {
      const had = load() !== undefined;
      rmSync(path, { force: true });
      return had;
    },
  };
}
