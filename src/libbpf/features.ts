// SPDX-License-Identifier: Apache-2.0
// What the running kernel and the installed libbpf can do. Probes change nothing on the machine.

import { closeSync, existsSync, statfsSync } from 'node:fs';
import { release } from 'node:os';
import { checkString, checkU32 } from './check.ts';
import { systemError } from './errors.ts';
import { lastErrno, libbpf, libc } from './ffi.ts';
import { attachTypes } from './kinds.ts';

const BPF_PROG_TYPE_SCHED_CLS = 3;
const BPF_FS_MAGIC = 0xcafe4a11;
const ENODEV = 19;
/** With the zero byte at its end. */
const IFNAMSIZ = 16;

let tcxSupported: boolean | undefined;

/** Version of the running kernel, `[6, 1]` for 6.1.0-30-amd64. */
export function kernelVersion(text = release()): [major: number, minor: number] {
  const match = /^(\d+)\.(\d+)/.exec(text);
  if (!match) throw new RangeError(`kernel release is ${text}: expected major.minor`);
  return [Number(match[1]), Number(match[2])];
}

export function kernelAtLeast(major: number, minor: number, text?: string): boolean {
  const [haveMajor, haveMinor] = kernelVersion(text);
  return haveMajor > major || (haveMajor === major && haveMinor >= minor);
}

/** Version of the loaded libbpf, such as `v1.1`. */
export function libbpfVersion(): string {
  return libbpf().versionString();
}

/** Whether the kernel publishes its types (CONFIG_DEBUG_INFO_BTF), which relocations and iterators need. */
export function hasKernelBtf(): boolean {
  return existsSync('/sys/kernel/btf/vmlinux');
}

/** Whether a path lies in a mounted bpffs, where pins can be made. */
export function isBpffs(path: string): boolean {
  try {
    return statfsSync(path).type === BPF_FS_MAGIC;
  } catch {
    return false;
  }
}

/**
 * Whether TCX links work. Asked of the kernel by attaching a two-instruction program to an interface that cannot
 * exist: ENODEV means it looked for it. Without the right to load programs the kernel's version decides.
 */
export function isTcxSupported(): boolean {
  if (tcxSupported !== undefined) return tcxSupported;
  // r0 = 0; exit
  const insns = Buffer.from('b7000000000000009500000000000000', 'hex');
  const programFd = libbpf().programLoad(BPF_PROG_TYPE_SCHED_CLS, 'probe', 'GPL', insns, 2, null);
  if (programFd < 0) return kernelAtLeast(6, 6);
  try {
    const fd = libbpf().linkCreate(programFd, 0x7fffffff, attachTypes.tcxIngress, null);
    if (fd >= 0) closeSync(fd);
    tcxSupported = fd === -ENODEV;
  } finally {
    closeSync(programFd);
  }
  return tcxSupported;
}

/**
 * Index of a network interface in this process's namespace (sysfs may still show another's). Throws LibbpfError
 * `ENODEV`.
 */
export function ifNameToIndex(name: string): number {
  checkString('interface name', name);
  const index = libc().ifNameToIndex(name);
  if (index === 0) throw systemError(`no network interface ${name}`, lastErrno() || ENODEV);
  return index;
}

/** The name that an interface of this process's namespace has now; undefined when there is none of that index. */
export function ifIndexToName(ifindex: number): string | undefined {
  const out = new Uint8Array(IFNAMSIZ);
  if (libc().ifIndexToName(checkU32('ifindex', ifindex), out) === null) return undefined;
  return Buffer.from(out.subarray(0, out.indexOf(0))).toString();
}
