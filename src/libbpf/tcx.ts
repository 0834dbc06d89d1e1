// SPDX-License-Identifier: Apache-2.0
// Which programs hang at one side of a device by TCX (Linux 6.6), in the order in which packets meet them.

import { closeSync } from 'node:fs';
import koffi from 'koffi';
import { checkInt } from './check.ts';
import { LibbpfError, systemError } from './errors.ts';
import { infoOf } from './fd.ts';
import { lastErrno, libc } from './ffi.ts';
import { attachTypes, checkDirection, type Direction } from './kinds.ts';
import { progInfo } from './layouts.ts';

const BPF_PROG_GET_FD_BY_ID = 13;
const BPF_PROG_QUERY = 16;
/** The kernel's bound on programs at one side of a device (BPF_MPROG_MAX). */
const MOST = 64;

export interface TcxProgram {
  /** Kernel's id. */
  readonly programId: number;
  /** Kernel's id of the link that it hangs by; undefined when it was attached without one. */
  readonly linkId: number | undefined;
}

/** The first is met first. Throws LibbpfError: `ENODEV`, `EPERM`, `EINVAL` before Linux 6.6. */
export function tcxPrograms(ifindex: number, direction: Direction): TcxProgram[] {
  checkInt('ifindex', ifindex, 1, 0x7fffffff);
  const type = checkDirection(direction) === 'ingress' ? attachTypes.tcxIngress : attachTypes.tcxEgress;
  const programs = new Uint32Array(MOST);
  const links = new Uint32Array(MOST);
  // attr: target_ifindex, attach_type, query_flags, attach_flags, prog_ids, prog_cnt, padding, prog_attach_flags, link_ids.
  const attr = Buffer.alloc(64);
  attr.writeUInt32LE(ifindex, 0);
  attr.writeUInt32LE(type, 4);
  attr.writeBigUInt64LE(BigInt(koffi.address(programs)), 16);
  attr.writeUInt32LE(MOST, 24);
  attr.writeBigUInt64LE(BigInt(koffi.address(links)), 40);
  const result = bpf(BPF_PROG_QUERY, attr);
  if (result < 0) throw systemError(`cannot list the programs at the ${direction} of interface ${ifindex}`, result);
  return [...programs.subarray(0, attr.readUInt32LE(24))].map((programId, place) => {
    const linkId = links[place] ?? 0;
    return { programId, linkId: linkId === 0 ? undefined : linkId };
  });
}

/** The kernel's name of a program, cut at 15 characters; undefined when it is gone or may not be opened (CAP_SYS_ADMIN). */
export function programName(id: number): string | undefined {
  const attr = Buffer.alloc(16);
  attr.writeUInt32LE(checkInt('program id', id, 1, 0xffffffff), 0);
  const fd = bpf(BPF_PROG_GET_FD_BY_ID, attr);
  if (fd < 0) return undefined;
  try {
    return infoOf(fd, progInfo, `program ${id}`).text('name');
  } finally {
    closeSync(fd);
  }
}

// bpf(2) itself: libbpf before 1.3 does not give link ids.
function bpf(command: number, attr: Buffer): number {
  const { bpf: call } = libc();
  if (call === undefined) throw new LibbpfError('LIBBPF_STATE', 'bpf(2) is not known on this architecture');
  const result = call(command, attr, attr.length);
  return result < 0 ? -lastErrno() : result;
}
