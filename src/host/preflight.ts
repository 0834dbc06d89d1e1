// SPDX-License-Identifier: Apache-2.0
// What this process and this kernel must have: capabilities, version, commands.

import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { Gate64Error } from '../errors.ts';
import type { Exec } from './exec.ts';
import { problemOf, type HostProblem } from './problem.ts';

/** Bits of linux/capability.h. */
const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_BPF: 39 } as const;

/** Oldest kernel that has all the program needs and that is tested. */
const OLDEST_KERNEL = [6, 1] as const;

/** Names of what is missing of CAP_NET_ADMIN and CAP_BPF (CAP_SYS_ADMIN stands for CAP_BPF). `status`: /proc/self/status. */
export function missingCapabilities(status: string): string[] {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  const effective = BigInt(`0x${hex}`);
  const has = (bit: number) => ((effective >> BigInt(bit)) & 1n) === 1n;
  const missing: string[] = [];
  if (!has(CAPABILITIES.CAP_NET_ADMIN)) missing.push('CAP_NET_ADMIN');
  if (!has(CAPABILITIES.CAP_BPF) && !has(CAPABILITIES.CAP_SYS_ADMIN)) missing.push('CAP_BPF');
  return missing;
}

/** True for "6.1.0-13-amd64" and newer; a text without a version counts as old. */
export function kernelIsSupported(version: string): boolean {
  const match = /^(\d+)\.(\d+)/.exec(version);
  const major = Number(match?.[1] ?? 0);
  return major > OLDEST_KERNEL[0] || (major === OLDEST_KERNEL[0] && Number(match?.[2] ?? 0) >= OLDEST_KERNEL[1]);
}

export async function preflight(exec: Exec): Promise<HostProblem[]> {
  const problems: HostProblem[] = [];
  const missing = missingCapabilities(readFileSync('/proc/self/status', 'utf8'));
  if (missing.length > 0) {
    problems.push({
      severity: 'error',
      code: 'G64_NO_CAPABILITY',
      message: `this process lacks ${missing.join(' and ')}`,
      hint: 'Run gate64 as root, or grant CAP_NET_ADMIN and CAP_BPF (Kubernetes: securityContext.capabilities.add).',
    });
  }
  if (!kernelIsSupported(release())) {
    problems.push({
      severity: 'error',
      code: 'G64_KERNEL_UNSUPPORTED',
      message: `the kernel is ${release()}; gate64 needs ${OLDEST_KERNEL.join('.')} or newer`,
      hint: 'Debian 12, Ubuntu 24.04 and newer have one.',
    });
  }
  for (const [command, args] of [
    ['ip', ['-V']],
    ['nft', ['-v']],
  ] as const) {
    try {
      await exec(command, args);
    } catch (error) {
      if (!(error instanceof Gate64Error)) throw error;
      problems.push(problemOf(error));
    }
  }
  return problems;
}
