// SPDX-License-Identifier: Apache-2.0
// Sysctls, read and written under /proc/sys/net. Names are paths below it, with "/" (an interface
// name may hold a dot).

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import type { HostRecord } from '../model/facts.ts';
import { formatPortList, parsePortList } from '../plan/ports.ts';
import { forwardedInterface, IP_FORWARD, RESERVED_PORTS } from '../plan/sysctls.ts';

/**
 * In a container without "privileged" /proc/sys is read-only; a manifest then mounts the node's /proc/sys/net here.
 * Which namespace's values a path shows depends on the reader alone, so both show the same.
 */
const MOUNTED = '/host/proc/sys/net';

function sysctlRoot(): string {
  return existsSync(MOUNTED) ? MOUNTED : '/proc/sys/net';
}

export class Sysctls {
  readonly #root: string;

  constructor(root: string = sysctlRoot()) {
    this.#root = root;
  }

  /** Undefined when there is no such sysctl. */
  read(name: string): string | undefined {
    try {
      return readFileSync(`${this.#root}/${name}`, 'utf8').trim();
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw cannot('read', name, error);
    }
  }

  write(name: string, value: string): void {
    try {
      writeFileSync(`${this.#root}/${name}`, value === '' ? '\n' : value);
    } catch (error) {
      throw cannot(`set to "${value}"`, name, error);
    }
  }
}

function cannot(action: string, name: string, cause: unknown): Gate64Error {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new Gate64Error('G64_SYSCTL', `the sysctl net/${name} cannot be ${action}: ${words}`, {
    cause,
    hint: `Set it by hand, or mount the node's /proc/sys/net at ${MOUNTED} in the container.`,
  });
}

/** Puts back what was before, unless somebody has changed it since. Returns what was put back. */
export function restoreSysctls(sysctls: Sysctls, record: HostRecord): string[] {
  const restored: string[] = [];
  for (const [name, { before, written }] of Object.entries(record.sysctls)) {
    const now = sysctls.read(name);
    if (now === undefined) continue;
    // Somebody has made the node a router since, and counts on it.
    if (forwardedInterface(name) !== undefined && !record.wasRouter && sysctls.read(IP_FORWARD) === '1') continue;
    if (name === RESERVED_PORTS) {
      const ours = subtract(parsePortList(written), parsePortList(before));
      const rest = formatPortList(subtract(parsePortList(now), ours));
      if (rest === formatPortList(parsePortList(now))) continue;
      sysctls.write(name, rest);
    } else if (now === written && now !== before) {
      sysctls.write(name, before);
    } else {
      continue;
    }
    restored.push(`sysctl net/${name}`);
  }
  return restored;
}

function subtract(a: ReadonlySet<number>, b: ReadonlySet<number>): Set<number> {
  return new Set([...a].filter((port) => !b.has(port)));
}
