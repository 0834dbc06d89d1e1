// SPDX-License-Identifier: Apache-2.0
// TC programs attached through a TCX link (Linux 6.6): owned by a descriptor, replaced in place, pinned to outlive us.

import { closeSync } from 'node:fs';
import { checkInt } from './check.ts';
import { LibbpfError, systemError, UnsupportedFeatureError } from './errors.ts';
import { isTcxSupported } from './features.ts';
import { lastErrno, libbpf, libc } from './ffi.ts';
import { infoOf, openPinnedFd, pinFd } from './fd.ts';
import type { Direction } from './kinds.ts';
import { attachTypes, checkDirection } from './kinds.ts';
import { linkInfo } from './layouts.ts';
import type { BpfProgram } from './program.ts';

const BPF_LINK_CREATE = 28;
const BPF_F_BEFORE = 8;
const BPF_LINK_TYPE_TCX = 11;
const EINVAL = 22;

export interface TcxAttachOptions {
  /** Stand in front of all programs there now; otherwise behind them. */
  before?: boolean;
}

export interface TcxLinkInfo {
  id: number;
  /** Kernel's id of the attached program. */
  programId: number;
  /** 0 once the device is gone. */
  ifindex: number;
  direction: Direction;
}

export class TcxLink implements Disposable {
  #fd: number;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Attaches a program to one side of a device. The kernel detaches it when the last descriptor closes (also on SIGKILL)
   * unless the link is pinned. Throws UnsupportedFeatureError before Linux 6.6, LibbpfError `ENODEV`, `EPERM`, ….
   */
  static attach(program: BpfProgram, ifindex: number, direction: Direction, options: TcxAttachOptions = {}): TcxLink {
    checkInt('ifindex', ifindex, 1, 0x7fffffff);
    const type = checkDirection(direction) === 'ingress' ? attachTypes.tcxIngress : attachTypes.tcxEgress;
    const { bpf } = libc();
    let fd;
    if (bpf) {
      // bpf(2) itself: libbpf before 1.3 has no way to say BPF_F_BEFORE. attr: prog_fd, target_ifindex, attach_type,
      // flags, then relative_fd and expected_revision, both 0 for "the head".
      const attr = Buffer.alloc(64);
      attr.writeUInt32LE(program.fd, 0);
      attr.writeUInt32LE(ifindex, 4);
      attr.writeUInt32LE(type, 8);
      attr.writeUInt32LE(options.before === true ? BPF_F_BEFORE : 0, 12);
      const result = bpf(BPF_LINK_CREATE, attr, attr.length);
      fd = result < 0 ? -lastErrno() : result;
    } else {
      if (options.before === true) {
        throw new LibbpfError('LIBBPF_STATE', 'attaching in front of others is not possible on this architecture');
      }
      fd = libbpf().linkCreate(program.fd, ifindex, type, null);
    }
    if (fd < 0) {
      if (fd === -EINVAL && !isTcxSupported()) throw new UnsupportedFeatureError('TCX links', '6.6', { errno: EINVAL });
      throw systemError(`cannot attach ${program.name} to ${direction} of interface ${ifindex}`, fd);
    }
    return TcxLink.adopt(fd);
  }

  /** Takes ownership of a link's descriptor. */
  static adopt(fd: number): TcxLink {
    return new TcxLink(checkInt('link descriptor', fd, 0, 0x7fffffff));
  }

  /** Opens a pinned link. Throws LibbpfError `ENOENT`, or `LIBBPF_WRONG_KIND` for anything but a TCX link. */
  static openPinned(path: string): TcxLink {
    const fd = openPinnedFd(path, 'link');
    try {
      const type = infoOf(fd, linkInfo, `link pinned at ${path}`).u32('type');
      if (type !== BPF_LINK_TYPE_TCX) {
        throw new LibbpfError('LIBBPF_WRONG_KIND', `${path} pins a link of type ${type}: expected a TCX link (11)`);
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new TcxLink(fd);
  }

  get fd(): number {
    if (this.#fd < 0) throw new LibbpfError('LIBBPF_STATE', 'the link is closed');
    return this.#fd;
  }

  info(): TcxLinkInfo {
    const info = infoOf(this.fd, linkInfo, 'link');
    return {
      id: info.u32('id'),
      programId: info.u32('prog_id'),
      ifindex: info.u32('ifindex'),
      direction: info.u32('attach_type') === attachTypes.tcxIngress ? 'ingress' : 'egress',
    };
  }

  /** Swaps the program without a gap; place and pin stay. Throws `ENOLINK` when the device is gone. */
  update(program: BpfProgram): void {
    const result = libbpf().linkUpdate(this.fd, program.fd, null);
    if (result < 0) throw systemError(`cannot put ${program.name} into the link`, result);
  }

  /** Pins below a mounted bpffs, so that the program stays attached without this process. */
  pin(path: string): void {
    pinFd(this.fd, path, 'link');
  }

  /** Detaches now, whoever else holds the link or a pin of it (a pin stays as an empty shell: unlink it). */
  detach(): void {
    const result = libbpf().linkDetach(this.fd);
    if (result < 0) throw systemError('cannot detach the link', result);
  }

  /** Closes the descriptor; unless pinned or open elsewhere, that detaches. */
  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
