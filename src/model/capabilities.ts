// SPDX-License-Identifier: Apache-2.0
// What a process may do, as /proc/self/status tells.

/** Bits of linux/capability.h. */
export const CAPABILITY = { CAP_NET_ADMIN: 12, CAP_SYS_ADMIN: 21, CAP_PERFMON: 38, CAP_BPF: 39 } as const;

export type Capability = keyof typeof CAPABILITY;

/** Whether a capability is in force. `status`: of /proc/self/status; none is where it does not tell. */
export function hasCapability(status: string, name: Capability): boolean {
  const hex = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${hex}`) >> BigInt(CAPABILITY[name])) & 1n) === 1n;
}
