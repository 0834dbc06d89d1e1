// SPDX-License-Identifier: Apache-2.0
// What this process and this kernel must have: capabilities, version, commands.

import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { BPFFS, isBpffsMounted } from '../datapath/pins.ts';
import { Gate64Error } from '../errors.ts';
import { hasCapability, type Capability } from '../model/capabilities.ts';
import type { Finding } from '../plan/findings.ts';
import { COMMANDS, installing, type CommandName, type Exec } from './exec.ts';

/** Oldest kernel that has all the program needs and that is tested. */
const OLDEST_KERNEL = [6, 1] as const;

/** Names of what is missing of CAP_NET_ADMIN and CAP_BPF (CAP_SYS_ADMIN stands for CAP_BPF). `status`: /proc/self/status. */
export function missingCapabilities(status: string): string[] {
  const has = (name: Capability) => hasCapability(status, name);
  const missing: string[] = [];
  if (!has('CAP_NET_ADMIN')) missing.push('CAP_NET_ADMIN');
  if (!has('CAP_BPF') && !has('CAP_SYS_ADMIN')) missing.push('CAP_BPF');
  return missing;
}

/** True for "6.1.0-13-amd64" and newer; a text without a version counts as old. */
export function kernelIsSupported(version: string): boolean {
  const match = /^(\d+)\.(\d+)/.exec(version);
  const major = Number(match?.[1] ?? 0);
  return major > OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && Number(match?.[2] ?? 0) >= OLDEST_KERNEL[1]);
}

export async function preflight(exec: Exec): Promise<Finding[]> {
  const found: Finding[] = [];
  const missing = missingCapabilities(readFileSync('/proc/self/status', 'utf8'));
  if (missing.length > 0) {
    found.push({
      name: 'capability-missing',
      severity: 'error',
      message: `this process lacks ${missing.join(' and ')}`,
      remedy: 'Run gate64 as root, or grant CAP_NET_ADMIN and CAP_BPF (Kubernetes: securityContext.capabilities.add).',
    });
  }
  if (!isBpffsMounted()) {
    found.push({
      name: 'bpffs-missing',
      severity: 'error',
      message: `${BPFFS} is not a BPF file system`,
      remedy: 'Mount it, as systemd does at boot (Kubernetes: a hostPath volume of it).',
      command: `mount -t bpf bpf ${BPFFS}`,
    });
  }
  if (!kernelIsSupported(release())) {
    found.push({
      name: 'kernel-too-old',
      severity: 'error',
      message: `the kernel is ${release()}; gate64 needs ${OLDEST_KERNEL.join('.')} or newer`,
      remedy: 'Debian 12, Ubuntu 24.04 and newer have one.',
    });
  }
  const commands = Object.keys(COMMANDS) as CommandName[];
  const probes = await Promise.all(commands.map((command) => probe(exec, command)));
  return [...found, ...probes.flat()];
}

async function probe(exec: Exec, command: CommandName): Promise<Finding[]> {
  try {
    await exec(command, COMMANDS[command].probe);
    return [];
  } catch (error) {
    if (!(error instanceof Gate64Error)) throw error;
    const finding = { name: 'command-missing', severity: 'error', message: error.message, remedy: error.hint } as const;
    // One that is there and cannot be run has no hint, and no package mends it.
    return [error.hint === undefined ? finding : { ...finding, command: installing(command) }];
  }
}
