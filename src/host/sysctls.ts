// SPDX-License-Identifier: Apache-2.0
// The few sysctls gate64 sets, read and written under /proc/sys/net. Names are paths below it, with "/" (an interface
// name may hold a dot).

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { Gate64Error } from '../errors.ts';
import type { Change } from './links.ts';
import type { HostState, StateFile } from './state.ts';

/**
 * In a container without "privileged" /proc/sys is read-only; a manifest then mounts the node's /proc/sys/net here.
 * Which namespace's values a path shows depends on the reader alone, so both show the same.
 */
const MOUNTED = '/host/proc/sys/net';

export function sysctlRoot(): string {
  return existsSync(MOUNTED) ? MOUNTED : '/proc/sys/net';
}

export interface Sysctls {
  /** Undefined when there is no such sysctl. */
  read(name: string): string | undefined;
  write(name: string, value: string): void;
}

export function openSysctls(root: string): Sysctls {
  return {
    read(name) {
      try {
        return readFileSync(`${root}/${name}`, 'utf8').trim();
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
        throw cannot('read', name, error);
      }
    },
    write(name, value) {
      try {
        writeFileSync(`${root}/${name}`, value === '' ? '\n' : value);
      } catch (error) {
        throw cannot(`set to "${value}"`, name, error);
      }
    },
  };
}

function cannot(action: string, name: string, cause: unknown): Gate64Error {
  const words = cause instanceof Error ? cause.message : String(cause);
  return new Gate64Error('G64_SYSCTL', `the sysctl net/${name} cannot be ${action}: ${words}`, {
    cause,
    hint: `Set it by hand, or mount the node's /proc/sys/net at ${MOUNTED} in the container.`,
  });
}

/** A sysctl with the value it must have. `owned`: it goes with gate64's device, so nothing has to be remembered. */
export interface WantedSysctl {
  readonly name: string;
  readonly value: string;
  readonly owned: boolean;
}

export const RESERVED_PORTS = 'ipv4/ip_local_reserved_ports';
export const LOCAL_PORT_RANGE = 'ipv4/ip_local_port_range';
export const ALL_FORWARDING6 = 'ipv6/conf/all/forwarding';

export function wantedSysctls(options: {
  readonly device: string;
  /** The uplink when packets that arrive there have to be forwarded or answered for by ARP. */
  readonly forwardingUplink: string | undefined;
}): WantedSysctl[] {
  const { device, forwardingUplink } = options;
  const owned = [
    // Routes to the prefix are refused on a device without IPv6.
    { name: `ipv6/conf/${device}/disable_ipv6`, value: '0', owned: true },
    { name: `ipv6/conf/${device}/forwarding`, value: '1', owned: true },
    { name: `ipv6/conf/${device}/accept_ra`, value: '0', owned: true },
    { name: `ipv4/conf/${device}/forwarding`, value: '1', owned: true },
    // The kernel takes the larger of this and conf/all. That is fine: a pool that is routed to the device passes rp_filter
    // 1 and 2, too; 0 is set for nodes whose conf/default is 1 and whose routing rules are not ours to know.
    { name: `ipv4/conf/${device}/rp_filter`, value: '0', owned: true },
  ];
  return forwardingUplink === undefined
    ? owned
    : [...owned, { name: `ipv4/conf/${forwardingUplink}/forwarding`, value: '1', owned: false }];
}

/** Changes to sysctls that differ; old values of those that outlive the device go to the state file first. */
export function sysctlChanges(sysctls: Sysctls, state: StateFile, wanted: readonly WantedSysctl[]): Change[] {
  return wanted.flatMap(({ name, value, owned }): Change[] => {
    const before = sysctls.read(name);
    if (before === value) return [];
    return [
      {
        what: `sysctl net/${name} = ${value}`,
        make: async () => {
          if (!owned && before !== undefined) remember(state, name, before, value);
          sysctls.write(name, value);
        },
        undo: async () => {
          if (before !== undefined) sysctls.write(name, before);
          if (!owned) forget(state, name);
        },
      },
    ];
  });
}

function remember(state: StateFile, name: string, before: string, written: string): void {
  const now = state.read();
  // What was there before gate64's first change counts, not what gate64 itself wrote.
  const oldest = now.sysctls[name]?.before ?? before;
  state.write({ ...now, sysctls: { ...now.sysctls, [name]: { before: oldest, written } } });
}

function forget(state: StateFile, name: string): void {
  const now = state.read();
  state.write({ ...now, sysctls: Object.fromEntries(Object.entries(now.sysctls).filter(([key]) => key !== name)) });
}

/** Puts back what was before, unless somebody has changed it since. Returns what was put back. */
export function restoreSysctls(sysctls: Sysctls, state: HostState): string[] {
  const restored: string[] = [];
  for (const [name, { before, written }] of Object.entries(state.sysctls)) {
    const now = sysctls.read(name);
    if (now === undefined) continue;
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

/** "8080,9148-9150" → ports. */
export function parsePortList(text: string): Set<number> {
  const ports = new Set<number>();
  for (const part of text.split(',')) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
    if (match === null) continue;
    const last = Math.min(65535, Number(match[2] ?? match[1]));
    for (let port = Number(match[1]); port <= last; port++) ports.add(port);
  }
  return ports;
}

/** Ports → "8080,9148-9150", ascending. */
export function formatPortList(ports: ReadonlySet<number>): string {
  const runs: [number, number][] = [];
  for (const port of [...ports].sort((a, b) => a - b)) {
    const last = runs.at(-1);
    if (last !== undefined && last[1] === port - 1) last[1] = port;
    else runs.push([port, port]);
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(',');
}

function subtract(a: ReadonlySet<number>, b: ReadonlySet<number>): Set<number> {
  return new Set([...a].filter((port) => !b.has(port)));
}
